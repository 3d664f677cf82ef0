"""A cluster in memory, with the same contract as the client of the real one.

`FakeEtcd` is the cluster; each `client` of it is what one host has, and can be cut off, or lose an answer. Time passes
only when `pass_time` says so.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence

from linkspan.errors import Internal, Unavailable
from linkspan.store.etcd.contract import Compacted, LeaseGone, OutcomeUnknown
from linkspan.store.etcd.values import (
    Changes,
    Compare,
    Delete,
    Event,
    Get,
    Interrupted,
    KeyValue,
    Lease,
    LeaseState,
    Member,
    MemberStatus,
    Operation,
    Page,
    Put,
    Told,
    TxnResult,
    Watching,
)

ADDRESS = "memory:2379"
_RELATIONS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda there, wanted: there == wanted,
    "!=": lambda there, wanted: there != wanted,
    "<": lambda there, wanted: there < wanted,  # type: ignore[operator]
    ">": lambda there, wanted: there > wanted,  # type: ignore[operator]
}


@dataclasses.dataclass(slots=True)
class _Lease:
    ttl: int
    until: float
    keys: set[str] = dataclasses.field(default_factory=set)


class FakeEtcd:
    def __init__(self) -> None:
        self.revision = 1
        self.now = 0.0  # seconds
        self._keys: dict[str, KeyValue] = {}
        self._history: list[tuple[int, tuple[Event, ...]]] = []  # by revision
        self._compacted = 0
        self._leases: dict[int, _Lease] = {}
        self._granted = 0
        self.happened = asyncio.Event()  # set once anything is other than it was

    def client(self) -> FakeClient:
        return FakeClient(self)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for id_ in [id_ for id_, lease in self._leases.items() if lease.until <= self.now]:
            self.end_lease(id_)

    def wake(self) -> None:
        """Lets every watch look anew."""
        self.happened.set()
        self.happened = asyncio.Event()

    def find(self, key: str, prefix: bool) -> tuple[KeyValue, ...]:
        if not prefix:
            return (self._keys[key],) if key in self._keys else ()
        return tuple(self._keys[name] for name in sorted(self._keys, key=_raw) if name.startswith(key))

    def since(self, after: int, prefix: str) -> tuple[int, list[Event]]:
        """What happened after a revision, and up to which. Raises Compacted."""
        if after < self._compacted - 1:
            raise Compacted(f"etcd: the history before revision {self._compacted} is compacted")
        events: list[Event] = []
        for revision, happened in reversed(self._history):
            if revision <= after:
                break
            events[:0] = [event for event in happened if event.now.key.startswith(prefix)]
        return self.revision, events

    def change(self, operations: Iterable[Operation]) -> tuple[tuple[KeyValue, ...], ...]:
        """All of the writes as one revision, none at all where nothing is written; what each Get found on its turn."""
        revision = self.revision + 1
        events: list[Event] = []
        read: list[tuple[KeyValue, ...]] = []
        for operation in operations:
            if isinstance(operation, Put):
                events.append(self._put(operation, revision))
            else:
                found = self.find(operation.key, operation.prefix)
                if isinstance(operation, Get):
                    read.append(found)
                else:
                    events += [self._delete(one, revision) for one in found]
        if events:
            self.revision = revision
            self._history.append((revision, tuple(events)))
            self.wake()
        return tuple(read)

    def _put(self, put: Put, revision: int) -> Event:
        before = self._keys.get(put.key)
        if before is not None and before.lease:
            self._leases[before.lease].keys.discard(put.key)
        if put.lease:
            self._leases[put.lease].keys.add(put.key)
        created, version = (before.create_revision, before.version + 1) if before else (revision, 1)
        now = self._keys[put.key] = KeyValue(put.key, put.value, created, revision, version, put.lease)
        return Event(now, False)

    def _delete(self, found: KeyValue, revision: int) -> Event:
        del self._keys[found.key]
        if found.lease:
            self._leases[found.lease].keys.discard(found.key)
        return Event(KeyValue(found.key, b"", 0, revision, 0), True)

    def check(self, operations: Sequence[Operation]) -> None:
        """Raises what etcd refuses a transaction for."""
        puts = [operation for operation in operations if isinstance(operation, Put)]
        deletes = [operation for operation in operations if isinstance(operation, Delete)]
        gone = [put for put in puts if any(put.key == one.key or _under(put.key, one) for one in deletes)]
        if gone or len({put.key for put in puts}) < len(puts):
            raise Internal("etcd refuses: duplicate key given in txn request")
        if len(operations) > (128 if any(isinstance(one, Get) for one in operations) else 64 * 64):
            raise Internal("etcd refuses: too many operations in txn request")
        for put in puts:
            self.lease(put.lease)

    def lease(self, id_: int) -> None:
        """Raises LeaseGone, for any but 0, which is none."""
        if id_ and id_ not in self._leases:
            raise LeaseGone("etcd: requested lease not found")

    def grant(self, ttl: int) -> Lease:
        self._granted += 1
        self._leases[self._granted] = _Lease(ttl, self.now + ttl)
        return Lease(self._granted, ttl)

    def keep_alive(self, id_: int) -> int:
        if id_ not in self._leases:
            raise LeaseGone(f"etcd: the lease {id_:x} has expired")
        lease = self._leases[id_]
        lease.until = self.now + lease.ttl
        return lease.ttl

    def lease_state(self, id_: int) -> LeaseState:
        if id_ not in self._leases:
            raise LeaseGone(f"etcd: the lease {id_:x} has expired")
        lease = self._leases[id_]
        return LeaseState(int(lease.until - self.now), lease.ttl, tuple(sorted(lease.keys)))

    def end_lease(self, id_: int) -> None:
        if id_ in self._leases:
            self.change([Delete(key) for key in sorted(self._leases[id_].keys)])
            del self._leases[id_]

    def compact(self, revision: int) -> None:
        if revision <= self._compacted:
            raise Compacted("etcd: mvcc: required revision has been compacted")
        if revision > self.revision:
            raise Internal("etcd refuses: mvcc: required revision is a future revision")
        self._compacted = revision
        self._history = [(at, events) for at, events in self._history if at >= revision]


class FakeClient:
    """See contract.Etcd."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self._etcd = etcd
        self._away = ""
        self._losing = False

    def cut_off(self, reason: str = "no connection within 1 s") -> None:
        self._away = reason
        self._etcd.wake()

    def reconnect(self) -> None:
        self._away = ""
        self._etcd.wake()

    def lose_next_answer(self) -> None:
        """The next change is carried out, and the client does not hear of it."""
        self._losing = True

    @property
    def away(self) -> bool:
        """Whether it is cut off."""
        return bool(self._away)

    @property
    def reason(self) -> str:
        """Why it is."""
        return self._away

    def _ask(self) -> None:
        if self._away:
            raise Unavailable(f"etcd does not answer: {ADDRESS}: {self._away}")

    def _changed(self) -> None:
        if self._losing:
            self._losing = False
            why = f"{ADDRESS}: it closed the connection"
            raise OutcomeUnknown(f"etcd: the answer to a change was lost ({why}); it may have been carried out")

    async def get(self, key: str) -> KeyValue | None:
        self._ask()
        found = self._etcd.find(key, False)
        return found[0] if found else None

    async def list(self, prefix: str) -> Page:
        self._ask()
        return Page(self._etcd.revision, list(self._etcd.find(prefix, True)))

    async def pages(self, prefix: str) -> AsyncGenerator[Page, None]:
        yield await self.list(prefix)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        return (await self.txn((), [Put(key, value, lease)])).revision

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        self._ask()
        found = len(self._etcd.find(key, prefix))
        self._etcd.change([Delete(key, prefix)])
        self._changed()
        return found

    async def txn(
        self, guards: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> TxnResult:
        self._ask()
        self._etcd.check(then)
        self._etcd.check(otherwise)
        succeeded = all(_holds(guard, self._etcd.find(guard.key, guard.prefix)) for guard in guards)
        read = self._etcd.change(then if succeeded else otherwise)
        if any(not isinstance(one, Get) for one in (*then, *otherwise)):
            self._changed()
        return TxnResult(succeeded, self._etcd.revision, read)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Told, None]:
        return self.watches({prefix: after}).tell()

    def watches(self, after: Mapping[str, int]) -> FakeWatches:
        return FakeWatches(self._etcd, self, after)

    async def grant(self, ttl: int) -> Lease:
        self._ask()
        return self._etcd.grant(ttl)

    async def keep_alive(self, lease: int) -> int:
        self._ask()
        return self._etcd.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        self._ask()
        self._etcd.end_lease(lease)

    async def time_to_live(self, lease: int) -> LeaseState:
        self._ask()
        return self._etcd.lease_state(lease)

    async def compact(self, revision: int) -> None:
        self._ask()
        self._etcd.compact(revision)

    async def status(self) -> Sequence[MemberStatus]:
        if self._away:
            return [MemberStatus(ADDRESS, failure=self._away)]
        return [MemberStatus(ADDRESS, id="1", leader="1", version="3.4.0", revision=self._etcd.revision)]

    async def members(self) -> Sequence[Member]:
        self._ask()
        return [Member("1", "memory", (f"http://{ADDRESS}",))]

    async def close(self) -> None:
        pass


