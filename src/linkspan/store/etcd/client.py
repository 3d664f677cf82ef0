"""The client: one request a method, over whichever member answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypeVar

from linkspan.errors import Internal, LinkspanError, Unavailable
from linkspan.store.etcd.address import ClusterAddress, MemberAddress, Tls
from linkspan.store.etcd.contract import Compacted, LeaseGone, OutcomeUnknown
from linkspan.store.etcd.http import Broken
from linkspan.store.etcd.members import Members, NotBegun, TooLarge, failed_as
from linkspan.store.etcd.values import (
    Compare,
    Delete,
    Get,
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
)
from linkspan.store.etcd.watch import Watch
from linkspan.store.etcd.wire import (
    MOST_OPERATIONS,
    DeleteAnswer,
    GrantAnswer,
    MembersAnswer,
    PutAnswer,
    RangeAnswer,
    StatusAnswer,
    StreamedKeepAlive,
    TtlAnswer,
    TxnAnswer,
    decode,
    encode,
    key_of,
    raw_compare,
    raw_operations,
    raw_put,
    span,
    text_of,
)

T = TypeVar("T")
PAGE = 2000  # keys
_TRIES = 5  # of a listing, each overtaken by a compaction


class EtcdClient:
    """See contract.Etcd. It belongs to the event loop that it is made in."""

    def __init__(self, cluster: ClusterAddress, tls: Tls | None = None) -> None:
        """Connects to nobody yet. Raises InvalidArgument naming a certificate file that cannot be used."""
        self._members = Members(cluster, tls)

    async def _ask(self, path: str, request: dict[str, Any], type_: type[T], *, repeatable: bool = True) -> T:
        return decode(await self._members.ask(path, encode(request), repeatable=repeatable), type_)

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._ask("/v3/kv/range", {"key": key_of(key)}, RangeAnswer)
        return answer.kvs[0].plain() if answer.kvs else None

    async def list(self, prefix: str) -> Page:
        for _ in range(_TRIES):
            found: list[KeyValue] = []
            revision = 0
            try:
                async for page in self.pages(prefix):
                    found += page.found
                    revision = page.revision
            except Compacted:
                continue
            return Page(revision, found)
        raise Unavailable(f"etcd: what is under {prefix} changes faster than it can be read")

    async def pages(self, prefix: str) -> AsyncGenerator[Page, None]:
        request = {**span(prefix), "limit": PAGE}
        while True:
            try:
                answer = await self._ask("/v3/kv/range", request, RangeAnswer)
            except TooLarge:
                if request["limit"] == 1:
                    raise Internal(f"etcd: a value under {prefix} is larger than a member can send") from None
                request["limit"] = max(1, request["limit"] // 4)
                continue
            revision = request.setdefault("revision", answer.header.revision)
            yield Page(revision, [raw.plain() for raw in answer.kvs])
            if not answer.more or not answer.kvs:
                return
            request["key"] = answer.kvs[-1].key + b"\x00"

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        request = raw_put(Put(key, value, lease))
        return (await self._ask("/v3/kv/put", request, PutAnswer, repeatable=False)).header.revision

    async def delete(self, key: str, *, prefix: bool = False) -> int:
        request = span(key) if prefix else {"key": key_of(key)}
        return (await self._ask("/v3/kv/deleterange", request, DeleteAnswer, repeatable=False)).deleted

    async def txn(
        self, guards: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> TxnResult:
        reading = all(isinstance(operation, Get) for operation in (*then, *otherwise))
        try:
            return _result(await self._txn(guards, then, otherwise, repeatable=reading))
        except OutcomeUnknown as lost:
            if not _tells_its_outcome(guards, then, otherwise):
                raise
            return await self._once_more(guards, then, otherwise, lost)

    async def _once_more(
        self, guards: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation], lost: OutcomeUnknown
    ) -> TxnResult:
        """The outcome of a transaction whose answer was lost. Raises `lost` where it cannot be told."""
        puts = _seen_again(then)
        seen = [Get(put.key) for put in puts]
        try:
            answer = _result(await self._txn(guards, then, [*otherwise, *seen], repeatable=True))
        except LinkspanError:
            raise lost from None
        if answer.succeeded:
            return answer
        found = answer.read[-len(seen) :]
        if all(_is(put, there) for put, there in zip(puts, found, strict=True)):
            written = {there[0].mod_revision for there in found}
            if len(written) == 1:  # by one change, so by this one
                return TxnResult(True, written.pop())
        raise lost

    async def _txn(
        self, guards: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation], *, repeatable: bool
    ) -> TxnAnswer:
        request = {
            "compare": [raw_compare(guard) for guard in guards],
            "success": raw_operations(then),
            "failure": raw_operations(otherwise),
        }
        return await self._ask("/v3/kv/txn", request, TxnAnswer, repeatable=repeatable)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Told, None]:
        return self.watches({prefix: after}).tell()

    def watches(self, after: Mapping[str, int]) -> Watch:
        return Watch(self._members, after)

    async def grant(self, ttl: int) -> Lease:
        # Granted twice where an answer is lost: the one that nobody knows of expires.
        answer = await self._ask("/v3/lease/grant", {"TTL": ttl}, GrantAnswer)
        return Lease(answer.ID, answer.TTL)

    async def keep_alive(self, lease: int) -> int:
        answer = await self._ask("/v3/lease/keepalive", {"ID": lease}, StreamedKeepAlive)
        if answer.error is not None:
            error = failed_as(answer.error)
            raise Unavailable(f"etcd: {error}") if isinstance(error, NotBegun | Broken) else error
        if answer.result is None or answer.result.TTL <= 0:
            raise LeaseGone(f"etcd: the lease {lease:x} has expired")
        return answer.result.TTL

    async def revoke(self, lease: int) -> None:
        try:
            await self._members.ask("/v3/lease/revoke", encode({"ID": lease}), repeatable=True)
        except LeaseGone:
            return

    async def time_to_live(self, lease: int) -> LeaseState:
        answer = await self._ask("/v3/lease/timetolive", {"ID": lease, "keys": True}, TtlAnswer)
        if answer.TTL < 0:
            raise LeaseGone(f"etcd: the lease {lease:x} has expired")
        return LeaseState(answer.TTL, answer.grantedTTL, tuple(text_of(key) for key in answer.keys))

    async def compact(self, revision: int) -> None:
        await self._members.ask("/v3/kv/compaction", encode({"revision": revision}), repeatable=True)

    async def status(self) -> Sequence[MemberStatus]:
        return await asyncio.gather(*(self.status_of(address) for address in self._members.addresses))

    async def status_of(self, address: MemberAddress) -> MemberStatus:
        """Raises nothing."""
        try:
            body = await self._members.ask_one(address, "/v3/maintenance/status", b"{}", leader=False)
            answer = decode(body, StatusAnswer)
        except (NotBegun, Broken, LinkspanError) as error:
            return MemberStatus(str(address), failure=str(error))
        return MemberStatus(
            str(address),
            id=f"{answer.header.member_id:x}",
            leader=f"{answer.leader:x}" if answer.leader else "",
            version=answer.version,
            revision=answer.header.revision,
            size=answer.dbSize,
            errors=tuple(answer.errors),
        )

    async def members(self) -> Sequence[Member]:
        answer = await self._ask("/v3/cluster/member/list", {}, MembersAnswer)
        return [member.plain() for member in answer.members]

    # -- the cluster itself, for whoever looks after it ---------------------------------------------------------------

    @property
    def addresses(self) -> Sequence[MemberAddress]:
        """Whom we ask."""
        return self._members.addresses

    def reach(self, addresses: Sequence[MemberAddress]) -> None:
        """From now on these, at least one, are the members to ask."""
        self._members.reach(addresses)

    def begun_anew(self) -> None:
        """What the members have is no continuation of what they had, whatever its revision: watches have to be begun
        anew, too."""
        self._members.store += 1

    def trust(self, tls: Tls) -> None:
        """From now on new connections go by these certificates. Raises InvalidArgument naming a file that cannot be
        used."""
        self._members.trust(tls)

    async def members_now(self) -> Sequence[Member]:
        """As `members`, of one that knows all that was decided until now: not of one that lags behind."""
        for address in self._members.in_order():
            try:
                await self._members.ask_one(address, "/v3/kv/range", encode({"key": b"\x00", "limit": 1}))
                body = await self._members.ask_one(address, "/v3/cluster/member/list", b"{}")
            except (NotBegun, Broken):
                continue
            return [member.plain() for member in decode(body, MembersAnswer).members]
        raise Unavailable("etcd: no member answers that knows of a leader")

    async def add_learner(self, peer_url: str) -> None:
        """Raises Internal where the cluster does not want to, as it has one already."""
        request = encode({"peerURLs": [peer_url], "isLearner": True})
        await self._members.ask("/v3/cluster/member/add", request, repeatable=False)

    async def promote(self, member_id: str) -> None:
        """Gives a learner its vote. Raises Internal where it does not know enough yet."""
        await self._members.ask("/v3/cluster/member/promote", encode({"ID": int(member_id, 16)}), repeatable=False)

    async def remove_member(self, member_id: str) -> None:
        await self._members.ask("/v3/cluster/member/remove", encode({"ID": int(member_id, 16)}), repeatable=False)

    async def close(self) -> None:
        self._members.close()


def _result(answer: TxnAnswer) -> TxnResult:
    reads = [one.response_range for one in answer.responses if one.response_range is not None]
    read = tuple(tuple(raw.plain() for raw in found.kvs) for found in reads)
    return TxnResult(answer.succeeded, answer.header.revision, read)


def _is(put: Put, there: Sequence[KeyValue]) -> bool:
    return bool(there) and there[0].value == put.value and there[0].lease == put.lease


def _tells_its_outcome(guards: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation]) -> bool:
    """Sending it again cannot do it twice, and shows whether it was done.

    Once done, one of its guards (that a key is absent, or as it was at some revision) holds no more; and the keys that
    it puts then have its values, all of one revision.
    """
    written = {operation.key for operation in then if isinstance(operation, Put | Delete)}
    puts = _seen_again(then)
    once = any(
        guard.relation == "=" and guard.key in written and (guard.target == "mod" or _of_nothing(guard))
        for guard in guards
    )
    reads = any(isinstance(operation, Get) for operation in then)
    writes = any(not isinstance(operation, Get) for operation in otherwise)
    fits = len(otherwise) + len(puts) <= MOST_OPERATIONS
    return once and bool(puts) and fits and not reads and not writes


def _seen_again(then: Sequence[Operation]) -> list[Put]:
    """What shows that they were all done: of many, the first, as they are done together."""
    puts = [operation for operation in then if isinstance(operation, Put)]
    return puts if len(then) <= MOST_OPERATIONS else puts[: MOST_OPERATIONS // 2]


def _of_nothing(guard: Compare) -> bool:
    return guard.target in ("create", "version") and guard.operand == 0
