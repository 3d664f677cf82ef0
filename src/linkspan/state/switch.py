"""Open vSwitch's objects as frozen values: what its database has of ours.

Ours are known by the external id `linkspan` of the bridge or port, which is the alias that a link would have.
"""

from __future__ import annotations

import dataclasses

UPLINK = "linkspan:uplink"  # the mark of the one that a host may have
VXLAN_PORT = 8473  # of our tunnels: the kernel's own (4789, 8472) cannot be had by two that use it differently


@dataclasses.dataclass(frozen=True, slots=True)
class OvsBridge:
    """A bridge, and its own port: the host's interface of that name, up.

    `datapath` is `system` (the kernel's) or `netdev` (in user space). The host's end is in VLAN `tag`, 0 is none, and
    exchanges nothing with ports that are `apart` as it is: what comes over a tunnel stays away from it.
    """

    name: str
    alias: str
    datapath: str = "system"
    mtu: int = 1500
    mac: str = ""  # "" lets the switch choose
    tag: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", "", self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class OvsUplink:
    """A bridge in user space with the interface of the host's that has `address`, over which tunnels that end there go.

    It follows the address to another interface, as where a flat network's bridge takes it over. Only tunnels' packets
    pass, and answers to the switch's own questions for MAC addresses: the host's kernel goes on with the interface as
    before, addresses and all.
    """

    name: str
    address: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", "", self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class OvsPort:
    """A port of a bridge: an interface of the host, or a tunnel (`kind` gre or vxlan) from `local` to `remote`.

    A tunnel's packets carry `number` as their key or VNI. With `tag` the port is in that VLAN, without it carries all.
    Ports that are `apart` exchange nothing with each other. `said` is what the database says of the port besides, by
    name and value, in order.
    """

    bridge: str
    name: str
    alias: str
    kind: str = ""
    local: str = ""
    remote: str = ""
    number: int = 0
    tag: int = 0
    apart: bool = False
    said: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("switch port", self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class SwitchFacts:
    """What a host's Open vSwitch is like. `problem` says why it cannot be used, "" where it can.

    `bridges` are all that there are, but for an uplink, each with its data path; `interfaces` are those of the host's
    that are on bridges which are not ours, and these bridges themselves.
    """

    problem: str = "Open vSwitch does not run on this host"
    datapath: str = "system"
    bridges: tuple[tuple[str, str], ...] = ()
    interfaces: frozenset[str] = frozenset()
