"""What every driver promises."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol, runtime_checkable

from linkspan.model.cluster import Block, Host, Remote
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.subnet import HostSubnet
from linkspan.state.objects import KernelObject


class Driver(Protocol):
    name: str
    allocates: bool
    """Networks of this driver have subnets; their endpoints get an interface and an address, and can publish ports."""

    spans: bool
    """Networks of this driver are the cluster's, where there is one."""
    needs_cluster: bool
    """And there are none where there is none."""

    def render_network(self, network: Network) -> Iterable[KernelObject]:
        """What the network itself needs on this host, whoever is connected."""

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterable[KernelObject]:
        """What one endpoint adds, on the host and in its sandbox."""


@runtime_checkable
class Occupied(Protocol):
    """The ability of a driver whose networks need more while somebody is connected."""

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterable[KernelObject]:
        """What comes with the first endpoint on this host, and goes with the last; on each of its segments."""


@runtime_checkable
class Spanning(Protocol):
    """The ability of a driver whose networks reach other hosts. Asked only while somebody here is on the network."""

    def render_host(self, network: Network, host: Host) -> Iterable[KernelObject]:
        """What another host of the cluster needs here, whoever is on it."""

    def render_remote(self, network: Network, remote: Remote, host: Host) -> Iterable[KernelObject]:
        """What one endpoint on another host needs here."""


@runtime_checkable
class Flooding(Spanning, Protocol):
    """The ability of a driver whose networks carry what is for nobody in particular to every host that is on them."""

    def render_presence(self, network: Network, host: Host) -> Iterable[KernelObject]:
        """What another host needs here for having somebody on the network, however many."""


@runtime_checkable
class Routing(Spanning, Protocol):
    """The ability of a driver whose networks are routes: to the blocks of addresses that hosts have, and to addresses
    that are elsewhere. Whoever is on this host: so the networks' other hosts are rendered always, too."""

    def render_block(self, network: Network, block: Block, host: Host | None) -> Iterable[KernelObject]:
        """What a block needs here. `host` is the other one that has it: None for this host, and for one that is not
        known yet."""

    def render_single(self, network: Network, address: str, host: Host) -> Iterable[KernelObject]:
        """What an address on another host needs here that is of none of that host's blocks. Asked only while somebody
        here is on the network."""


@runtime_checkable
class Parted(Protocol):
    """The ability of a driver whose networks give each host a part, with a subnet of its own. Nothing of such a network
    is rendered before this host has one."""

    def at_home(self, network: Network, own: HostSubnet) -> Network:
        """The network as it is on this host: what is rendered, and what addresses are taken from."""

    def render_part(self, network: Network, own: HostSubnet) -> Iterable[KernelObject]:
        """What this host's part needs, beside the network at home."""

    def render_subnet(self, network: Network, own: HostSubnet, other: HostSubnet) -> Iterable[KernelObject]:
        """What another host's part needs here."""
