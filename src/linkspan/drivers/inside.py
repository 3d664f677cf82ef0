"""What every driver gives a sandbox's interface: addresses, and the way out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.state.objects import Address, KernelObject, Route

DEFAULT_ROUTE = "0.0.0.0/0"
DEFAULT_ROUTE6 = "::/0"
DEFAULT_ROUTES = {4: DEFAULT_ROUTE, 6: DEFAULT_ROUTE6}


def render_inside(network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
    inside, interface = sandbox.path, endpoint.interface
    if endpoint.address:
        yield Address(inside, interface, f"{endpoint.address}/{endpoint.prefix_length}")
    if endpoint.address6:
        yield Address(inside, interface, f"{endpoint.address6}/{endpoint.prefix_length6}")
        if endpoint.mac:
            yield Address(inside, interface, f"{link_local(endpoint.mac)}/64")
    if network.internal:
        return
    if endpoint.default_route and endpoint.address and (endpoint.gateway or network.direct):
        yield Route(inside, DEFAULT_ROUTE, interface, "" if network.direct else endpoint.gateway)
    if endpoint.default_route6 and endpoint.address6 and (endpoint.gateway6 or network.direct):
        yield Route(inside, DEFAULT_ROUTE6, interface, "" if network.direct else endpoint.gateway6)


def link_local(mac: str) -> str:
    """The address that an interface gives itself on its link (RFC 4291): made by us, it needs no second of probing."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))
