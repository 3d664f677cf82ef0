"""Containers that hang on the host by a veth pair of their own, on no bridge: each is a route.

The container has one address, and sends whatever is not for it to its host, which is the same address at its end of
every pair. The host has one route to each container.
"""

from __future__ import annotations

from collections.abc import Iterator

from linkspan.drivers.inside import DEFAULT_ROUTE, DEFAULT_ROUTE6, link_local
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.state.objects import HOST, Address, KernelObject, Route, Sysctl

NEXT_HOP, NEXT_HOP6 = "169.254.1.1", "fe80::1"  # the host, at its end of every container's veth pair


def render_point_to_point(network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
    """Addresses and routes at both ends of the pair. A container may hang on several networks in this way, so the next
    hop, which is the same on all of them, has no route of its own."""
    outside, inside, here = endpoint.host_interface, endpoint.interface, sandbox.path
    if endpoint.address:
        yield Sysctl(HOST, f"net/ipv4/conf/{outside}/forwarding", "1")
        # Of the scope of a host: it never becomes the source of what the host itself sends there.
        yield Address(HOST, outside, f"{NEXT_HOP}/32", own=True)
        yield Route(HOST, f"{endpoint.address}/32", outside)
        yield Address(here, inside, f"{endpoint.address}/32")
        for pool in network.pools_of(4):
            yield Route(here, pool.subnet, inside, NEXT_HOP, onlink=True)
        if endpoint.default_route and not network.internal:
            yield Route(here, DEFAULT_ROUTE, inside, NEXT_HOP, onlink=True)
    if endpoint.address6:
        yield Sysctl(HOST, f"net/ipv6/conf/{outside}/disable_ipv6", "0")
        yield Sysctl(HOST, f"net/ipv6/conf/{outside}/accept_ra", "0")
        yield Address(HOST, outside, f"{NEXT_HOP6}/64")
        yield Route(HOST, f"{endpoint.address6}/128", outside)
        yield Address(here, inside, f"{endpoint.address6}/128")
        yield Address(here, inside, f"{link_local(endpoint.mac)}/64")
        for pool in network.pools_of(6):
            yield Route(here, pool.subnet, inside, NEXT_HOP6)
        if endpoint.default_route6 and not network.internal:
            yield Route(here, DEFAULT_ROUTE6, inside, NEXT_HOP6)
