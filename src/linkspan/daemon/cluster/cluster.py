"""This host as a member of its cluster: it follows the others, publishes what is its own, and answers who is there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set

import msgspec

from linkspan import __version__
from linkspan.daemon.background import Background
from linkspan.daemon.cluster.contract import Overtaken
from linkspan.daemon.cluster.follower import Follow, Follower
from linkspan.daemon.cluster.joining import check_store
from linkspan.daemon.cluster.liveness import Liveness
from linkspan.daemon.cluster.publisher import Publisher
from linkspan.engine.blocks import idle_blocks, spare_blocks
from linkspan.engine.publication import expelled, keys_of
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, NotFound
from linkspan.model.cluster import GLOBAL, Block, Host
from linkspan.model.endpoint import Endpoint
from linkspan.model.snapshot import Snapshot, Write, put
from linkspan.state.host import Underlay
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.values import MemberStatus

log = logging.getLogger(__name__)
_IDLE = 60.0  # seconds between two looks for blocks of addresses that nobody here needs
_SPARE = 1.0  # and between two looks for what has to be there in advance
_SLICE = 1000  # records at once: the event loop has others to serve
_FIRST = 5.0  # seconds that a start waits for the store


@dataclasses.dataclass(frozen=True, slots=True)
class HostView:
    """A member of the cluster. `since` is when its daemon started, "" where it does not answer."""

    host: Host
    since: str
    containers: int  # on networks of the cluster
    this: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Tunnel:
    """What leads from this host to another for a network; `containers` of it are reached there."""

    network: str
    vni: int
    host: str
    address: str
    containers: int


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterView:
    """`trouble` says why the store cannot be used now, "" where it can. `lag` is how many revisions of it are not yet
    known here, those among them that are of networks which nobody here is on; `silent` seconds since it was last heard
    of."""

    address: str
    host: Host
    trouble: str
    member: str
    revision: int
    lag: int
    silent: float
    bytes_read: int
    members: tuple[MemberStatus, ...]
    blocks: tuple[tuple[str, str, str], ...]  # network's name, subnet, host's name
    held: tuple[str, ...]  # subnets of which this host gives out addresses also when it can ask nobody
    tunnels: tuple[Tunnel, ...]


class Cluster:
    def __init__(
        self,
        etcd: Etcd,
        address: str,
        root: str,
        own: Host,
        *,
        now: Callable[[], Snapshot],
        follow: Follow,
        change: Callable[[Sequence[Write]], Awaitable[None]],
        evict: Callable[[Endpoint, str], Awaitable[None]],
        settled: Callable[[], Snapshot] | None = None,
        everything: bool = False,
        barred: str = "",
        interfaces: Mapping[str, str] | None = None,
    ) -> None:
        """`root` begins all keys, with a slash at its end. `settled` are the records without what is still being
        asked for. `change` carries out what this host decides of itself; `evict` takes an endpoint off its network, of
        which another host has the address. With `everything` this host follows who is on a network also where it is on
        none of them. `interfaces` are its own where the cluster's networks have other names for them. A key `barred`
        says that this host was taken out for good."""
        self.own, self.address, self.root = own, address, root
        self._etcd, self._root, self._now, self._change, self._evict = etcd, root, now, change, evict
        self._settled = settled or now
        self._publisher = Publisher(
            etcd, root, own, now, lambda id_: self._follower.follows(id_), barred=barred, interfaces=interfaces or {}
        )
        self._follower = Follower(
            etcd, root, self._publisher, now, follow, everything=everything, interfaces=interfaces or {}
        )
        self._liveness = Liveness(etcd, root, own.id, self._publisher.withdraw)
        self._background = Background()
        self._joined = False
        self._complained = False  # in the log, of a store that cannot be used
        self.usable = asyncio.Event()  # whether the store can be used now
        self._decided = asyncio.Event()  # whether the first attempt to join has succeeded is known
        self._unwelcome: Conflict | None = None

    # -- its life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Joins. Where the store does not answer, what this host knows of the others serves until it does.

        Raises Conflict where the store is not for us, or another host has our address.
        """
        self._background.keep(lambda: self._follower.run(self._check, self._ready, self._trouble))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._decided.wait(), _FIRST)
        if self._unwelcome:
            raise self._unwelcome
        for work in (self._live, self._publish, self._give_back, self._hold_on):
            self._background.keep(work)

    async def _check(self) -> None:
        """Before anything is read."""
        await self._publisher.check_barred()
        try:
            await check_store(self._etcd, self._root)
        except Conflict as error:
            self._unwelcome = error
            raise

    async def _ready(self) -> None:
        """The records are as the store has them."""
        try:
            await self._publisher.join()
        except Overtaken as error:
            self._unwelcome = Conflict(self._double())
            raise self._unwelcome from error
        self._unwelcome = None
        if self._complained:
            log.info("the cluster's store at %s can be used%s", self.address, " again" if self._joined else " now")
            self._complained = False
        self._publisher.refusal = ""
        self.usable.set()
        self._publisher.wanting.set()
        self._joined = True
        self._decided.set()

    def _double(self) -> str:
        """What another host has that this one wanted, and what is to be done."""
        others = self._now().hosts.values()
        if self.own.wireguard:
            return (
                f"another host of the mesh has the name {self.own.name} already: give this one a name of its own, or "
                "take that one out: linkspan mesh forget"
            )
        own = {a for a in (self.own.address, self.own.address6) if a}
        name = next((h.name for h in others if own & {h.address, h.address6}), "another host")
        return (
            f"{name} of the cluster has the address {' or '.join(sorted(own))} already: give this host an address of "
            "its own (--advertise), or take that one out: linkspan host rm"
        )

    def _trouble(self, why: str) -> None:
        if self._publisher.refusal != why:
            log.warning("the cluster's store at %s cannot be used: %s", self.address, why)
            self._complained = True
        self._publisher.refusal = why
        self.usable.clear()
        self._decided.set()

    async def close(self) -> None:
        await self._background.end()
        await self._liveness.end()
        await self._etcd.close()

    # -- what goes on -------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Once the store is known to be ours: in one that is empty yet, a word of this host would be a stranger's."""
        await self.usable.wait()
        await self._liveness.run()

    async def _publish(self) -> None:
        """Whatever is not as it should be, whenever it can be."""
        while True:
            await self._publisher.wanting.wait()
            if not self._publisher.refusal:
                try:
                    for key in await self._publisher.settle():
                        await self._lost(key)
                    continue
                except LinkspanError as error:
                    log.debug("not everything could be published: %s", error)
                    self._publisher.wanting.set()
            await asyncio.sleep(0.5)

    async def _lost(self, key: str) -> None:
        """Another host has an address that a container here uses: this one gives way, or two would answer for it."""
        parts = key.split("/")
        if parts[:2] != ["claims", "addresses"]:
            log.error("the cluster's store: %s is another host's", key)
            return
        network_id, address = parts[2], parts[3]
        # One whose start is still being asked for decides anew by itself: it has not got the address.
        now = self._settled()
        for endpoint in [e for e in now.endpoints.values() if e.network_id == network_id]:
            if address in (endpoint.address, endpoint.address6):
                await self._evict(endpoint, address)

    async def _give_back(self) -> None:
        """What nobody here needs: blocks of addresses, and the news of networks that nobody was on at the last look
        either, as who stops often starts again."""
        idle: Set[str] = frozenset()
        while True:
            await asyncio.sleep(_IDLE)
            await self.give_back()
            now = self._now()
            left = {id_ for id_ in now.subscriptions if id_ not in now.endpoints_on}
            for id_ in () if self._publisher.refusal else idle & left:
                with contextlib.suppress(LinkspanError):
                    await self._follower.unsubscribe(id_)
            idle = left

    async def give_back(self) -> None:
        """Blocks that nobody here needs."""
        if not self._publisher.refusal and (writes := idle_blocks(self._now(), self.own.id)):
            with contextlib.suppress(LinkspanError):
                await self._change(writes)

    async def _hold_on(self) -> None:
        """Blocks to take addresses from when nobody can be asked: there in advance, and surely this host's."""
        while True:
            await asyncio.sleep(_SPARE)
            await self.hold()

    async def hold(self) -> None:
        """As far as it can be had now."""
        if not self._publisher.refusal:
            with contextlib.suppress(LinkspanError):
                for write in spare_blocks(self._now(), self.own.id):
                    await self._change((write,))
                await self._publisher.confirm_blocks(self._confirmed)

    async def _confirmed(self, block: Block) -> None:
        """It is in this host's records alone: there is nothing to be published of it."""
        await self._change((put(msgspec.structs.replace(block, held=True)),))

    # -- one change ---------------------------------------------------------------------------------------------------

    async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
        await self._publisher.publish(before, after, writes)

    def withdraw(self) -> None:
        self._publisher.withdraw()

    def restate(self, **changes: object) -> None:
        """This host says something else of itself from now on."""
        self.own = self._publisher.own = msgspec.structs.replace(self.own, **changes)
        self._publisher.wanting.set()

    async def follow(self, network_id: str) -> None:
        await self._follower.subscribe(network_id)

    async def caught_up(self, revision: int, network_id: str = "") -> None:
        await self._follower.caught_up(revision, network_id)

    @property
    def revision(self) -> int:
        """The latest one of the store of which anything is known here."""
        return self._follower.revision

    # -- questions ----------------------------------------------------------------------------------------------------

    def answering(self) -> frozenset[str]:
        """Ids of the hosts that answer."""
        return frozenset(self._follower.answering)

    async def whole(self, network_id: str = "") -> Snapshot:
        """The records, and who is on a network that this host does not follow, or on all of those: read now, or left
        out where the store cannot be read."""
        found: list[Write] = []
        with contextlib.suppress(LinkspanError):
            found = [put(remote) async for remote in self._follower.beyond(network_id)]
        snapshot = self._now()
        for at in range(0, len(found), _SLICE):
            snapshot = snapshot.after(found[at : at + _SLICE])
            await asyncio.sleep(0)
        return snapshot

    async def hosts(self) -> list[HostView]:
        now = self._now()
        answering = self._follower.answering
        here = sum(now.networks[e.network_id].scope == GLOBAL for e in now.endpoints.values())
        there = Counter(remote.host_id for remote in now.remotes.values())
        with contextlib.suppress(LinkspanError):
            async for remote in self._follower.beyond():
                there[remote.host_id] += 1
        others = [HostView(host, answering.get(host.id, ""), there[host.id], False) for host in now.hosts.values()]
        own = HostView(self.own, answering.get(self.own.id, ""), here, True)
        return sorted([own, *others], key=lambda view: view.host.name)

    async def host(self, ref: str) -> HostView:
        """By its name, its id or how that begins. Raises NotFound; InvalidArgument where there are several."""
        views = await self.hosts()
        found = [v for v in views if v.host.name == ref] or [v for v in views if ref and v.host.id.startswith(ref)]
        if not found:
            raise NotFound(f"no such host: {ref}: `linkspan host ls` shows them")
        if len(found) > 1:
            raise InvalidArgument(f"{ref} is the name of {len(found)} hosts: use an id")
        return found[0]

    async def view(self) -> ClusterView:
        now, follower = self._now(), self._follower
        members = tuple(await self._etcd.status())
        newest = max((member.revision for member in members), default=0)
        names = {self.own.id: self.own.name} | {host.id: host.name for host in now.hosts.values()}
        blocks = [
            (network.name, block.subnet, names.get(block.host_id, block.host_id))
            for block in now.blocks.values()
            if (network := now.networks.get(block.network_id))
        ]
        # And the subnets of networks in parts: a host of another kind is known by its address alone.
        at = {host.address: host.name for host in (self.own, *now.hosts.values())}
        blocks += [
            (network.name, subnet.lease.subnet, at.get(subnet.lease.public_ip, subnet.lease.public_ip))
            for subnet in now.subnets.values()
            if (network := now.networks.get(subnet.network_id))
        ]
        return ClusterView(
            self.address,
            self.own,
            self._publisher.refusal,
            follower.member,
            follower.revision,
            max(0, newest - follower.revision) if follower.revision else newest,
            time.monotonic() - follower.heard if follower.heard else -1.0,
            follower.bytes_read,
            members,
            tuple(sorted(blocks)),
            tuple(sorted(block.subnet for block in now.blocks.values() if block.held)),
            tuple(self._tunnels()),
        )

    def _tunnels(self) -> Iterator[Tunnel]:
        now = self._now()
        for network in sorted(now.networks.values(), key=lambda network: network.name):
            if not network.vni or network.id not in now.endpoints_on:
                continue
            there = Counter(remote.host_id for remote in now.remotes_at(network))
            for host in sorted(filter(None, map(now.hosts.get, there)), key=lambda host: host.name):
                yield Tunnel(network.name, network.vni, host.name, host.address or host.address6, there[host.id])

    async def expel(self, ref: str, *, force: bool) -> None:
        """Takes a host out of the cluster, and with it what it had published. Raises Conflict where it answers."""
        host = self.find(ref, force=force)
        there = [put(remote) async for remote in self._follower.beyond() if remote.host_id == host.id]
        now = self._now().after(there)
        for write in expelled(now, host.id):
            if record := now.get(write.kind, write.id):
                await self._publisher.expel(keys_of(record), host.id)

    def find(self, ref: str, *, force: bool) -> Host:
        """Another host, by its name, its id or how that begins. Raises NotFound; Conflict where it answers, unless
        with `force`; InvalidArgument where there are several."""
        now = self._now()
        found = [h for h in now.hosts.values() if ref and (ref in (h.name, h.id) or h.id.startswith(ref))]
        if ref in (self.own.name, self.own.id):
            raise Conflict(f"host {ref} is this one: stop its linkspand, and take it out from another host")
        if not found:
            raise NotFound(f"no such host: {ref}: `linkspan host ls` shows them")
        if len(found) > 1:
            raise InvalidArgument(f"{ref} is the name of {len(found)} hosts: use an id")
        (host,) = found
        if host.id in self._follower.answering and not force:
            raise Conflict(f"host {host.name} answers: stop its linkspand first, or use --force")
        return host


def own_host(
    host_id: str, name: str, underlay: Underlay, created: str, labels: Mapping[str, str] | None = None
) -> Host:
    return Host(
        id=host_id,
        name=name,
        address=underlay.address,
        address6=underlay.address6,
        mtu=underlay.mtu,
        version=__version__,
        created=created,
        labels=labels or {},
    )
