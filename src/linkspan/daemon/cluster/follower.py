"""What the other hosts publish, as records of ours: read once, then followed.

What is this host's own is not taken from the store: here the records are what counts, and the store follows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from linkspan.daemon.cluster.publisher import Publisher, reason
from linkspan.engine.change import network_event
from linkspan.engine.publication import ALIVE, FOLDERS, RECORDS, SERIAL, gone, keys_of, owner, read
from linkspan.errors import LinkspanError
from linkspan.model.cluster import GLOBAL, Block, Host, Remote, Reservation
from linkspan.model.event import Event
from linkspan.model.network import Network
from linkspan.model.resource import Resource
from linkspan.model.snapshot import NAMES, RESOURCES, Record, Snapshot, Write, put
from linkspan.store.etcd.contract import Compacted, Etcd
from linkspan.store.etcd.values import Changes, Interrupted, KeyValue, Watching

log = logging.getLogger(__name__)
_SLICE = 2000  # records at once: the event loop has others to serve
_MOMENT = 0.3  # seconds until what is changed in the store is known here, unless it is busy
_GRACE = 1.5  # seconds without a member to follow over, before the store counts as away
_PAUSE = 1.0  # seconds, before what failed is tried again

Follow = Callable[[Sequence[Write], Sequence[Event]], Awaitable[None]]


class Follower:
    def __init__(
        self, etcd: Etcd, root: str, publisher: Publisher, now: Callable[[], Snapshot], follow: Follow
    ) -> None:
        """`follow` makes records and kernel as other hosts have written."""
        self._etcd, self._root, self._publisher, self._now, self._follow = etcd, root, publisher, now, follow
        self.own = publisher.own.id
        self.revision = 0  # up to which the records say what the store said
        self.heard = 0.0  # when the store was last heard of (time.monotonic)
        self.member = ""  # over which we follow
        self.answering: dict[str, str] = {}  # the hosts that answer: id → since when
        self.bytes_read = 0
        self._others: dict[str, bytes] = {}  # what other hosts hold that one might take over
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        publisher.may_take_over(self._others.get)

    async def run(
        self, check: Callable[[], Awaitable[None]], ready: Callable[[], Awaitable[None]], failed: Callable[[str], None]
    ) -> None:
        """For ever. `check` is called before the store is read, `ready` whenever the records are as the store has them
        and can be published against, `failed` with the reason where the store cannot be followed."""
        while True:
            try:
                await check()
                await self._read()
                await ready()
                await self._watch(ready, failed)
            except Compacted as error:
                log.warning("%s: everything is read anew", error)
            except LinkspanError as error:
                failed(reason(error))
                await asyncio.sleep(_PAUSE)

    async def caught_up(self, revision: int) -> None:
        """Returns once the records say what the store said at a revision; or after a moment, as what has changed until
        then may be none of our business, and we never hear of it."""
        if revision > self.revision:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((revision, waiting))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting, _MOMENT)

    def _advance(self, revision: int) -> None:
        self.revision, self.heard = max(self.revision, revision), time.monotonic()
        still = []
        for wanted, waiting in self._waiting:
            if wanted > self.revision:
                still.append((wanted, waiting))
            elif not waiting.done():
                waiting.set_result(None)
        self._waiting = still

    # -- all of it ----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        page = await self._etcd.list(self._root + RECORDS)
        found: dict[tuple[str, str], Record] = {}
        known: dict[str, bytes] = {}
        serial: KeyValue | None = None
        self._others.clear()
        self.answering.clear()
        for item in page.found:
            key = item.key.removeprefix(self._root)
            self.bytes_read += len(item.key) + len(item.value)
            if key == SERIAL:
                serial = item
            elif key.startswith(ALIVE):
                self.answering[key.removeprefix(ALIVE)] = item.value.decode(errors="replace")
            elif (record := _readable(key, item.value)) is None:
                continue
            elif owner(record) == self.own:
                known.update(_written(key, record, item.value, self.own))
            else:
                self._remember(key, record, item.value)
                found[NAMES[type(record)], gone(key)[1]] = record
        for part in _sliced([*self._difference(found), *self._lost(known)]):
            await self._take(part)
        self._publisher.serial(serial)
        self._publisher.found(known)
        self._advance(page.revision)

    def _difference(self, found: dict[tuple[str, str], Record]) -> Iterator[Write]:
        """What has to be written for the records of others to be these. Networks come first: endpoints are on them."""
        now = self._now()
        ours = {
            *(("network", id_) for id_, network in now.networks.items() if network.scope == GLOBAL),
            *((kind, id_) for kind in RESOURCES for id_, one in now.resources(kind).items() if one.scope == GLOBAL),
            *(("host", id_) for id_ in now.hosts),
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
        order = list(FOLDERS.values())
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

    # -- what changes -------------------------------------------------------------------------------------------------

    async def _watch(self, ready: Callable[[], Awaitable[None]], failed: Callable[[str], None]) -> None:
        doubt: asyncio.TimerHandle | None = None  # where no member answers; another one may take over at once
        try:
            async with contextlib.aclosing(self._etcd.watch(self._root + RECORDS, after=self.revision)) as told:
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
                        case Changes(revision, events):
                            await self._changes([(event.now, event.deleted) for event in events])
                            self._advance(revision)
        finally:
            if doubt:
                doubt.cancel()

    async def _changes(self, events: Iterable[tuple[KeyValue, bool]]) -> None:
        writes: dict[tuple[str, str], Write] = {}
        serial: KeyValue | None = None
        for item, deleted in events:
            key = item.key.removeprefix(self._root)
            self.bytes_read += len(item.key) + len(item.value)
            if key == SERIAL:
                serial = item
            elif key.startswith(ALIVE):
                self._alive(key.removeprefix(ALIVE), None if deleted else item.value)
            elif write := self._changed(key, None if deleted else item.value, writes):
                writes[write.kind, write.id] = write
        for part in _sliced(list(writes.values())):
            await self._take(part)
        if serial:
            self._publisher.serial(serial)

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
        record = _readable(key, value)
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
            await self._follow(writes, list(_events(self._now(), writes)))
        if any(write.kind == "network" and write.record is None for write in writes):
            self._publisher.wanting.set()  # what this host had of it goes too


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


def _events(now: Snapshot, writes: Iterable[Write]) -> Iterator[Event]:
    """What clients here are told of what others did."""
    networks = {w.id: w.record for w in writes if isinstance(w.record, Network)}
    for write in writes:
        old = now.get(write.kind, write.id)
        match write.record or old:
            case Network() as network if (old is None) != (write.record is None):
                yield network_event("create" if write.record else "destroy", network)
            case Network() as network:
                yield network_event("update", network)
            case Remote() as remote if (old is None) != (write.record is None):
                if joined := networks.get(remote.network_id) or now.networks.get(remote.network_id):
                    yield network_event("connect" if write.record else "disconnect", joined, remote.container_id)
