"""host: the container lives in the host's own namespace. There is nothing to make."""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.state.objects import KernelObject


class HostDriver:
    name = "host"
    allocates = False
    spans = False
    needs_cluster = False

    def render_network(self, network: Network) -> Iterable[KernelObject]:
        return ()

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterable[KernelObject]:
        return ()
