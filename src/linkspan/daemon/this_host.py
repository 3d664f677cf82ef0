"""This host: what is read of it, and given to the decisions and drivers that need it."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from linkspan.daemon.bgp.bird import program as bird_program
from linkspan.daemon.cluster.joining import find_underlay
from linkspan.daemon.configuration import Configuration
from linkspan.daemon.identity import engine_id
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.programmer import Programmer
from linkspan.drivers.available import DRIVERS
from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.calico import CalicoDriver
from linkspan.drivers.contract import Driver
from linkspan.drivers.flannel import FlannelDriver
from linkspan.drivers.flat import FlatDriver
from linkspan.drivers.inside import DEFAULT_ROUTES
from linkspan.drivers.overlay import OverlayDriver
from linkspan.drivers.ovs import OvsDriver
from linkspan.drivers.publish import Host as BridgeHost
from linkspan.drivers.weave import WeaveDriver
from linkspan.engine.bridges import DefaultBridge
from linkspan.engine.mesh.fabric import render_fabric
from linkspan.errors import InvalidArgument, LinkspanError, NotFound
from linkspan.kernel.contract import Interface, Kernel
from linkspan.model.port import version_of
from linkspan.state.fabric import FabricFacts
from linkspan.state.host import HostFacts, HostInterface, Underlay
from linkspan.state.objects import state_of
from linkspan.state.plan import diff


class ThisHost:
    """`facts` are as they were read last; a decision that needs them newer has them read first."""

    def __init__(self, configuration: Configuration, ledger: Ledger, programmer: Programmer, namespaces: Path) -> None:
        self._configuration, self._ledger, self._programmer = configuration, ledger, programmer
        self._bridges, self._overlays, self._switches = BridgeDriver(), OverlayDriver(), OvsDriver()
        self.flannels, self._calicos = FlannelDriver(), CalicoDriver()
        self._weaves = WeaveDriver()
        own = (
            *(self._bridges, FlatDriver(self._bridges), self._overlays, self._weaves, self._switches),
            *(self.flannels, self._calicos),
        )
        self.drivers: Mapping[str, Driver] = {**DRIVERS, **{driver.name: driver for driver in own}}
        self.facts = HostFacts(
            namespaces=str(namespaces),
            name=platform.node(),
            ip_forward=configuration.ip_forward,
            publish_closed=configuration.publish_closed,
            forward_accept=configuration.forward_accept,
        )

    async def look(self) -> None:
        """Raises what its underlay lacks."""
        await self._programmer.run(self._read)

    def meshed(self, host_id: str, underlay: Underlay) -> None:
        """The host is one of a mesh, and others reach it there."""
        self.facts = dataclasses.replace(self.facts, host_id=host_id, underlay=underlay, meshed=True)

    async def look_at_switch(self) -> None:
        """At Open vSwitch: the administrator may start it, and change it, at any time."""
        await self._programmer.run(self._read_switch)

    async def has_moved(self) -> bool:
        """Whether this host's address in its cluster is on another interface than it was: on the bridge of a flat
        network, or on the network card again."""
        before = self.facts.underlay
        if before is not None:
            with contextlib.suppress(LinkspanError):  # the interface is down: everything stays as it is
                await self.look()
        return self.facts.underlay != before

    async def carry(self, before: FabricFacts | None, after: FabricFacts | None) -> None:
        """Makes what carries the mesh as `after` says, where it was as `before` does: of None there is nothing."""
        had = self.facts.fabric
        # Known first: a look over everything would take away what it knows nothing of.
        self.facts = dataclasses.replace(self.facts, fabric=after)
        old, new = (state_of(render_fabric(facts)) if facts else {} for facts in (before, after))
        try:
            await self._programmer.run(lambda kernel: kernel.apply(diff(old, new)))
        except LinkspanError:
            self.facts = dataclasses.replace(self.facts, fabric=had)
            raise

    async def default_bridge(self) -> DefaultBridge:
        """The flags of the default bridge; with `-b NAME`, and the subnet of the bridge that is there.

        Raises InvalidArgument where that is none, or has no such subnet.
        """
        return await self._programmer.run(self._find_bridge)

    def _read(self, kernel: Kernel) -> None:
        ports, routes = kernel.ephemeral_ports(), kernel.routes()
        configuration = self._configuration
        if configuration.cluster:
            members = [member.host for member in configuration.cluster.members]
            underlay = find_underlay(kernel, configuration.advertise, members)
            id_ = engine_id(configuration.data_root)
            self.facts = dataclasses.replace(self.facts, underlay=underlay, host_id=id_)
        networks = self._ledger.now.networks.values()
        ours = {n.bridge for n in networks if n.managed and not n.path}
        routed = [ipaddress.ip_network(pool.subnet) for n in networks if n.encapsulation for pool in n.pools]
        self.facts = dataclasses.replace(
            self.facts,
            ephemeral_ports=(ports.first, ports.last),
            reserved_ports=ports.reserved,
            routes=tuple(
                r.destination for r in routes if r.interface not in ours and not _within(r.destination, routed)
            ),
            leading_out=frozenset(r.interface for r in routes if r.destination in DEFAULT_ROUTES.values()),
            gateways=tuple((r.interface, r.gateway) for r in routes if r.destination.endswith("/0") and r.gateway),
            interfaces=tuple(_host_interface(kernel, interface) for interface in kernel.interfaces()),
            ipip=kernel.has_ipip(),
            ipv6=(ipv6 := kernel.sysctl("net/ipv6/conf/lo/disable_ipv6") == "0"),
            bgp="missing" if configuration.bgp == "bird" and not bird_program() else configuration.bgp,
            relay=(relay := ipv6 and configuration.relay and 6 in configuration.rules),
        )
        self._read_switch(kernel)
        for spanning in (self._overlays, self._weaves, self.flannels, self._calicos):
            spanning.underlay = self.facts.underlay
        self._calicos.host_id = self.facts.host_id
        settings = BridgeHost(
            ipv6=kernel.sysctl("net/ipv6/conf/all/disable_ipv6") is not None,
            forward=configuration.ip_forward,
            rules=configuration.rules,
            direct_routing=configuration.direct_routing,
            relay=relay,
        )
        for driver in (self._bridges, self._overlays, self._weaves, self._switches, self.flannels, self._calicos):
            driver.host = settings

    def _read_switch(self, kernel: Kernel) -> None:
        self.facts = dataclasses.replace(self.facts, switch=kernel.switch())
        self._switches.underlay, self._switches.switch = self.facts.underlay, self.facts.switch

    def _find_bridge(self, kernel: Kernel) -> DefaultBridge:
        flags, name = self._configuration.default_bridge, self._configuration.bridge
        if not name or flags.disabled:
            return flags
        try:
            interface = kernel.interface(name)
        except NotFound:
            raise InvalidArgument(
                f"--bridge {name}: there is no such bridge on this host; make it first: ip link add {name} type bridge"
            ) from None
        if interface.kind != "bridge":
            raise InvalidArgument(f"--bridge {name}: {name} is a {interface.kind or 'network card'}, not a bridge")
        address, address6 = (
            next((a for a in interface.addresses if version_of(a) == version), None) for version in (4, 6)
        )
        if address is None:
            raise InvalidArgument(f"--bridge {name}: {name} has no IPv4 address to take a subnet from")
        if flags.ipv6 and address6 is None:
            raise InvalidArgument(f"--bridge {name} --ipv6: {name} has no IPv6 address to take a subnet from")
        adopted6 = address6 or "" if flags.ipv6 else ""
        return dataclasses.replace(flags, adopted=address, adopted6=adopted6, mtu=min(flags.mtu, interface.mtu))


def _host_interface(kernel: Kernel, found: Interface) -> HostInterface:
    # 1 is: unless it forwards; 2 is: also where it forwards. Of ours, of which there are many, it is not asked.
    others = not found.alias.startswith("linkspan:")
    heeds = others and kernel.sysctl(f"net/ipv6/conf/{found.name}/accept_ra") in ("1", "2")
    return HostInterface(
        found.name,
        found.loopback,
        found.addresses,
        found.kind,
        found.mac,
        found.mtu,
        found.master,
        found.infiniband,
        found.wireless,
        up=found.up,
        heeds_routers=heeds,
        ours=not others,
    )


def _within(destination: str, subnets: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether it is one of the routes that a network of routes consists of."""
    prefix = ipaddress.ip_network(destination)
    return any(prefix.version == subnet.version and prefix.subnet_of(subnet) for subnet in subnets)  # type: ignore[arg-type]
