"""Which addresses a host has in the mesh, and where it may be reached below it."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterable

from linkspan.errors import Conflict, InvalidArgument
from linkspan.state.fabric import SEGMENT, WIREGUARD
from linkspan.state.host import HostInterface

RANGE = ipaddress.IPv4Network("100.127.0.0/16")  # of what RFC 6598 sets apart for addresses between providers
_MOST = 8  # places where a host says that it may be reached


def mesh_addresses(mesh_id: str, host_id: str, taken: Collection[str]) -> tuple[str, str]:
    """A host's IPv4 and IPv6 address, which follow from its id unless another host has them. Raises Conflict where all
    are taken. The IPv6 prefix is the mesh's own (RFC 4193); both end in the same number."""
    count = RANGE.num_addresses - 2
    first = int.from_bytes(hashlib.sha256(host_id.encode()).digest()[:8], "big") % count
    held = set(taken)
    for step in range(count):
        number = 1 + (first + step) % count
        address = str(RANGE[number])
        if address not in held:
            prefix = b"\xfd" + hashlib.sha256(mesh_id.encode()).digest()[:5]
            return address, str(ipaddress.IPv6Address(prefix + number.to_bytes(10, "big")))
    raise Conflict(f"no address is left in {RANGE} for another host of the mesh")


def endpoints(
    interfaces: Iterable[HostInterface],
    leading_out: Collection[str],
    advertise: str,
    port: int,
    meshed: Collection[str] = (),
) -> tuple[str, ...]:
    """Where this host says that others may reach it directly: where the user says so (an address or an interface), or
    at each of its own addresses, first those of interfaces that a default route leads over. `meshed` are those that it
    has in the mesh.

    Raises InvalidArgument where the user names what is not there.
    """
    interfaces = list(interfaces)
    own = [i for i in interfaces if not (i.loopback or i.kind == "bridge" or i.name in (SEGMENT, WIREGUARD))]
    if advertise:
        named = [i for i in interfaces if advertise == i.name or advertise in map(_address, i.addresses)]
        if not named:
            raise InvalidArgument(f"--advertise {advertise}: this host has no such interface, and no such address")
        if advertise != named[0].name:
            return (_endpoint(advertise, port),)
        own = named
    own.sort(key=lambda interface: interface.name not in leading_out)
    usable = [a for interface in own for a in map(_address, interface.addresses) if _reachable(a, meshed)]
    return tuple(_endpoint(address, port) for address in usable[:_MOST])


def _address(text: str) -> str:
    return str(ipaddress.ip_interface(text).ip)


def _reachable(address: str, meshed: Collection[str]) -> bool:
    ip = ipaddress.ip_address(address)
    return not (ip.is_loopback or ip.is_link_local or address in meshed)


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
