"""What this host publishes, made as its records say.

`_known` is what the store holds of ours, as far as we know: what was written by us, and what the follower saw. The
difference to what should be there is what is left to do, whether a change asks for it or the store was away.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from linkspan.daemon.cluster.contract import Overtaken, Unfollowed
from linkspan.engine.blocks import block_of
from linkspan.engine.blocks import holds as holds_address
from linkspan.engine.publication import (
    ADDRESSES,
    CLAIMS,
    RECORDS,
    SERIAL,
    Entry,
    endpoints_of,
    keys_of,
    network_of,
    owner,
    published,
    published_touched,
    read,
    shared,
)
from linkspan.engine.renaming import named_for_all
from linkspan.errors import InvalidArgument, LinkspanError, Unavailable
from linkspan.model.cluster import Block, Host, block_id
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, Write
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.values import (
    Compare,
    Delete,
    Get,
    KeyValue,
    Operation,
    Put,
    absent,
    empty,
    holds,
    present,
    unchanged,
)

log = logging.getLogger(__name__)
_NOTHING: Mapping[str, bytes] = {}
_LARGEST = 1 << 20  # bytes in one change: etcd takes one and a half million
_AT_ONCE = 60  # keys in one transaction of many: etcd takes 128 operations, and a key may need a guard and a look

Unit: TypeAlias = Sequence[str]
"""Keys that are written together or not at all."""


class Publisher:
    def __init__(
        self,
        etcd: Etcd,
        root: str,
        own: Host,
        now: Callable[[], Snapshot],
        follows: Callable[[str], bool],
        *,
        barred: str = "",
        interfaces: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`root` is what all our keys begin with, with a slash at its end. `follows` says whether it is known here who
        is on a network. Where there is a key `barred`, this host was taken out for good: nothing of it is published.
        `interfaces` are this host's, where networks have other names for them."""
        self._etcd, self._root, self.own, self._now, self._follows = etcd, root, own, now, follows
        self._barred = f"{root}{barred}" if barred else ""
        self._interfaces = interfaces
        self._known: dict[str, bytes] = {}
        self._doubtful: set[str] = set()  # what was to be removed, and may be yet: the answer was lost
        self._serial: KeyValue | None = None  # as the records were when it was last written
        self._seen: Callable[[str], bytes | None] = lambda key: None
        self._lock = asyncio.Lock()
        self.refusal = "it was not reached since linkspand started"  # why nothing can be published now; "" where it can
        self.wanting = asyncio.Event()  # set where there is a difference

    # -- what the follower tells --------------------------------------------------------------------------------------

    def found(self, known: Mapping[str, bytes]) -> None:
        """What the store was found to hold of ours, all of it."""
        self._known = dict(known)
        self.wanting.set()

    def saw(self, key: str, value: bytes) -> None:
        """A key of ours has changed in the store, perhaps by ourselves."""
        if self._known.get(key) != value:
            self._known[key] = value
            self.wanting.set()

    def saw_gone(self, key: str) -> None:
        """What is at a record's key is not ours, or no more: so what we had claimed with it may be another's. But it is
        ours where a record that came after it claims the same: the news of what we have removed ourselves are old."""
        if (value := self._known.pop(key, None)) is not None and (record := read(key, value)):
            claims = {claim for claim in keys_of(record) if claim in self._known}
            for claim in claims.difference(*map(self._claimed_by, self._mentioning(claims))):
                del self._known[claim]
            self.wanting.set()

    def _mentioning(self, claims: Collection[str]) -> list[str]:
        """The records of ours that may claim one of these: of thousands, few have to be read."""
        what = [claim.rpartition("/")[2].encode() for claim in claims]
        return [key for key, value in self._known.items() if any(w in value for w in what) and _is_record(key)]

    def _claimed_by(self, key: str) -> tuple[str, ...]:
        record = read(key, self._known[key])
        return keys_of(record) if record else ()

    def has_on(self, network_id: str) -> bool:
        """Whether the store holds an endpoint of ours on a network."""
        prefix = endpoints_of(network_id)
        return any(key.startswith(prefix) for key in self._known)

    def serial(self, found: KeyValue | None) -> None:
        """The records now say what the networks were at this state of the serial."""
        self._serial = found

    def may_take_over(self, seen: Callable[[str], bytes | None]) -> None:
        """`seen` is what the store holds of other hosts' records: whoever takes one over replaces just that."""
        self._seen = seen

    # -- one change ---------------------------------------------------------------------------------------------------

    async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
        old, new = (published_touched(moment, writes, self.own) for moment in (before, after))
        common = shared(before, map(self._for_all, writes))
        if not common and old == new:
            return
        if sum(len(value or b"") for value in common.values()) > _LARGEST:
            raise InvalidArgument(f"more than {_LARGEST >> 10} KiB of resources at once: give them in several files")
        async with self._lock:
            gone = [key for key in old if key not in new]
            changed = {key: entry for key, entry in new.items() if self._known.get(key) != entry.value}
            if self.refusal:
                self._put_off(before, common, changed)
                return
            if not changed and not common and not any(key in self._known for key in gone):
                return
            for network_id in filter(None, map(network_of, changed)):
                if not self._follows(network_id):
                    raise Unfollowed(network_id)
            try:
                if changed or common:
                    await self._write(_with_claims(changed, new), common, self._taken_over(before, writes))
            except Unavailable:
                self.wanting.set()
                if common or any(self._new(before, changed)):
                    raise
            try:
                await self._remove(gone)
            except Unavailable:
                self.wanting.set()

    def _for_all(self, write: Write) -> Write:
        """A network as the cluster calls what it stands on."""
        if not (self._interfaces and isinstance(write.record, Network)):
            return write
        return dataclasses.replace(write, record=named_for_all(write.record, self._interfaces))

    def _taken_over(self, before: Snapshot, writes: Sequence[Write]) -> dict[str, bytes]:
        """What the store holds of other hosts' records that these writes make ours."""
        records = (before.get(w.kind, w.id) for w in writes if w.record is not None and owner(w.record) == self.own.id)
        keys = (keys_of(record)[0] for record in records if record and owner(record) != self.own.id)
        return {key: value for key in keys if (value := self._seen(key)) is not None}

    def _put_off(self, before: Snapshot, common: Mapping[str, bytes | None], changed: Mapping[str, Entry]) -> None:
        """Nothing can be told now. What claims nothing new may go on, and is told later; so may what claims only what
        nobody else can have."""
        if common or any(self._new(before, changed)):
            raise Unavailable(f"the cluster's store cannot be used now: {self.refusal}")
        self.wanting.set()

    def _new(self, before: Snapshot, changed: Mapping[str, Entry]) -> Iterable[str]:
        """What is claimed that another host may have, or get."""
        return (key for key, entry in changed.items() if entry.claim and not self._holds(before, key))

    def _holds(self, before: Snapshot, key: str) -> bool:
        """A reservation that is ours in the store, of which only something else is to be said: that it rests. Or an
        address of a block that is ours alone; but of a network that somebody here is on, and that therefore is there
        for as long as we cannot be asked."""
        if key.startswith(f"{ADDRESSES}/"):
            network_id, _, address = key.removeprefix(f"{ADDRESSES}/").partition("/")
            return network_id in before.endpoints_on and holds_address(before, network_id, address, self.own.id)
        return key in self._known and key.startswith(f"{RECORDS}reservations/")

    async def confirm_blocks(self, confirmed: Callable[[Block], Awaitable[None]]) -> None:
        """Tells of each block of ours that is not known to be held, and which the store says is. Nothing is published
        before `confirmed` returns, so it must not be. Raises Unavailable."""
        now = self._now()
        for block in [b for b in now.blocks.values() if b.host_id == self.own.id and not b.held]:
            network, (key,) = now.networks.get(block.network_id), keys_of(block)
            if network is None or not network.exclusive_blocks:
                continue
            async with self._lock:  # nothing of ours is on its way meanwhile
                if key in self._known and key not in self._doubtful:
                    found = await self._etcd.get(self._root + key)
                    if found and found.value == self._known.get(key) and self._now().blocks.get(block.id) == block:
                        await confirmed(block)

    def withdraw(self) -> None:
        self.wanting.set()

    async def _write(
        self,
        changed: Mapping[str, Entry],
        common: Mapping[str, bytes | None] = _NOTHING,
        takes: Mapping[str, bytes] = _NOTHING,
    ) -> None:
        """One transaction. `takes` are other hosts' values that it replaces. Raises Overtaken, which says what of."""
        claims = {key: self._known.get(key, takes.get(key)) for key, entry in changed.items() if entry.claim}
        while True:
            guards = [_still(self._root + key, value) for key, value in claims.items()]
            guards += self._conditions(changed, common)
            guards += self._blocks_of(changed)
            guards += [absent(self._barred)] if self._barred else []
            then: list[Operation] = [Put(self._root + key, entry.value) for key, entry in changed.items()]
            for key, value in common.items():
                then.append(Delete(self._root + key) if value is None else Put(self._root + key, value))
            if common:
                then.append(Put(self._root + SERIAL, self.own.id.encode()))
            result = await self._etcd.txn(guards, then, [Get(self._root + key) for key in claims])
            if result.succeeded:
                break
            found = {key: items[0] for key, items in zip(claims, result.read, strict=True) if items}
            there = {key: found[key].value if key in found else None for key in claims}
            # What an earlier life of this host has left behind is ours, whatever it says.
            strange = [k for k, v in there.items() if v not in (None, claims[k], changed[k].value)]
            if taken := sorted(key for key in strange if _writer(key, there[key] or b"") != self.own.id):
                newest = max((found[key] for key in taken), key=lambda item: item.mod_revision)
                where = _told_of(newest.key.removeprefix(self._root), newest.value)
                if where and not self._follows(where):
                    raise Unfollowed(where)
                raise Overtaken(f"another host has {', '.join(map(_said, taken))}", newest.mod_revision, where)
            if there == claims:
                await self.check_barred()
                removed = (network for key, value in common.items() if value is None and (network := _removed(key)))
                if unknown := next((id_ for id_ in removed if not self._follows(id_)), ""):
                    raise Unfollowed(unknown)  # somebody may be on it: who, is to be said
                raise Overtaken("another host has changed what all hosts share meanwhile", result.revision)
            claims = there
        self._known.update((key, entry.value) for key, entry in changed.items())
        if common:  # of which the follower will hear, but the next change may not wait so long
            self._serial = KeyValue(self._root + SERIAL, b"", 0, result.revision, 0)

    async def check_barred(self) -> None:
        """Raises Unavailable where this host was taken out for good."""
        if self._barred and await self._etcd.get(self._barred):
            raise Unavailable(
                "this host was taken out of the mesh; to come back it has to join anew: stop linkspand, and remove the "
                "folder mesh from its data root"
            )

    def _conditions(self, changed: Mapping[str, Entry], common: Mapping[str, bytes | None]) -> Iterable[Compare]:
        """Who joins a network finds it there; who changes one, or a resource, has seen every change of all; who removes
        a network finds nobody on it."""
        for network_id in {network for key in changed if (network := network_of(key))}:
            yield present(f"{self._root}{RECORDS}networks/{network_id}")
        if common:
            serial = self._root + SERIAL
            yield unchanged(self._serial) if self._serial else absent(serial)
        for key, value in common.items():
            if value is None and (network := _removed(key)):
                yield empty(self._root + endpoints_of(network))

    def _blocks_of(self, changed: Mapping[str, Entry]) -> Iterable[Compare]:
        """Where blocks are exclusive, who claims an address has its block, or nobody has."""
        now, seen = self._now(), set[str]()
        for key in changed:
            if not key.startswith(f"{ADDRESSES}/"):
                continue
            network_id, _, address = key.removeprefix(f"{ADDRESSES}/").partition("/")
            network = now.networks.get(network_id)
            subnet = block_of(network, address) if network and network.exclusive_blocks else ""
            block = f"{RECORDS}blocks/{block_id(network_id, subnet)}"
            if subnet and block not in changed and block not in seen:
                seen.add(block)
                yield _still(self._root + block, self._known.get(block))

    async def _remove(self, keys: Iterable[str]) -> None:
        """What is ours, together where that can be: what another has meanwhile is left.

        A record goes with its claims or after them: who finds it gone knows that they are.
        """
        there = sorted((key for key in keys if key in self._known), key=_is_record)
        for part in _parts(there):
            guards = [holds(self._root + key, self._known[key]) for key in part]
            self._doubtful.update(part)
            done = await self._etcd.txn(guards, [Delete(self._root + key) for key in part])
            for key in part:
                if not done.succeeded and key in self._known:
                    await self._etcd.txn([holds(self._root + key, self._known[key])], [Delete(self._root + key)])
                self._known.pop(key, None)
                self._doubtful.discard(key)

    # -- everything ---------------------------------------------------------------------------------------------------

    async def settle(self) -> list[str]:
        """Makes what is published as the records say. Answers the keys that another host has, and that should be ours.

        Raises Unavailable, with what was done done.
        """
        lost: list[str] = []
        async with self._lock:
            self.wanting.clear()
            wanted = published(self._now(), self.own)
            gone = [key for key in self._known if key not in wanted]
            await self._remove(gone)
            changed = {key: entry for key, entry in wanted.items() if self._known.get(key) != entry.value}
            changed = _with_claims(changed, wanted)
            for some in _batches(_units(changed)):
                lost += await self._write_together(changed, some)
        return lost

    async def _write_together(self, changed: Mapping[str, Entry], units: Sequence[Unit]) -> list[str]:
        """One by one where they cannot be written together, so that one that is lost is no other's misfortune. Answers
        what of it is another host's."""
        try:
            await self._write({key: changed[key] for unit in units for key in unit})
            return []
        except Overtaken:
            if len(units) == 1:
                (unit,) = units
                return [key for key in unit if not _is_record(key)] or list(unit)
        return [key for unit in units for key in await self._write_together(changed, [unit])]

    async def join(self) -> None:
        """This host's own record. Raises Overtaken where another one has its address."""
        async with self._lock:
            entries = {k: e for k, e in published(Snapshot(), self.own).items() if self._known.get(k) != e.value}
            if entries:
                await self._write(entries)

    async def expel(self, keys: Sequence[str], host_id: str) -> None:
        """Removes what another host has written at these keys; what somebody else has written since is left."""
        for key in sorted(keys, key=_is_record):  # as in _remove
            found = await self._etcd.get(self._root + key)
            if found and _writer(key, found.value) == host_id:
                await self._etcd.txn([unchanged(found)], [Delete(self._root + key)])


