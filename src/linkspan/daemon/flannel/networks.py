"""The flannel networks of a cluster, on this host: a lease is held for each, and what the leases say becomes records.

Their leases are in the cluster's etcd, where flannel has them: hosts with flanneld can be on the same network.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from linkspan.daemon.background import Background
from linkspan.daemon.flannel.keeper import Keeper, View
from linkspan.daemon.flannel.place import describe
from linkspan.daemon.flannel.registry import Registry
from linkspan.daemon.flannel.tunnel import UdpTunnel, tunnel_settings
from linkspan.drivers.flannel import CONFIG, FlannelDriver, off_link
from linkspan.engine.flannels import DRIVER, check_backend, check_config, prefix_of, wanted_config
from linkspan.engine.request import NetworkRequest
from linkspan.errors import InvalidArgument, LinkspanError
from linkspan.model.event import Event
from linkspan.model.flannel import FlannelConfig, Lease, parse_config
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.model.subnet import HostSubnet, host_subnet_id
from linkspan.store.etcd.contract import Etcd

log = logging.getLogger(__name__)
_FIRST = 5.0  # seconds that whoever makes a network waits for this host's lease
TakeOver = Callable[[Sequence[Write], Sequence[Event]], Awaitable[None]]


class FlannelNetworks:
    def __init__(
        self, etcd: Etcd, driver: FlannelDriver, folder: Path, *, now: Callable[[], Snapshot], take_over: TakeOver
    ) -> None:
        """`folder` is for sockets of tunnels' processes; `take_over` makes records of what other hosts have done."""
        self._etcd, self._driver, self._folder = etcd, driver, folder
        self._now, self._take_over = now, take_over
        self._parts: dict[str, _PartOfNetwork] = {}
        self._heard: set[str] = set()  # networks that we have had a part of since we started
        self._background = Background()

    def follow(self, before: Snapshot | None = None) -> None:
        """The networks may have changed, since `before` if it is known."""
        snapshot = self._now()
        networks = snapshot.networks
        # Of a network that went while no daemon ran.
        orphans = [s for s in snapshot.subnets.values() if s.network_id not in networks]
        if orphans and not self._parts:
            self._background.run(self._forget(orphans))
        for id_ in [id_ for id_ in self._parts if id_ not in networks]:
            self._background.run(self._parts.pop(id_).leave())
        for network in networks.values():
            if network.driver == DRIVER and network.id not in self._parts:
                self._parts[network.id] = part = self._part(network)
                part.start()
        taken = {prefix_of(part.network.options) for part in self._parts.values()}
        for network in before.networks.values() if before else ():
            # One that went while no daemon ran: of it we hear at the start, and still have a lease.
            if network.id in networks or network.id in self._heard or network.driver != DRIVER:
                continue
            if prefix_of(network.options) not in taken:
                self._background.run(self._part(network).leave())
        self._heard.update(self._parts)

    def _part(self, network: Network) -> _PartOfNetwork:
        return _PartOfNetwork(network, self._etcd, self._driver, self._folder, self._now, self._take_over)

    async def _forget(self, subnets: Sequence[HostSubnet]) -> None:
        await self._take_over([*map(drop, subnets)], ())

    async def prepared(self, request: NetworkRequest) -> NetworkRequest:
        """The request for a flannel network, with the configuration that holds: what is in etcd, or what the request
        describes, written there. Raises Unavailable, NotFound, InvalidArgument, Conflict, Unsupported."""
        if CONFIG in request.options:
            raise InvalidArgument(f"network {request.name}: unknown option: {CONFIG}")
        if wanted := wanted_config(request.options, request.pools):
            check_backend(parse_config(wanted), self._driver.underlay)  # before it is written
        prefix = prefix_of(request.options)
        registry = Registry(self._etcd, prefix)
        config = await (registry.offer_config(wanted) if wanted else registry.config())
        check_config(config, wanted, prefix)
        ranges = [range_ for range_ in (config.v4, config.v6) if range_]
        return dataclasses.replace(
            request,
            options={**request.options, CONFIG: config.text},
            pools=tuple(Pool(subnet=range_.network) for range_ in ranges),
            ipv6=config.v6 is not None,
        )

    async def ready(self, network_id: str) -> None:
        """Returns once this host has its part, or after a while: that is no reason to keep who made it waiting."""
        if part := self._parts.get(network_id):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(part.there.wait(), _FIRST)

    async def close(self) -> None:
        """Everything stays as it is, leases and tunnels too."""
        await asyncio.gather(self._background.end(), *(part.close() for part in self._parts.values()))


