"""What every driver promises."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol, runtime_checkable

from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.state.objects import KernelObject


class Driver(Protocol):
    name: str
    allocates: bool
    """Networks of this driver have subnets; their endpoints get an interface and an address, and can publish ports."""

    def render_network(self, network: Network) -> Iterable[KernelObject]:
        """What the network itself needs on this host, whoever is connected."""

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterable[KernelObject]:
        """What one endpoint adds, on the host and in its sandbox."""


@runtime_checkable
class Occupied(Protocol):
    """The ability of a driver whose networks need more while somebody is connected."""

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterable[KernelObject]:
        """What comes with the first endpoint on this host, and goes with the last; on each of its segments."""
