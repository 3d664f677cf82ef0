"""An interface that somebody gave a container by hand, as pipework does it: beside its networks, on none of them.

It is the container's for as long as that exists: it comes with each start, and goes with each end. What it stands on
was found out once, when it was given.
"""

from __future__ import annotations

import msgspec

from linkspan.model.wire import Wire

# What a plug can be, by what it stands on.
BRIDGE = "bridge"  # a veth pair, with one end on a Linux bridge
OVS = "ovs"  # the same on a bridge of Open vSwitch
MACVLAN = "macvlan"  # a macvlan on a network card
DIRECT = "direct"  # the network card itself, moved into the container; with a VLAN, the VLAN of it
WIRELESS = "wireless"  # the same of a wireless card, whose radio moves along
IPOIB = "ipoib"  # IP over InfiniBand, on such a card
DUMMY = "dummy"  # stands on nothing, and leads nowhere


class Dhcp(Wire, frozen=True, kw_only=True):
    """Who asks for the address. `client` is udhcpc, dhclient or dhcpcd, "" is the first of them that is there."""

    client: str = ""
    stays: bool = False  # the client stays, and renews the lease; else what it got first is kept
    options: str = ""  # further words of its command line


class Lease(Wire, frozen=True, kw_only=True):
    """What a DHCP server gave, in one run of the container."""

    sandbox_id: str
    address: str
    prefix_length: int
    gateway: str = ""


class Plug(Wire, frozen=True, kw_only=True):
    """An interface given by hand."""

    id: str
    interface: str  # inside the sandbox: eth1
    kind: str
    parent: str = ""  # the bridge or network card of the host, as it was named
    vlan: str = ""  # a VLAN's number; of IPoIB, the partition key in hexadecimal digits
    offload: bool = True  # of a veth pair: its checksums may be left to hardware
    # A bridge or VLAN that there was not: ours, for as long as a container has a plug on it.
    made: bool = False
    bridge_mac: str = ""  # of a bridge that was made
    host_interface: str = ""  # of a veth pair, the host's end
    mac: str = ""  # "" leaves the one it has
    parent_mac: str = ""  # of a card that moves: what it had before
    mtu: int = 1500
    address: str = ""  # "" without one, or where DHCP gives it
    prefix_length: int = 0
    gateway: str = ""
    network_id: str = ""  # the network whose subnet the address is of, where there is one on the same wire
    dhcp: Dhcp | None = None
    lease: Lease | None = None  # the last one

    @property
    def ground(self) -> str:
        """The interface of the host that it stands on, "" where it stands on none."""
        tagged = self.vlan and self.kind == MACVLAN
        return f"{self.parent}.{self.vlan}" if tagged else self.parent

    def addressed(self, sandbox_id: str) -> Plug:
        """With the address that DHCP gave it in this sandbox, if it did."""
        if self.lease is None or self.lease.sandbox_id != sandbox_id:
            return self
        return msgspec.structs.replace(
            self, address=self.lease.address, prefix_length=self.lease.prefix_length, gateway=self.lease.gateway
        )