class FakeWatches:
    """See contract.Watches. Prefixes take turns at being told first."""

    def __init__(self, etcd: FakeEtcd, client: FakeClient, after: Mapping[str, int]) -> None:
        self._etcd, self._client = etcd, client
        self._known = dict(after)

    def include(self, prefix: str, *, after: int) -> None:
        self._known[prefix] = after
        self._etcd.wake()

    def exclude(self, prefix: str) -> None:
        self._known.pop(prefix, None)

    async def tell(self) -> AsyncGenerator[Told, None]:
        watching: bool | None = None
        while True:
            happened = self._etcd.happened  # before looking: whatever comes later, sets it
            if self._client.away:
                if watching is not False:
                    watching = False
                    yield Interrupted(f"{ADDRESS}: {self._client.reason}")
            else:
                for told in self._look():
                    if not watching:
                        watching = True
                        yield Watching(ADDRESS)
                    if told.events:
                        yield told
            await happened.wait()

    def _look(self) -> Iterator[Changes]:
        """What is new under each prefix."""
        order = list(self._known)
        turn = self._etcd.revision % max(1, len(order))
        for prefix in (*order[turn:], *order[:turn]):
            if prefix in self._known:  # still
                revision, events = self._etcd.since(self._known[prefix], prefix)
                self._known[prefix] = max(self._known[prefix], revision)
                yield Changes(prefix, events[-1].now.mod_revision if events else revision, events)


def _under(key: str, delete: Delete) -> bool:
    return delete.prefix and key.startswith(delete.key)


def _raw(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def _holds(guard: Compare, found: Sequence[KeyValue]) -> bool:
    relation = _RELATIONS[guard.relation]
    if not found:
        return guard.target != "value" and relation(0, guard.operand)
    return all(relation(_compared(guard, there), guard.operand) for there in found)


def _compared(guard: Compare, there: KeyValue) -> object:
    values: dict[str, object] = {
        "create": there.create_revision,
        "mod": there.mod_revision,
        "version": there.version,
        "value": there.value,
        "lease": there.lease,
    }
    return values[guard.target]
