"""What the other hosts publish, as records of ours: read once, then followed.

What all hosts have to know every host follows: hosts, networks, blocks, reservations. Who is on a network follow those
that are on it themselves, as they say in their records (`Subscription`). What is this host's own is not taken from the
store: here the records are what counts, and the store follows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from linkspan.daemon.cluster.publisher import Publisher, reason
from linkspan.engine.change import network_event
from linkspan.engine.publication import (
    ALIVE,
    ENDPOINTS,
    RECORDS,
    SERIAL,
    endpoints_of,
    gone,
    keys_of,
    network_of,
    owner,
    read,
)
from linkspan.engine.renaming import named_here
from linkspan.errors import LinkspanError
from linkspan.model.cluster import GLOBAL, Block, Host, Remote, Reservation, Subscription
from linkspan.model.event import Event
from linkspan.model.network import Network
from linkspan.model.resource import Resource
from linkspan.model.snapshot import KINDS, NAMES, RESOURCES, Record, Snapshot, Write, drop, put
from linkspan.store.etcd.contract import Compacted, Etcd, Watches
from linkspan.store.etcd.values import Changes, Interrupted, KeyValue, Watching

log = logging.getLogger(__name__)
_SLICE = 2000  # records at once: the event loop has others to serve
_MOMENT = 0.3  # seconds until what is changed in the store is known here, unless it is busy
_GRACE = 1.5  # seconds without a member to follow over, before the store counts as away
_PAUSE = 1.0  # seconds, before what failed is tried again

Follow = Callable[[Sequence[Write], Sequence[Event]], Awaitable[None]]


class Follower:
    def __init__(
        self,
        etcd: Etcd,
        root: str,
        publisher: Publisher,
        now: Callable[[], Snapshot],
        follow: Follow,
        *,
        everything: bool = False,
        interfaces: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`follow` makes records and kernel as other hosts have written. With `everything`, who is on a network is
        followed for all networks; as it is while there is a policy that may select whom ever.
        `interfaces` are this host's, where the cluster's networks have other names for them."""
        self._etcd, self._root, self._publisher, self._now, self._follow = etcd, root, publisher, now, follow
        self._everything, self._interfaces = everything, interfaces
        self.own = publisher.own.id
        self.heard = 0.0  # when the store was last heard of (time.monotonic)
        self.member = ""  # over which we follow
        self.answering: dict[str, str] = {}  # the hosts that answer: id → since when
        self.bytes_read = 0
        self._reached: dict[str, int] = {}  # prefix → revision up to which the records say what the store said
        self._watches: Watches | None = None
        self._wide = everything
        self._looked_at: tuple[object, object] = (None, None)  # the networks and policies of which that was decided
        self._reading = asyncio.Lock()  # held while what is followed becomes more or less
        self._others: dict[str, bytes] = {}  # what other hosts hold that one might take over
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []
        publisher.may_take_over(self._others.get)

    @property
    def revision(self) -> int:
        """The latest one of which anything is known here."""
        return max(self._reached.values(), default=0)

    async def run(
        self, check: Callable[[], Awaitable[None]], ready: Callable[[], Awaitable[None]], failed: Callable[[str], None]
    ) -> None:
        """For ever. `check` is called before the store is read, `ready` whenever the records are as the store has them
        and can be published against, `failed` with the reason where the store cannot be followed."""
        while True:
            try:
                await check()
                watches = await self._read()
                await self._widen()
                await ready()
                await self._watch(watches, ready, failed)
            except Compacted as error:
                log.warning("%s: everything is read anew", error)
            except LinkspanError as error:
                failed(reason(error))
                await asyncio.sleep(_PAUSE)

    def follows(self, network_id: str) -> bool:
        """Whether the records say who is on a network."""
        return network_id in self._now().subscriptions

    async def caught_up(self, revision: int, network_id: str = "") -> None:
        """Returns once the records say what the store said at a revision, of the endpoints on a network that is
        followed, or of what all hosts follow; or after a moment, as what has changed until then may be none of our
        business, and we never hear of it."""
        prefix = endpoints_of(network_id) if network_id and self.follows(network_id) else RECORDS
        if revision > self._reached.get(prefix, 0):
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((prefix, revision, waiting))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting, _MOMENT)

    def _advance(self, prefix: str, revision: int) -> None:
        self._reached[prefix], self.heard = max(self._reached.get(prefix, 0), revision), time.monotonic()
        still = []
        for where, wanted, waiting in self._waiting:
            if wanted > self._reached.get(where, 0):
                still.append((where, wanted, waiting))
            elif not waiting.done():
                waiting.set_result(None)
        self._waiting = still

    # -- all of it ----------------------------------------------------------------------------------------------------

    async def _read(self) -> Watches:
        """What is followed, as the store has it; and the watches that go on from there."""
        async with self._reading:
            networks = sorted(_joined(self._now()))
            prefixes = [RECORDS, *map(endpoints_of, networks)]
            pages = {prefix: await self._etcd.list(self._root + prefix) for prefix in prefixes}
            found = _Found()
            self._others.clear()
            self.answering.clear()
            for page in pages.values():
                self._sort(page.found, found)
            for id_ in networks:
                if ("network", id_) in found.records:
                    found.records["subscription", id_] = Subscription(id=id_)
            for part in _sliced([*self._difference(found.records), *self._lost(found.own)]):
                await self._take(part)
            self._publisher.serial(found.serial)
            self._publisher.found(found.own)
            self._reached.clear()
            for prefix, page in pages.items():
                self._advance(prefix, page.revision)
            self._watches = self._etcd.watches({self._root + prefix: page.revision for prefix, page in pages.items()})
            return self._watches

    def _sort(self, items: Iterable[KeyValue], found: _Found) -> None:
        for item in items:
            key = item.key.removeprefix(self._root)
            self.bytes_read += len(item.key) + len(item.value)
            if key == SERIAL:
                found.serial = item
            elif key.startswith(ALIVE):
                self.answering[key.removeprefix(ALIVE)] = item.value.decode(errors="replace")
            elif (record := self._readable(key, item.value)) is None:
                continue
            elif owner(record) == self.own:
                found.own.update(_written(key, record, item.value, self.own))
            else:
                self._remember(key, record, item.value)
                found.records[NAMES[type(record)], gone(key)[1]] = record

    def _difference(self, found: Mapping[tuple[str, str], Record]) -> Iterator[Write]:
        """What has to be written for the records of others to be these. Networks come first: endpoints are on them."""
        now = self._now()
        ours = {
            *(("network", id_) for id_, network in now.networks.items() if network.scope == GLOBAL),
            *((kind, id_) for kind in RESOURCES for id_, one in now.resources(kind).items() if one.scope == GLOBAL),
            *(("host", id_) for id_ in now.hosts),
            *(("subscription", id_) for id_ in now.subscriptions),
            *(("remote", id_) for id_ in now.remotes),
            *(("block", id_) for id_, block in now.blocks.items() if block.host_id != self.own),
            *(("move", id_) for id_, move in now.moves.items() if move.host_id != self.own),
            *(("arrival", id_) for id_, arrival in now.arrivals.items() if arrival.host_id != self.own),
            *(
                ("reservation", id_)
                for id_, one in now.reservations.items()
                if one.host_id != self.own and _shared(now, one)
            ),
        }
        order = list(KINDS)
        for kind, id_ in sorted(found, key=lambda key: order.index(key[0])):
            if now.get(kind, id_) != found[kind, id_]:
                yield put(found[kind, id_])
        for kind, id_ in sorted(ours - found.keys(), key=lambda key: -order.index(key[0])):
            yield Write(kind, id_, None)

    def _lost(self, known: Mapping[str, bytes]) -> Iterator[Write]:
        """Blocks of this host's that the store does not say are its."""
        for block in self._now().blocks.values():
            if block.host_id == self.own and block.held and not known.keys() >= set(keys_of(block)):
                yield put(msgspec.structs.replace(block, held=False))

    # -- who is on a network ------------------------------------------------------------------------------------------

    async def subscribe(self, network_id: str) -> None:
        """Returns once the records say who is on a network, and follow it. Raises Unavailable."""
        async with self._reading:
            if self.follows(network_id):
                return
            prefix = endpoints_of(network_id)
            page = await self._etcd.list(self._root + prefix)
            found = _Found()
            self._sort(page.found, found)
            now = self._now()
            stale = [id_ for id_ in now.elsewhere.on.get(network_id, ()) if ("remote", id_) not in found.records]
            writes = [*map(put, found.records.values()), *(Write("remote", id_, None) for id_ in stale)]
            # Last, as it says that all of them are known. Nothing has happened, of which somebody would have to hear.
            try:
                for part in _sliced([*writes, put(Subscription(id=network_id))]):
                    await self._follow(part, ())
            finally:  # the records may say so, whatever else of it failed
                for key, value in found.own.items():
                    self._publisher.saw(key, value)
                self._advance(prefix, page.revision)
                if self._watches:
                    self._watches.include(self._root + prefix, after=page.revision)

    async def unsubscribe(self, network_id: str) -> None:
        """Forgets who is on a network, if nobody here is, and nothing in the store says so."""
        async with self._reading:
            now = self._now()
            subscription = now.subscriptions.get(network_id)
            if subscription is None or network_id in now.endpoints_on or self._publisher.has_on(network_id):
                return
            if self._wide and network_id in now.networks:
                return
            prefix = endpoints_of(network_id)
            if self._watches:
                self._watches.exclude(self._root + prefix)
            self._reached.pop(prefix, None)
            there = [Write("remote", id_, None) for id_ in now.elsewhere.on.get(network_id, ())]
            await self._follow([*there, drop(subscription)], ())

    async def _widen(self) -> None:
        """Who is on which network is known here as far as it has to be."""
        now = self._now()
        networks, policies = self._looked_at
        if now.policies is not policies:
            self._wide = self._everything or any(policy.far_reaching for policy in now.policies.values())
        elif now.networks is networks:
            return
        for id_, network in now.networks.items() if self._wide else ():
            if network.scope == GLOBAL:
                await self.subscribe(id_)
        self._looked_at = now.networks, now.policies

    async def beyond(self, network_id: str = "") -> AsyncIterator[Remote]:
        """Who is on a network that is not followed, or on any of those, as the store says now. Raises Unavailable."""
        if network_id and self.follows(network_id):
            return
        page = await self._etcd.list(self._root + (endpoints_of(network_id) if network_id else ENDPOINTS))
        for number, item in enumerate(page.found):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            key = item.key.removeprefix(self._root)
            if not self.follows(network_of(key)):
                record = _readable(key, item.value)
                if isinstance(record, Remote) and record.host_id != self.own:
                    yield record

    # -- what changes -------------------------------------------------------------------------------------------------

    async def _watch(
        self, watches: Watches, ready: Callable[[], Awaitable[None]], failed: Callable[[str], None]
    ) -> None:
        doubt: asyncio.TimerHandle | None = None  # where no member answers; another one may take over at once
        try:
            async with contextlib.aclosing(watches.tell()) as told:
                async for news in told:
                    match news:
                        case Interrupted(why):
                            doubt = doubt or asyncio.get_running_loop().call_later(_GRACE, failed, why)
                        case Watching(member):
                            self.member, self.heard = member, time.monotonic()
                            if doubt:
                                doubt.cancel()
                                doubt = None
                                await ready()
                        case Changes(prefix, revision, events):
                            await self._changes([(event.now, event.deleted) for event in events])
                            self._advance(prefix.removeprefix(self._root), revision)
        finally:
            self._watches = None
            if doubt:
                doubt.cancel()

    async def _changes(self, events: Iterable[tuple[KeyValue, bool]]) -> None:
        writes: dict[tuple[str, str], Write] = {}
        serial: KeyValue | None = None
        removed = False
        for item, deleted in events:
            key = item.key.removeprefix(self._root)
            removed |= deleted and gone(key)[0] == "network"
            self.bytes_read += len(item.key) + len(item.value)
            if key == SERIAL:
                serial = item
            elif key.startswith(ALIVE):
                self._alive(key.removeprefix(ALIVE), None if deleted else item.value)
            elif write := self._changed(key, None if deleted else item.value, writes):
                writes[write.kind, write.id] = write
        for part in _sliced(list(writes.values())):
            # A network may have been forgotten meanwhile.
            await self._take([w for w in part if not isinstance(w.record, Remote) or self.follows(w.record.network_id)])
        if serial:
            self._publisher.serial(serial)
        if removed:
            for id_ in [id_ for id_ in self._now().subscriptions if id_ not in self._now().networks]:
                await self.unsubscribe(id_)
        await self._widen()

    def _changed(self, key: str, value: bytes | None, earlier: Mapping[tuple[str, str], Write]) -> Write | None:
        """What it means for the records, after what was `earlier` in the same news. Of this host's own, nothing: the
        publisher is told."""
        kind, id_ = gone(key)
        if not kind:
            return None
        before = earlier[kind, id_].record if (kind, id_) in earlier else self._now().get(kind, id_)
        if value is None:
            self._others.pop(key, None)
            self._publisher.saw_gone(key)
            if isinstance(before, Block) and before.host_id == self.own and before.held:
                return put(msgspec.structs.replace(before, held=False))
            return Write(kind, id_, None) if before and owner(before) != self.own else None
        record = self._readable(key, value)
        if record is None:
            return None
        if owner(record) == self.own:
            self._others.pop(key, None)
            for own, at in _written(key, record, value, self.own).items():
                self._publisher.saw(own, at)
            return None
        self._publisher.saw_gone(key)  # where it was ours before
        self._remember(key, record, value)
        return put(record) if before != record else None

    def _readable(self, key: str, value: bytes) -> Record | None:
        record = _readable(key, value)
        return named_here(record, self._interfaces) if record else None

    def _remember(self, key: str, record: Record, value: bytes) -> None:
        if not isinstance(record, Network | Resource | Remote | Host):
            self._others[key] = value

    def _alive(self, host_id: str, since: bytes | None) -> None:
        if since is None:
            self.answering.pop(host_id, None)
        else:
            self.answering[host_id] = since.decode(errors="replace")

    async def _take(self, writes: Sequence[Write]) -> None:
        if writes:
            await self._follow(writes, list(self._events(writes)))
        if any(write.kind == "network" and write.record is None for write in writes):
            self._publisher.wanting.set()  # what this host had of it goes too

    def _events(self, writes: Iterable[Write]) -> Iterator[Event]:
        """What clients here are told of what others did. Where a network is only now followed, nothing happened."""
        now = self._now()
        networks = {w.id: w.record for w in writes if isinstance(w.record, Network)}
        for write in writes:
            old = now.get(write.kind, write.id)
            match write.record or old:
                case Network() as network if (old is None) != (write.record is None):
                    yield network_event("create" if write.record else "destroy", network)
                case Network() as network:
                    yield network_event("update", network)
                case Remote() as remote if (old is None) != (write.record is None) and self.follows(remote.network_id):
                    if joined := networks.get(remote.network_id) or now.networks.get(remote.network_id):
                        yield network_event("connect" if write.record else "disconnect", joined, remote.container_id)


