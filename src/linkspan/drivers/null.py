"""none: a sandbox with nothing but lo. Interfaces may be given to it by hand."""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.state.objects import KernelObject


class NullDriver:
    name = "null"
    allocates = False
    spans = False
    needs_cluster = False

    def render_network(self, network: Network) -> Iterable[KernelObject]:
        return ()

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterable[KernelObject]:
        return ()