def _with_claims(changed: Mapping[str, Entry], entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """With each record what it claims, also what is known to be ours: that may be old news, of a claim that we have
    given back since; and whoever reads the record relies on its claim."""
    records = (read(key, entry.value) for key, entry in changed.items() if _is_record(key))
    claims = {key for record in records if record for key in keys_of(record)}
    return {key: entry for key, entry in entries.items() if key in changed or key in claims}


def _still(key: str, value: bytes | None) -> Compare:
    return absent(key) if value is None else holds(key, value)


def _writer(key: str, value: bytes) -> str:
    """The host that has written what is at a key; "" where that is nobody's."""
    if not _is_record(key):
        return value.decode(errors="replace").partition("/")[0]
    try:
        return owner(record) if (record := read(key, value)) else ""
    except msgspec.MsgspecError:
        return ""


def _is_record(key: str) -> bool:
    return not key.startswith(CLAIMS)


def _removed(key: str) -> str:
    """The network whose key it is; "" for any other key."""
    prefix = f"{RECORDS}networks/"
    return key.removeprefix(prefix) if key.startswith(prefix) else ""


def _told_of(key: str, value: bytes) -> str:
    """The network among whose endpoints is told of what is at a key; "" where all hosts are told of it."""
    return key.split("/")[2] if key.startswith(f"{ADDRESSES}/") and not value.startswith(b"=") else ""


def _said(key: str) -> str:
    if key.startswith(f"{ADDRESSES}/"):
        return f"the address {key.rpartition('/')[2]}"
    return (
        f"the block {'/'.join(key.split('/')[3:])}" if key.startswith(f"{RECORDS}blocks/") else key.rpartition("/")[2]
    )


def _parts(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[at : at + _AT_ONCE] for at in range(0, len(keys), _AT_ONCE))


def _units(changed: Mapping[str, Entry]) -> Sequence[Unit]:
    """Each record with its claims: whoever reads the record relies on them, so that it is not written without. Two with
    a claim in common are one, and a claim whose record is there already is one by itself."""
    unit_of: dict[str, str] = {}
    for key, entry in changed.items():
        if _is_record(key) and (record := read(key, entry.value)):
            keys = keys_of(record)
            unit_of.update(dict.fromkeys(keys, next((unit_of[k] for k in keys if k in unit_of), key)))
    units: dict[str, list[str]] = {}
    for key in changed:
        units.setdefault(unit_of.get(key, key), []).append(key)
    return list(units.values())


def _batches(units: Sequence[Unit]) -> Iterable[Sequence[Unit]]:
    some: list[Unit] = []
    for unit in units:
        if some and sum(map(len, some)) + len(unit) > _AT_ONCE:
            yield some
            some = []
        some.append(unit)
    if some:
        yield some


def reason(error: LinkspanError) -> str:
    return str(error).removeprefix("etcd: ")
