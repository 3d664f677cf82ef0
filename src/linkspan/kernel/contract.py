"""What the daemon asks of a kernel, real or fake: apply a plan, read back what is ours, say what the host is like.

Every call is synchronous and comes from one thread, the kernel thread: RTNL and nftables serialise anyway. A kernel is
made in that thread too: the host is the network namespace that the thread is in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Protocol

from linkspan.state.neighbours import Neighbours
from linkspan.state.objects import HOST, State
from linkspan.state.plan import Plan
from linkspan.state.switch import SwitchFacts


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it is. Addresses are prefixes (`10.211.55.4/24`), in the kernel's order."""

    index: int
    name: str
    kind: str  # bridge, veth, macvlan…; "" for hardware and lo
    mac: str
    mtu: int
    up: bool
    loopback: bool
    master: str = ""  # the bridge that it is a port of
    alias: str = ""
    addresses: tuple[str, ...] = ()
    infiniband: bool = False
    wireless: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route of the main table, whoever made it. The default route's destination is `0.0.0.0/0` or `::/0`."""

    destination: str
    interface: str
    gateway: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class EphemeralPorts:
    """The host's range for ports of its own choice, both ends included, and the ports in it that it must not choose."""

    first: int
    last: int
    reserved: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of one interface since it was made; received and sent as seen from inside its namespace."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class Losses(Protocol):
    """Tells when somebody else took away, or put down, something of ours."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """They become readable when there is something to look at. The same ones for as long as this is open."""

    def lost(self) -> bool:
        """Whether anything of ours went since the last call; what `apply` does itself is no loss, and hides none."""

    def stirred(self) -> bool:
        """Whether another firewall changed, as far as `lost` has heard since the last call."""


class Kernel(Protocol):
    """One host's kernel. Errors are our own kinds; their text names the object."""

    def hold(self, processes: Mapping[str, int]) -> None:
        """Namespaces whose files somebody has removed, by a process in each: the files are made again. For the start:
        later on our connections into them are what they are held by."""

    def apply(self, plan: Plan) -> None:
        """Takes the steps in order; all nft elements in one transaction.

        Creating what is there as wanted, and deleting what is gone, is success. If a step fails, the steps taken so far
        are undone as far as that is possible and one error is raised: PortInUse for a taken port, PortUnavailable for
        one that cannot be had at all, Conflict for a name that belongs to somebody else, Unsupported for what this
        kernel lacks, else Internal.
        """

    def read(self, sysctls: Iterable[tuple[str, str]] = ()) -> State:
        """Everything that is ours, and the sysctls asked for as (namespace, name).

        After `apply(diff(…, desired))`, `diff(read(names of desired's sysctls), desired)` is empty. A link of ours that
        is down reads with an mtu of 0, and so differs from whatever is wanted.
        """

    def interfaces(self, namespace: str = HOST) -> tuple[Interface, ...]:
        """All interfaces of a namespace, in index order. NotFound if the namespace is gone."""

    def interface(self, name: str, namespace: str = HOST) -> Interface:
        """One interface. NotFound if there is none of that name."""

    def routes(self, namespace: str = HOST) -> tuple[RouteEntry, ...]:
        """The main table of a namespace, IPv4 and IPv6, without what the kernel keeps for itself (fe80::/64…)."""

    def learned(self, protocol: int, metric: int) -> tuple[str, ...]:
        """Destinations of the host's routes that a routing program keeps, known by these numbers."""

    def forget(self, protocol: int, metric: int) -> None:
        """Takes those routes away, once nobody keeps them any more."""

    def has_ipip(self) -> bool:
        """Whether this kernel has IP-in-IP links."""

    def ephemeral_ports(self) -> EphemeralPorts:
        """Where the host chooses ports of its own."""

    def sysctl(self, name: str, namespace: str = HOST) -> str | None:
        """The present value of `net/ipv4/ip_forward`, None where this kernel has no such setting."""

    def statistics(self, interface: str, namespace: str = HOST) -> Statistics:
        """The interface's counters. NotFound if it is gone."""

    def ruleset(self) -> str:
        """Our nft table as `nft list table` prints it."""

    def announce(self, namespace: str, interface: str, addresses: tuple[str, ...]) -> None:
        """Tells the neighbours on the interface's wire once that it has these addresses. NotFound if it is gone."""

    def expect(self, interfaces: Iterable[str], *, switch: bool = False) -> None:
        """The host's own interfaces that ours stand on, instead of those named before: their going or coming is a loss.
        With `switch` so is it that Open vSwitch comes.

        What `apply` makes on another one adds that.
        """

    def switch(self) -> SwitchFacts:
        """What the host's Open vSwitch is like. Where it does not run nothing of ours can be made or found in it."""

    def neighbours(self) -> Neighbours:
        """Other firewalls that have a say in what is forwarded. A rule of ours that could not be put into one of their
        chains (`apply` says so, and goes on) is told there."""

    def watch(self) -> Losses:
        """The same one at each call, watching from the first on."""

    def close(self) -> None:
        """Lets go of sockets and bound ports. Links, namespaces and the nft table stay, for the next daemon."""
