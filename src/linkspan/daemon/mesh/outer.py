"""The host's own network under the mesh: at which address it sends to other hosts, and how much fits into a packet."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_interface

from linkspan.daemon.cluster.joining import find_underlay
from linkspan.errors import InvalidArgument
from linkspan.kernel.contract import Interface, Kernel
from linkspan.state.objects import FLAT


@dataclasses.dataclass(frozen=True, slots=True)
class Outer:
    address: str
    mtu: int


def find_outer(kernel: Kernel, advertise: str) -> Outer:
    """Of an address or interface that the user named; without, of the interface that leads out, or of any that has an
    address. Raises InvalidArgument."""
    if advertise:
        found = find_underlay(kernel, advertise, ())
        return Outer(found.address or found.address6, found.mtu)
    interfaces = [item for item in kernel.interfaces() if _addresses(item)]
    leading = {route.interface for route in kernel.routes() if route.destination.endswith("/0")}
    for item in sorted(interfaces, key=lambda item: item.name not in leading):
        return Outer(_addresses(item)[0], item.mtu)
    raise InvalidArgument("no interface of this host has an address at which others could reach it: say --advertise")


def _addresses(item: Interface) -> list[str]:
    """IPv4 first; none of one that is ours, or leads nowhere."""
    if item.loopback or not item.up or (item.alias.startswith("linkspan:") and not item.alias.startswith(FLAT)):
        return []
    usable = [found.ip for found in map(ip_interface, item.addresses) if not found.is_link_local]
    return [str(one) for one in sorted(usable, key=lambda one: one.version)]