@dataclasses.dataclass(slots=True)
class _Found:
    """What was read: others' records by kind and id, what is at the keys that are ours, and the serial."""

    records: dict[tuple[str, str], Record] = dataclasses.field(default_factory=dict)
    own: dict[str, bytes] = dataclasses.field(default_factory=dict)
    serial: KeyValue | None = None


def _joined(now: Snapshot) -> set[str]:
    """The networks of the cluster that this host follows, or has to."""
    on = {id_ for id_ in now.endpoints_on if (network := now.networks.get(id_)) and network.scope == GLOBAL}
    return on | set(now.subscriptions)


def _shared(now: Snapshot, reservation: Reservation) -> bool:
    network = now.networks.get(reservation.network_id)
    return network is None or network.scope == GLOBAL


def _readable(key: str, value: bytes) -> Record | None:
    """None, and a word in the log, where somebody else has written something else."""
    try:
        return read(key, value)
    except msgspec.MsgspecError as error:
        log.error("the cluster's store: what is at %s cannot be read: %s", key, error)
        return None


def _written(key: str, record: Record, value: bytes, own: str) -> dict[str, bytes]:
    """The keys that were written with a record of ours, and what is there."""
    written = dict.fromkeys(keys_of(record), own.encode())
    match record:
        case Remote(container_id=container):
            written = dict.fromkeys(written, f"{own}/{container}".encode())
        case Reservation(identity=identity):
            written = dict.fromkeys(written, f"={identity}".encode())
    return written | {key: value}


def _sliced(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    return (writes[at : at + _SLICE] for at in range(0, len(writes), _SLICE))
