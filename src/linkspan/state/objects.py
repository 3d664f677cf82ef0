"""Kernel objects as frozen values. Two objects with the same `key` are the same thing, perhaps with other settings.

A `namespace` is the path of a namespace file; HOST is the namespace that the daemon itself lives in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from linkspan.state.guard import Guard, Seal
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink

HOST = ""
EVERYBODY = "00:00:00:00:00:00"  # of a forwarding entry: frames to a MAC that has no entry, or to many
FLAT = "linkspan:flat:"  # of the alias of a bridge that has an interface of the host's own


@dataclasses.dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace held open by a bind mount at `path`; its `lo` is up.

    Ours are known by the folder they lie in.
    """

    path: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("namespace", self.path)


@dataclasses.dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge on the host, up. Ours are known by their alias, `linkspan:<network id>`."""

    name: str
    alias: str
    mtu: int = 1500
    mac: str = ""  # "" lets the kernel choose

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", HOST, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Enslaved:
    """A bridge on the host, up, that has `nic`, an interface of the host's own, as a port: with its MAC address, its
    MTU, and, for as long as it is one, with the addresses and routes that the host had there.

    Known by its alias, `linkspan:flat:<nic>`. Removing it gives the interface everything back.
    """

    name: str
    nic: str
    settled: bool = True  # as read: all of it is on the bridge, and nothing on the interface

    @property
    def alias(self) -> str:
        return FLAT + self.nic

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", HOST, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Joint:
    """A veth pair on the host that makes two bridges one segment, up: `name` on `bridge`, `peer` on `peer_bridge`.

    With `isolated`, what comes over it does not reach isolated ports of `peer_bridge`. Ours are known by the aliases of
    both ends, `linkspan:<network id>` and `linkspan:<network id>:far`.
    """

    name: str
    alias: str
    bridge: str
    peer: str
    peer_bridge: str
    mtu: int = 1500
    isolated: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", HOST, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair, up: `name` on the host, enslaved to `bridge`, and `peer` in `namespace`.

    Ours are known by the alias of the host's end, `linkspan:<endpoint id>`.
    """

    name: str
    alias: str
    namespace: str
    peer: str
    mac: str  # of the peer
    bridge: str
    mtu: int = 1500
    hairpin: bool = True  # a container reaches itself through its published port
    isolated: bool = False  # bridge port isolation: icc=false
    # Without it a switch in user space has the host's end, on no bridge: what the peer sends is left to hardware in
    # nothing, neither checksums nor the cutting into packets, and the kernel answers for no address there.
    offload: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", HOST, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A link on top of another (`kind` macvlan, ipvlan, vlan, ipoib), or by itself (dummy, ipip, wireguard, tun); up.

    A `tun` is there without the process that has its other end, too.

    `parent` is an interface of the host, also of a device inside a sandbox. `mode` is macvlan's (bridge, private, vepa,
    passthru), ipvlan's (l2, l3, l3s, with its flag after a dot: `l2.private`), the VLAN's number, IPoIB's partition
    key in four hexadecimal digits ("" is the parent's), or ipip's own address, from which packets go to whatever host a
    route's gateway is.
    Ours are known by their alias: `linkspan:<endpoint id>` inside a sandbox, `linkspan:<network id>` or
    `linkspan:parent` (one that several networks may share) on the host.
    """

    namespace: str
    name: str
    kind: str
    alias: str
    parent: str = ""
    mode: str = ""
    mac: str = ""  # "" lets the kernel choose: a passthru macvlan has its parent's
    mtu: int = 0  # 0 is the parent's
    up: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", self.namespace, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Vxlan:
    """A tunnel's end on the host, up: frames leave it in UDP packets from `local` for whom its forwarding entries say,
    over no other interface than `link`, where one is given.

    It learns nothing from what arrives. On a `bridge` its port does not either. Where it `floods` the port takes what
    the bridge sends to all; else it does not, and has ARP and neighbour discovery answered from the bridge's neighbours
    (`neigh_suppress`). With `isolated`, isolated ports of the bridge do not reach it. With `checksum`, packets to IPv4
    hosts have a UDP checksum (those to IPv6 hosts always have). Ours are known by their alias, `linkspan:<network id>`.
    """

    name: str
    alias: str
    vni: int
    local: str
    port: int = 4789
    mtu: int = 1450
    mac: str = ""  # "" lets the kernel choose
    bridge: str = ""
    isolated: bool = False
    checksum: bool = False
    link: str = ""
    floods: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", HOST, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Nic:
    """A network card of the host's, moved into a sandbox and named `name` there; up. It goes back when it is deleted.

    `origin` is its name on the host, `origin_mac` the MAC address that it had there. Ours are known by their alias,
    `linkspan:nic:<origin>:<origin_mac>`. A `wireless` one moves with its whole radio.
    """

    namespace: str
    name: str
    origin: str
    origin_mac: str
    mac: str = ""  # "" is the one it has
    wireless: bool = False
    up: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", self.namespace, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface: `172.17.0.1/16`. One that is `own` is for who sends to it, and nobody's source."""

    namespace: str
    interface: str
    address: str
    own: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("address", self.namespace, self.interface, self.address)


@dataclasses.dataclass(frozen=True, slots=True)
class Shaper:
    """What leaves an interface, or comes in at it (`inward`), does so at `rate` bits a second at most, a multiple of 8;
    `burst` bytes may go at once after a pause.

    Ours are known by the number of their queue, on interfaces of ours.
    """

    namespace: str
    interface: str
    inward: bool
    rate: int
    burst: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("shaper", self.namespace, self.interface, "in" if self.inward else "out")


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbour:
    """Which MAC an address has on an interface of the host: permanent, nobody is asked. Another one that is there for
    the address gives way.

    Ours are known by their protocol number.
    """

    interface: str
    address: str
    mac: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("neighbour", self.interface, self.address)


@dataclasses.dataclass(frozen=True, slots=True)
class FdbEntry:
    """Where frames to a MAC go: on a Vxlan to the host `destination`; with "", on its bridge to the Vxlan's port.

    Another entry that is there for the MAC gives way; but what is for nobody in particular (EVERYBODY) goes to each
    host that has an entry. All on a Vxlan of ours are ours.
    """

    interface: str  # the Vxlan
    mac: str
    destination: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        if self.mac == EVERYBODY:
            return ("fdb", self.interface, "tunnel", self.mac, self.destination)
        return ("fdb", self.interface, "tunnel" if self.destination else "bridge", self.mac)


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A route of ours, known by its protocol number. `destination` is a prefix: `0.0.0.0/0` is the default.

    With `onlink`, the gateway is taken to be on the interface's link though no route says so. Of several routes to one
    destination the one with the least `metric` counts; 0 is the least. A `kind` blackhole drops what has no longer
    prefix, unreachable says so to who sends it; both have no interface. What the host itself sends there has the
    address `source`; "" lets the kernel choose.
    """

    namespace: str
    destination: str
    interface: str
    gateway: str = ""
    onlink: bool = False
    metric: int = 0
    kind: str = "unicast"
    source: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("route", self.namespace, self.destination, *([str(self.metric)] if self.metric else []))


@dataclasses.dataclass(frozen=True, slots=True)
class Proxied:
    """An address that the host answers for on an interface's wire, with that interface's MAC, as it has the way there.

    Ours are known by their protocol number.
    """

    interface: str
    address: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("proxied", self.interface, self.address)


@dataclasses.dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting, `net/ipv4/ip_forward`. Nobody owns a setting: it is written, and never taken back."""

    namespace: str
    name: str
    value: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("sysctl", self.namespace, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class NftElement:
    """An element of a set or map of the one static ruleset, in nft's own text: `tcp . 80` : `172.17.0.2 . 80`.

    `comment` says whose it is: the endpoint's or network's id.
    """

    set: str
    element: str
    data: str = ""
    comment: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft", self.set, self.element)


@dataclasses.dataclass(frozen=True, slots=True)
class BoundPort:
    """A host port reserved by a bound socket in the daemon, so that nobody else takes it. No traffic passes through.

    Of the address `*`, one socket holds the port of every address of both families.
    """

    protocol: str
    address: str
    port: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("port", self.protocol, self.address, str(self.port))


@dataclasses.dataclass(frozen=True, slots=True)
class ForwardAccept:
    """A rule of ours in another's chain, one that drops what is forwarded: it accepts what our own table has marked.

    Known by its comment, `linkspan`. `table` is "" for the legacy iptables, which nft does not see.
    """

    family: str  # ip, ip6, inet
    table: str
    chain: str
    in_place: bool = True  # as read: it is where it has an effect, and there is one of it

    @property
    def key(self) -> tuple[str, ...]:
        return ("forward accept", self.family, self.table, self.chain)

    @property
    def families(self) -> tuple[str, ...]:
        """As nft's `meta nfproto` calls them."""
        return {"ip": ("ipv4",), "ip6": ("ipv6",)}.get(self.family, ("ipv4", "ipv6"))

    def __str__(self) -> str:
        if not self.table:
            return f"{'iptables' if self.family == 'ip' else 'ip6tables'}-legacy {self.chain}"
        return f"{self.family} {self.table} {self.chain}"


KernelObject: TypeAlias = (
    Namespace
    | Guard
    | Bridge
    | Enslaved
    | Joint
    | Veth
    | Device
    | Vxlan
    | Nic
    | OvsBridge
    | OvsUplink
    | OvsPort
    | Seal
    | Address
    | Shaper
    | Neighbour
    | FdbEntry
    | Route
    | Proxied
    | Sysctl
    | NftElement
    | BoundPort
    | ForwardAccept
)
Key: TypeAlias = tuple[str, ...]
State: TypeAlias = Mapping[Key, KernelObject]


def state_of(objects: Iterable[KernelObject]) -> dict[Key, KernelObject]:
    """The objects by key. Two different objects under one key are a driver's mistake: ValueError."""
    found: dict[Key, KernelObject] = {}
    for item in objects:
        if found.setdefault(item.key, item) != item:
            raise ValueError(f"rendered twice, differently: {found[item.key]} and {item}")
    return found
