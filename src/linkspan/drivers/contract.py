"""What every driver promises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

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
