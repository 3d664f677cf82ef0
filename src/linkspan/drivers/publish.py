"""Published ports as kernel objects: reserved on the host, and an element for each that sends it on.

A port of every host address is one element for each IP version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from linkspan.model.endpoint import Binding, Endpoint
from linkspan.model.network import Network
from linkspan.model.port import any_of, each_family, version_of
from linkspan.state.objects import BoundPort, KernelObject, NftElement


def render_bindings(
    network: Network, endpoint: Endpoint, rules: Collection[int], *, direct_routing: bool
) -> Iterator[KernelObject]:
    """`rules` are the IP versions that get elements. `direct_routing` opens published ports at the container too."""
    opened = dict.fromkeys(
        (version_of(own), b.protocol, b.container_port) for b in endpoint.bindings for own in each_family(b.address)
    )
    for binding in endpoint.bindings:
        if binding.port == 0:
            continue
        yield BoundPort(binding.protocol, binding.address, binding.port)
        for address in each_family(binding.address):
            if version_of(address) in rules:
                yield from _published(endpoint, binding, address)
    for version, protocol, port in opened:
        own = endpoint.address6 if version == 6 else endpoint.address
        if version in rules and own:
            place, owner = f"{own} . {protocol} . {port}", endpoint.id[:12]
            suffix = "6" if version == 6 else ""
            if direct_routing or network.gateway_mode_of(version) == "routed":
                yield NftElement(f"open_ports{suffix}", place, comment=owner)
            for interface in network.trusted_interfaces:
                yield NftElement(f"trusted_ports{suffix}", f'"{interface}" . {place}', comment=owner)


def _published(endpoint: Endpoint, binding: Binding, address: str) -> Iterator[NftElement]:
    """The elements for a binding at one host address, which may stand for all of its IP version."""
    port, owner = f"{binding.protocol} . {binding.port}", endpoint.id[:12]
    version = version_of(address)
    everywhere = address == any_of(version)
    suffix = "6" if version == 6 else ""
    target = f"{endpoint.address6 if version == 6 else endpoint.address} . {binding.container_port}"
    if everywhere:
        yield NftElement(f"published{suffix}", port, target, owner)
    else:
        yield NftElement(f"published{suffix}_at", f"{address} . {port}", target, owner)
