"""A network: who connects, by which driver, with addresses from which pools."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.wire import Wire

# The auxiliary address that Docker reads as the containers' default route, where the bridge's own is not to be it.
DEFAULT_GATEWAY = "DefaultGatewayIPv4"
DEFAULT_GATEWAY6 = "DefaultGatewayIPv6"
# Auxiliary addresses of a macvlan network with host_access: the host's own, and (`host-eth0`) what it has besides.
HOST_ADDRESS = "host"
# Below this the kernel turns IPv6 off on a link, and takes away its settings.
LEAST_MTU6 = 1280
PREDEFINED = ("bridge", "host", "none")
# How containers are reached from elsewhere: by ports of the host (nat); by those, and openly at their own addresses
# (nat-unprotected); by their own addresses, at published ports (routed); not at all, not even by the host (isolated).
GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")
ENCAPSULATIONS = ("never", "vxlan", "vxlan-cross-subnet", "ipip", "ipip-cross-subnet")


class Pool(Wire, frozen=True, kw_only=True):
    """One subnet of a network. Addresses and prefixes are text, as Docker writes them; "" is not given."""

    subnet: str
    ip_range: str = msgspec.field(default="", name="IPRange")
    gateway: str = ""
    auxiliary: Mapping[str, str] = msgspec.field(default_factory=dict, name="AuxiliaryAddresses")
    automatic: bool = False  # the subnet was chosen by us: nobody may ask for an address in it
    block: int = 0  # prefix length of the parts that hosts take addresses from; 0 follows from the subnet's size

    @property
    def router(self) -> str:
        """Where containers send what is not for the subnet: the gateway, which is the host's, unless one is named."""
        return self.auxiliary.get(DEFAULT_GATEWAY6 if self.version == 6 else DEFAULT_GATEWAY) or self.gateway

    @property
    def prefix_length(self) -> int:
        return int(self.subnet.partition("/")[2])

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.subnet else 4


class Range(Wire, frozen=True, kw_only=True):
    """Addresses of one IP version, both ends included."""

    first: str
    last: str


class Network(Wire, frozen=True, kw_only=True):
    """A network's record."""

    id: str
    name: str
    driver: str
    created: str  # RFC 3339
    scope: str = "local"  # or "global": the hosts of a cluster share it
    pools: tuple[Pool, ...] = ()
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] | None = None
    options: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    config_only: bool = False  # only a configuration, which other networks take (`config_from`, by name)
    config_from: str = ""
    # Pools that are only remembered: those that a configuration gives to others, and those of an IP version that is not
    # enabled.
    configured: tuple[Pool, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    dns: tuple[str, ...] = ()  # servers that the resolver asks for its containers, instead of the host's
    # What the bridge driver resolved once, at creation, from the options above.
    bridge: str = ""  # the bridge's interface name
    managed: bool = True  # we made the bridge: we give it its address, and remove it with the network
    masquerade: bool = True
    icc: bool = True
    mtu: int = 1500
    binding_address: str = "0.0.0.0"  # for ports that name none; 0.0.0.0 is any, of IPv6 too
    gateway_mode: str = "nat"  # one of GATEWAY_MODES, for IPv4
    gateway_mode6: str = "nat"
    inhibit_ipv4: bool = False  # the bridge gets no IPv4 address: somebody else has the gateway's
    trusted_interfaces: tuple[str, ...] = ()  # of the host, from which published ports are reached at their containers
    host_ipv4: str = ""  # under which containers leave the host, instead of the address that the route chooses
    host_ipv6: str = ""
    strict_blocks: bool = False  # hosts take addresses from their own blocks only, which are not ours to choose
    exclusive_blocks: bool = False  # an address in a host's block is that host's to give out, and nobody else's
    vlan: int = 0  # of ovs: the VLAN of the host's end and of containers that ask for none; 0 is none
    vni: int = 0  # the VXLAN network identifier, of a network with tunnels
    # What macvlan and ipvlan resolved. Their `mtu` is 0 where it is the parent's.
    parent: str = ""  # the interface of the host that the containers' own stand on
    parent_made: bool = False  # we made it: a VLAN's, or a dummy
    mode: str = ""
    host_access: bool = False  # the host has a way to the containers
    # What flat resolved, besides.
    path: str = ""  # bridge, macvlan or routed: how containers get to the wire
    heeds_routers: bool = False  # the parent has its IPv6 routes from routers of the segment
    excluded: tuple[Range, ...] = ()  # of the subnets, and not ours
    detects: bool = False  # whether somebody has an address is asked on the wire before it is used
    identity: str = ""  # whom an address belongs to: the container's "name", or "label:app,role"
    rest: float = 0.0  # seconds for which an address stays its identity's when no container has it any more
    # What calico resolved: when packets between hosts go in tunnels, one of ENCAPSULATIONS.
    encapsulation: str = ""
    publishes: bool = True  # endpoints can have ports of the host

    @property
    def direct(self) -> bool:
        """Containers send whatever is not for them out of their interface, without a gateway."""
        return self.mode.startswith("l3") or self.path == "routed" or self.encapsulation != ""

    @property
    def shares_parent(self) -> bool:
        """What it makes of the parent, others on the same one do too."""
        return self.parent_made or self.path in ("bridge", "routed") or self.encapsulation.startswith("ipip")

    @property
    def shares_mac(self) -> bool:
        """Containers have the MAC address of the interface that theirs stands on."""
        return self.driver == "ipvlan" or self.mode == "passthru"

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED

    def gateway_mode_of(self, version: int) -> str:
        """The gateway mode of IPv4 or IPv6."""
        return self.gateway_mode6 if version == 6 else self.gateway_mode

    def pools_of(self, version: int) -> tuple[Pool, ...]:
        return tuple(pool for pool in self.pools if pool.version == version)

    @property
    def versions(self) -> tuple[int, ...]:
        """Of its addresses: 4, 6 or both."""
        return tuple(version for version in (4, 6) if self.pools_of(version))


def parse_subnet(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A subnet in CIDR form. Raises InvalidArgument with Docker's words."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid CIDR address: {text}") from None
