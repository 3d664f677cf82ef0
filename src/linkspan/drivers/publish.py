"""Published ports as kernel objects: reserved on the host, and an element for each that sends it on.

A port of every host address is one element for each IP version. What the kernel cannot translate goes to the relay
process: from IPv6 to a container that has IPv4 only, and what comes from ::1 or a link-local address.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from linkspan.model.endpoint import Binding, Endpoint
from linkspan.model.network import Network
from linkspan.model.port import any_of, each_family, version_of
from linkspan.state.objects import BoundPort, KernelObject, NftElement

RELAYED = ("tcp", "udp")
LOOPBACK6 = "::1"


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """What the daemon's flags and the host's kernel make of published ports and bridges."""

    ipv6: bool = True  # the kernel has it
    forward: bool = True  # --ip-forward: we turn forwarding on
    rules: frozenset[int] = frozenset({4, 6})  # --iptables, --ip6tables: IP versions that get elements of the ruleset
    direct_routing: bool = False  # --allow-direct-routing
    relay: bool = False  # a process relays what the kernel cannot translate


def render_bindings(network: Network, endpoint: Endpoint, host: Host) -> Iterator[KernelObject]:
    opened = dict.fromkeys(
        (version_of(own), b.protocol, b.container_port) for b in endpoint.bindings for own in each_family(b.address)
    )
    for binding in endpoint.bindings:
        if binding.port == 0:
            continue
        yield BoundPort(binding.protocol, binding.address, binding.port)
        for address in each_family(binding.address):
            if version_of(address) in host.rules:
                yield from _published(endpoint, binding, address, relay=host.relay)
    for version, protocol, port in opened:
        own = endpoint.address6 if version == 6 else endpoint.address
        if version in host.rules and own:
            place, owner = f"{own} . {protocol} . {port}", endpoint.id[:12]
            suffix = "6" if version == 6 else ""
            if host.direct_routing or network.gateway_mode_of(version) == "routed":
                yield NftElement(f"open_ports{suffix}", place, comment=owner)
            for interface in network.trusted_interfaces:
                yield NftElement(f"trusted_ports{suffix}", f'"{interface}" . {place}', comment=owner)


def _published(endpoint: Endpoint, binding: Binding, address: str, *, relay: bool) -> Iterator[NftElement]:
    """The elements for a binding at one host address, which may stand for all of its IP version."""
    port, owner = f"{binding.protocol} . {binding.port}", endpoint.id[:12]
    version = version_of(address)
    own = endpoint.address6 if version == 6 else endpoint.address
    everywhere = address == any_of(version)
    suffix = "6" if version == 6 else ""
    if own and everywhere:
        yield NftElement(f"published{suffix}", port, f"{own} . {binding.container_port}", owner)
    elif own and address != LOOPBACK6:
        place = f"{address} . {port}"
        yield NftElement(f"published{suffix}_at", place, f"{own} . {binding.container_port}", owner)
    relayed = version == 6 and (not own or everywhere or address == LOOPBACK6)
    if relay and relayed and binding.protocol in RELAYED:
        if not everywhere:
            yield NftElement("relayed_at", f"{address} . {port}", comment=owner)
        else:
            yield NftElement("relayed_local" if own else "relayed", port, comment=owner)
        target = f"{own or f'::ffff:{endpoint.address}'} . {binding.container_port}"
        yield NftElement("relay_to", f"{address} . {port}", target, owner)
