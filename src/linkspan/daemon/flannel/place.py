"""Where this host is reached by the others, and what it says of itself in its lease."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_interface

from linkspan.errors import Conflict, InvalidArgument, NotFound
from linkspan.kernel.contract import Interface, Kernel
from linkspan.model.flannel import FlannelConfig, Lease
from linkspan.state.host import Underlay


def find_underlay(kernel: Kernel, names: Sequence[str], patterns: Sequence[re.Pattern[str]]) -> Underlay:
    """The first interface that is there of `names` (names or addresses), else that matches, else that of the default
    route. Raises NotFound, InvalidArgument."""
    interfaces = kernel.interfaces()
    for name in names:
        for item in interfaces:
            if item.name == name or name in _addresses(item):
                return _underlay(item, name if name != item.name else "")
    for pattern in patterns:
        for item in interfaces:
            for address in _addresses(item):
                if pattern.search(address):
                    return _underlay(item, address)
            if pattern.search(item.name):
                return _underlay(item)
    if names or patterns:
        asked = ", ".join((*names, *(pattern.pattern for pattern in patterns)))
        raise NotFound(f"there is no interface {asked} on this host")
    default = next((route.interface for route in kernel.routes() if route.destination == "0.0.0.0/0"), "")
    for item in interfaces:
        if item.name == default:
            return _underlay(item)
    raise NotFound("this host has no default route: say with --iface by which interface other hosts reach it")


def describe(config: FlannelConfig, underlay: Underlay, public_ip: str = "", public_ip6: str = "") -> Lease:
    """This host's lease, but for the subnets. Raises Conflict where the backend cannot be had so."""
    backend, public_ip = config.backend, public_ip or underlay.address
    if not public_ip:
        raise Conflict(f"interface {underlay.interface} has no IPv4 address")
    six = (public_ip6 or underlay.address6) if config.v6 else ""
    if config.v6 and backend.type not in ("vxlan", "host-gw"):
        raise Conflict(f"flannel config: backend {backend.type} has no IPv6")
    if config.v6 and not six:
        raise Conflict(f"interface {underlay.interface} has no IPv6 address, and the flannel config has EnableIPv6")
    if backend.type == "host-gw" and public_ip != underlay.address:
        raise Conflict(f"backend host-gw: the public address {public_ip} has to be the interface's {underlay.address}")
    kind = backend.type if backend.type in ("vxlan", "host-gw") else ""
    if kind != "vxlan":
        return Lease("", public_ip, "", six, kind)
    vtep, vtep6 = (tunnel_mac(address, backend.vni) if address else "" for address in (public_ip, six))
    return Lease("", public_ip, "", six, kind, backend.vni, vtep, vtep6)


def tunnel_mac(public_ip: str, vni: int) -> str:
    """Of this host's end of the tunnel: the same after every start, and no other host's."""
    octets = hashlib.sha256(f"flannel {vni} {public_ip}".encode()).digest()[:6]
    return bytes([octets[0] & 0xFC | 2, *octets[1:]]).hex(":")


def _underlay(interface: Interface, wanted: str = "") -> Underlay:
    """The interface's first global addresses, or the one that was asked for."""
    found = {4: "", 6: ""}
    for text in (wanted, *_addresses(interface)):
        if text and not (address := ip_address(text)).is_link_local:
            found[address.version] = found[address.version] or text
    if not found[4]:
        raise InvalidArgument(f"interface {interface.name} has no IPv4 address")
    on_link = tuple(str(ip_interface(address).network) for address in interface.addresses)
    return Underlay(interface.name, found[4], found[6], interface.mtu, on_link)


def _addresses(interface: Interface) -> list[str]:
    return [address.partition("/")[0] for address in interface.addresses]
