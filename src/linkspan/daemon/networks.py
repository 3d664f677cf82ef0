"""The network verbs, as the front doors call them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from linkspan.daemon.flannel.networks import FlannelNetworks
from linkspan.daemon.host_ports import Busy, carry_out
from linkspan.daemon.identity import new_id, now
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.views import NetworkView
from linkspan.drivers.contract import Driver
from linkspan.engine import flannels
from linkspan.engine.bandwidth import set_bandwidth
from linkspan.engine.change import Change
from linkspan.engine.join import connect, disconnect, forget_network
from linkspan.engine.links import unlink
from linkspan.engine.nat import nat_rows
from linkspan.engine.networks import create_network, remove_network
from linkspan.engine.request import NetworkRequest, with_defaults
from linkspan.engine.update import NetworkUpdate, update_network
from linkspan.engine.usage import AddressUse, address_use
from linkspan.errors import Conflict, Forbidden, LinkspanError, NotFound
from linkspan.ipam.pools import PoolSource
from linkspan.model.bandwidth import Bandwidth, parse_bandwidth
from linkspan.model.cluster import GLOBAL, Host
from linkspan.model.container import EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.event import Event
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

log = logging.getLogger(__name__)
_COMMENT = re.compile(r'comment "([0-9a-f]{12})"')


class Networks:
    """`ref` is a name, an id or a unique prefix of an id. NotFound's text is `network REF not found`."""

    def __init__(
        self,
        ledger: Ledger,
        mutation: Mutation,
        programmer: Programmer,
        lifecycle: Lifecycle,
        *,
        drivers: Mapping[str, Driver],
        sources: Iterable[PoolSource],
        options: Mapping[str, Mapping[str, str]],
        publish: Callable[[Event], None],
        host: Callable[[], HostFacts],
        look_again: Callable[[], Awaitable[None]],
    ) -> None:
        """`options` are a driver's for networks that do not say otherwise (--default-network-opt).

        `host` is what is known of the host; `look_again` renews it.
        """
        self.own_host: Host | None = None  # this one, as the others of its cluster know it
        self.whole = self._own  # the records with all who are on a network, or on any ("")
        self.flannel: FlannelNetworks | None = None
        self._options, self._publish = options, publish
        self._look_again = look_again
        self._ledger, self._mutation, self._programmer, self._lifecycle = ledger, mutation, programmer, lifecycle
        self._drivers, self._sources, self._host = drivers, tuple(sources), host

    async def _own(self, network_id: str = "") -> Snapshot:
        return self._ledger.now

    async def view(self, ref: str) -> NetworkView:
        """With all who are on it, on whichever host."""
        network = self._ledger.now.network(ref)
        return self._view(await self.whole(network.id) if network.scope == GLOBAL else self._ledger.now, network)

    def views(self) -> list[NetworkView]:
        """Of endpoints on other hosts those that this host follows."""
        now_ = self._ledger.now
        return [self._view(now_, network) for network in now_.networks.values()]

    async def create(self, asked: NetworkRequest) -> tuple[str, str]:
        """The new network's id, and a warning or ""."""
        defaults = self._options.get(asked.driver, {})
        request = with_defaults(dataclasses.replace(asked, id=new_id(), created=now()), defaults)
        await self._look_again()  # a subnet that we choose must not hide what the host has a route to by now
        if request.driver == flannels.DRIVER and self.flannel:
            request = await self.flannel.prepared(request)
        change = await self._carry_out(
            lambda: create_network(self._ledger.now, request, self._drivers, self._sources, self._host())
        )
        if self.flannel:
            await self.flannel.ready(request.id)
        return request.id, " ".join(change.warnings)

    async def update(self, ref: str, wanted: NetworkUpdate) -> None:
        """Changes a network in place, with whoever is on it. Raises what cannot be, with nothing changed."""
        network = self._ledger.now.network(ref)
        await self._look_again()

        def decide() -> Change:
            now_ = self._ledger.now
            ports = self._lifecycle.surroundings(0).ports
            return update_network(now_, now_.network(network.id), wanted, self._sources, self._host(), ports)

        async def change() -> None:
            async with contextlib.AsyncExitStack() as locks:
                # In one order, so that two such changes never wait for each other.
                for id_ in sorted({e.container_id for e in self._ledger.now.endpoints_at(network)}):
                    await locks.enter_async_context(self._lifecycle.lock(id_))
                await self._mutation.decide(decide)

        await self._lifecycle.to_its_end(change())

    async def remove(self, ref: str) -> None:
        network = self._ledger.now.network(ref)
        await self._carry_out(lambda: remove_network(self._ledger.now, network))

    async def _carry_out(self, decide: Callable[[], Change]) -> Change:
        """Decided and recorded in one go, so that two requests never decide from the same state."""

        return await asyncio.shield(self._mutation.decide(decide))

    async def prune(self, keep: Callable[[NetworkView], bool]) -> list[str]:
        """Removes the unused networks, except what `keep` says; answers their names."""
        removed = []
        for view in self.views():
            network = view.network
            used = any(network.id in c.networks for c in self._ledger.now.containers.values())
            if network.predefined or network.config_only or used or keep(view):
                continue
            with contextlib.suppress(Forbidden, NotFound):  # somebody has connected to it, or was quicker
                await self.remove(network.id)
                removed.append(network.name)
        self._publish(Event(kind="network", action="prune", id="", attributes={"reclaimed": "0"}))
        return removed

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        def decide(network: Network, id_: str, busy: Busy) -> Change:
            now_ = self._ledger.now
            around = self._lifecycle.surroundings(1, busy)
            return connect(now_, now_.container(id_), network, settings, around)

        await self._change(ref, container, decide)

    async def set_bandwidth(self, ref: str, container: str, rate: str, burst: str) -> Bandwidth | None:
        """As tc writes them; no rate is no limit. Answers what holds now."""

        def decide(network: Network, id_: str, busy: Busy) -> Change:
            return set_bandwidth(self._ledger.now, self._ledger.now.container(id_), network, rate, burst)

        await self._change(ref, container, decide)
        self._lifecycle.publish("update", self._ledger.now.container(container))
        return parse_bandwidth(rate, burst)

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """By force also off a network that is there no more, named by its id; or as it was called, where it is the only
        such one of the container's."""

        def decide(network: Network, id_: str, busy: Busy) -> Change:
            now_ = self._ledger.now
            return disconnect(now_, now_.container(id_), network, self._lifecycle.surroundings(0, busy).ports, now())

        try:
            await self._change(ref, container, decide)
        except NotFound:
            now_ = self._ledger.now
            found = now_.container(container)
            gone = [id_ for id_ in found.networks if id_ not in now_.networks]
            wanted = ref if ref in gone else gone[0] if len(gone) == 1 else ""
            if not (force and wanted) or _is_there(now_, ref):
                raise
            await self._locked(found.id, lambda: forget_network(self._ledger.now.container(found.id), wanted))

    async def evict(self, endpoint: Endpoint, address: str) -> None:
        """Takes a container off a network of which another host now has its address, or two would answer for it."""
        container = self._ledger.now.containers[endpoint.container_id]
        network = self._ledger.now.networks[endpoint.network_id]
        log.error(
            "another host of the cluster has %s: container %s, which had it here, is taken off network %s",
            address,
            container.name,
            network.name,
        )
        with contextlib.suppress(LinkspanError):
            await self.disconnect(network.id, container.id, force=True)

    async def _change(self, ref: str, container: str, decide: Callable[[Network, str, Busy], Change]) -> None:
        found = self._ledger.now.container(container)
        network = self._ledger.now.network(ref)

        async def change() -> None:
            async with self._lifecycle.lock(found.id):
                current = self._ledger.now.container(found.id)
                await carry_out(self._mutation, current, lambda busy: decide(network, found.id, busy))

        await self._lifecycle.to_its_end(change())

    async def _locked(self, container_id: str, decide: Callable[[], Change]) -> None:
        async def change() -> None:
            async with self._lifecycle.lock(container_id):
                await self._mutation.decide(decide)

        await self._lifecycle.to_its_end(change())

    async def unlink(self, ref: str) -> None:
        """Takes a legacy link away, by its name: /container/alias. Raises Conflict where it is none, NotFound."""
        owner, slash, alias = ref.strip("/").partition("/")
        if not slash:
            raise Conflict("Conflict, cannot remove the default link name of the container")
        id_ = self._ledger.now.container(owner).id
        await self._locked(id_, lambda: unlink(self._ledger.now, self._ledger.now.container(id_), alias))

    async def address_use(self) -> AddressUse:
        """Pools and networks, what of them is used and by whom; as the host's routes are now."""
        await self._look_again()
        return address_use(await self.whole(""), self._sources, self._host())

    def nat_table(self) -> list[dict[str, Any]]:
        """The effective rules as rows in the columns of `iptables -t nat -nL`, in order:
        chain, target, prot, opt, source, destination, extra; and whose: container, network."""
        return [dataclasses.asdict(row) for row in nat_rows(self._ledger.now)]

    async def nat_ruleset(self) -> str:
        """The real nftables ruleset as nft prints it, each element's comment replaced by container and network."""
        text = await self._programmer.run(lambda kernel: kernel.ruleset())
        owners = self._owners()
        return _COMMENT.sub(lambda m: f'comment "{owners.get(m[1], m[1])}"', text)

    def _owners(self) -> dict[str, str]:
        now_ = self._ledger.now
        owners = {n.id[:12]: f"network {n.name}" for n in now_.networks.values()}
        for e in now_.endpoints.values():
            container, network = now_.containers[e.container_id].name, now_.networks[e.network_id].name
            owners[e.id[:12]] = f"container {container}, network {network}"
        return owners

    def _view(self, now_: Snapshot, network: Network) -> NetworkView:
        endpoints = tuple((now_.containers[e.container_id], e) for e in now_.endpoints_at(network))
        remotes = tuple((now_.hosts.get(remote.host_id), remote) for remote in now_.remotes_at(network))
        return NetworkView(network, endpoints, remotes, self.own_host)


def _is_there(snapshot: Snapshot, ref: str) -> bool:
    with contextlib.suppress(NotFound):
        snapshot.network(ref)
        return True
    return False
