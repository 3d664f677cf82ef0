"""What the client promises, and the fake with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from linkspan.errors import LinkspanError, Unavailable
from linkspan.store.etcd.values import (
    Compare,
    KeyValue,
    Lease,
    LeaseState,
    Member,
    MemberStatus,
    Operation,
    Page,
    Told,
    TxnResult,
)


class OutcomeUnknown(Unavailable):
    """The answer to a change was lost: it may have been carried out, or be about to. Read before deciding anew."""


class Compacted(LinkspanError):
    """The history from there on is no longer kept: everything has to be read anew."""


class LeaseGone(LinkspanError):
    """The lease has expired or was revoked, and every key with it."""


class Watches(Protocol):
    """Watches under several prefixes, none of which begins with another one; over one connection, however many they
    are. Of each prefix every change is told once and in order; which of two prefixes is heard of first, nobody knows.
    """

    def tell(self) -> AsyncGenerator[Told, None]:
        """What changes. Close it (`aclosing`), and call it once.

        Goes on over another member when one is lost, for as long as it takes. Raises Compacted where what happened
        under a prefix is no longer known, and then ends.
        """

    def include(self, prefix: str, *, after: int) -> None:
        """From now on, what changes under this prefix after a revision is told too. What else is told goes on."""

    def exclude(self, prefix: str) -> None:
        """What changes under it is told no more."""


class Etcd(Protocol):
    """Every method raises Unavailable where no member answers, saying of each why; nothing was changed then, unless
    it is an OutcomeUnknown, which only `put`, `delete` and `txn` raise. It raises Internal where etcd refuses what we
    ask, such as a full store, and Forbidden where it asks for a user that we are not."""

    async def get(self, key: str) -> KeyValue | None: ...

    async def list(self, prefix: str) -> Page:
        """Everything under a prefix, at one revision: the one to watch from."""

    def pages(self, prefix: str) -> AsyncGenerator[Page, None]:
        """The same in pieces: at least one. Raises Compacted where its revision is compacted meanwhile."""

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """The revision of it. Raises LeaseGone."""

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        """How many keys there were."""

    async def txn(
        self, guards: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> TxnResult:
        """`then` if every guard holds, else `otherwise`, as one change. A key may be written once in it; etcd takes
        128 guards and 128 operations, and 4,096 where they only write, if not told otherwise. Raises LeaseGone."""

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Told, None]:
        """What changes under one prefix after a revision: see Watches.tell."""

    def watches(self, after: Mapping[str, int]) -> Watches:
        """What changes under several prefixes, under each after a revision."""

    async def grant(self, ttl: int) -> Lease: ...

    async def keep_alive(self, lease: int) -> int:
        """Renews it; how many seconds it now has. Raises LeaseGone."""

    async def revoke(self, lease: int) -> None:
        """Deletes the lease and its keys. That it is gone already is no error."""

    async def time_to_live(self, lease: int) -> LeaseState:
        """Raises LeaseGone."""

    async def compact(self, revision: int) -> None:
        """Forgets what was before. Raises Compacted where it is forgotten already."""

    async def status(self) -> Sequence[MemberStatus]:
        """Of every address that we were given. Raises nothing."""

    async def members(self) -> Sequence[Member]:
        """As the cluster lists them."""

    async def close(self) -> None: ...
