"""What decisions need to know of the host, read by `kernel/` and handed in."""

from __future__ import annotations

import dataclasses

from linkspan.state.fabric import SEGMENT, FabricFacts
from linkspan.state.neighbours import Neighbours
from linkspan.state.switch import SwitchFacts


@dataclasses.dataclass(frozen=True, slots=True)
class HostInterface:
    """An interface of the host, with its addresses (`10.211.55.4/24`)."""

    name: str
    loopback: bool = False
    addresses: tuple[str, ...] = ()
    kind: str = ""  # bridge, veth, vlan…; "" for hardware
    mac: str = ""
    mtu: int = 1500
    master: str = ""  # the bridge that it is a port of
    infiniband: bool = False
    wireless: bool = False
    up: bool = True
    heeds_routers: bool = False  # its IPv6 routes come from routers on its wire
    ours: bool = False  # we made it


@dataclasses.dataclass(frozen=True, slots=True)
class Underlay:
    """Where the other hosts of a cluster reach this one: its addresses ("" where there is none), and on what."""

    interface: str
    address: str = ""
    address6: str = ""
    mtu: int = 1500
    on_link: tuple[str, ...] = ()  # the subnets that the interface is on: hosts in them are reached without a router

    @property
    def meshed(self) -> bool:
        """Whether the way to another host may lead through a third one, which changes at any time."""
        return self.interface == SEGMENT


@dataclasses.dataclass(frozen=True, slots=True)
class HostFacts:
    """`namespaces` is the folder of our namespace files; routes and addresses are the host's own, as prefixes."""

    namespaces: str
    name: str = ""  # the host's
    ephemeral_ports: tuple[int, int] = (32768, 60999)
    reserved_ports: frozenset[int] = frozenset()
    routes: tuple[str, ...] = ()
    leading_out: frozenset[str] = frozenset()  # interfaces that a default route leads over
    gateways: tuple[tuple[str, str], ...] = ()  # of default routes: the interface, and the router's address
    interfaces: tuple[HostInterface, ...] = ()
    ip_forward: bool = True  # --ip-forward: we turn forwarding on
    ipv6: bool = True
    ipip: bool = True  # the kernel has IP-in-IP links
    relay: bool = False  # what arrives at its IPv6 addresses can be sent on to IPv4
    publish_closed: bool = False  # --publish-policy=closed
    forward_accept: bool = True  # --forward-accept: a rule of ours where others drop what is forwarded
    neighbours: Neighbours = dataclasses.field(default_factory=Neighbours)
    host_id: str = ""  # of this host in its cluster; "" where it is in none
    meshed: bool = False  # the cluster is a mesh
    underlay: Underlay | None = None
    bgp: str = "off"  # who routes between the hosts: bird, external, off; or missing: it should be BIRD
    log_hidden: str = ""  # why the kernel's log does not show what rules log in sandboxes; "" where it does
    fabric: FabricFacts | None = None  # what carries the mesh that this host is in
    switch: SwitchFacts = dataclasses.field(default_factory=SwitchFacts)  # Open vSwitch