class _PartOfNetwork:
    """What this host has of one network."""

    def __init__(
        self,
        network: Network,
        etcd: Etcd,
        driver: FlannelDriver,
        folder: Path,
        now: Callable[[], Snapshot],
        take_over: TakeOver,
    ) -> None:
        self.network, self._driver = network, driver
        self._socket = folder / f"flannel-{network.id[:12]}.sock"
        self._now, self._take_over = now, take_over
        own = now().own_subnet(network)
        self._keeper = Keeper(
            Registry(etcd, prefix_of(network.options)),
            self._describe,
            previous=(own.lease.subnet, own.lease.subnet6) if own else ("", ""),
            changed=self._changed,
        )
        self._view: View | None = None
        self._stirred = asyncio.Event()
        self._tunnel: UdpTunnel | None = None
        self._background = Background()
        self._passed_over: tuple[Lease, ...] = ()
        self.there = asyncio.Event()

    def start(self) -> None:
        for work in (self._keeper.run, self._follow):
            self._background.keep(work)
        if self._now().own_subnet(self.network):
            self._follow_tunnel()  # as it was, until etcd says otherwise

    async def close(self) -> None:
        await self._background.end()

    async def leave(self) -> None:
        """The network is gone: so are our lease, the records, and the tunnel."""
        await self.close()
        left = [drop(subnet) for subnet in self._now().subnets_at(self.network)]
        await self._take_over(left, ())
        if self._tunnel:
            await self._tunnel.end()
        try:
            await self._keeper.release()
        except LinkspanError as error:
            log.warning(
                "the flannel lease of network %s is not given back: it ends by itself: %s", self.network.name, error
            )

    def _describe(self, config: FlannelConfig) -> Lease:
        underlay = self._driver.underlay
        assert underlay is not None  # the host is in a cluster
        return describe(config, underlay)

    def _changed(self, view: View) -> None:
        self._view = view
        self._stirred.set()

    async def _follow(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            assert self._view is not None
            if writes := list(self._writes(self._view)):
                await self._take_over(writes, ())
            self._follow_tunnel()
            self.there.set()

    def _writes(self, view: View) -> Iterator[Write]:
        """The records of the leases, as far as they are other ones."""
        snapshot, id_ = self._now(), self.network.id
        if id_ not in snapshot.networks:
            return
        wanted = {
            subnet.id: subnet
            for subnet in (
                HostSubnet(id=host_subnet_id(id_, lease.subnet), network_id=id_, lease=lease, own=lease == view.own)
                for lease in (view.own, *view.others)
            )
        }
        for subnet in snapshot.subnets_at(self.network):
            if subnet.id not in wanted:
                yield drop(subnet)
        for subnet in wanted.values():
            if snapshot.subnets.get(subnet.id) != subnet:
                yield put(subnet)

    def _follow_tunnel(self) -> None:
        """The udp backend's process, and what is said of hosts that host-gw does not reach."""
        snapshot = self._now()
        own = snapshot.own_subnet(self.network)
        part = self._driver.part(self.network, own) if own else None
        if part is None:
            return
        others = tuple(subnet.lease for subnet in snapshot.subnets_at(self.network) if not subnet.own)
        far = off_link(part, others)
        for lease in far:
            if lease not in self._passed_over:
                log.error("network %s: host %s is behind a router, and not reached", self.network.name, lease.public_ip)
        self._passed_over = far
        if part.config.backend.type != "udp":
            return
        if self._tunnel is None:
            self._tunnel = UdpTunnel(self._socket, dataclasses.replace(tunnel_settings(part), known=True))
            self._background.keep(self._tunnel.run)
        self._tunnel.set_routes(tuple((lease.subnet, lease.public_ip) for lease in others))
