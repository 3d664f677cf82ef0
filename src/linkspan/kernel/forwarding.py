"""Who is where: neighbours (an address's MAC on an interface) and forwarding entries (where frames to a MAC go).

Formats: linux/neighbour.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping

from linkspan.kernel.netlink import ACK, APPEND, CREATE, REPLACE, NetlinkSocket, attribute, attributes, u8
from linkspan.kernel.rtnetlink import PROTOCOL
from linkspan.state.objects import EVERYBODY, FdbEntry, Neighbour

_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, interface, state, flags, type
_NOARP, _PERMANENT = 0x40, 0x80
_SELF, _MASTER = 0x2, 0x4  # of a forwarding entry: into the link's own table, its bridge's
# NDA_…
_DESTINATION, _MAC, _BRIDGE, _PROTOCOL = 1, 2, 9, 12


def neighbours(host: NetlinkSocket, names: Mapping[int, str]) -> Iterator[Neighbour]:
    """Ours; `names` are the host's interfaces by index."""
    for body in host.dump(_GETNEIGH, _NEIGHBOUR.pack(0, 0, 0, 0, 0)):
        _, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
        found = attributes(body, _NEIGHBOUR.size)
        if found.get(_PROTOCOL) == bytes((PROTOCOL,)) and state & _PERMANENT and index in names:
            yield Neighbour(names[index], str(ipaddress.ip_address(found[_DESTINATION])), found[_MAC].hex(":"))


def entries(host: NetlinkSocket, index: int, name: str) -> Iterator[FdbEntry]:
    """Of one Vxlan: where its frames go, and what its bridge sends to it by our word."""
    for body in host.dump(_GETNEIGH, _NEIGHBOUR.pack(socket.AF_BRIDGE, index, 0, 0, 0)):
        _, of, state, flags, _ = _NEIGHBOUR.unpack_from(body)
        found = attributes(body, _NEIGHBOUR.size)
        if of != index or _MAC not in found:
            continue
        mac = found[_MAC].hex(":")
        if flags & _SELF and _DESTINATION in found:
            yield FdbEntry(name, mac, str(ipaddress.ip_address(found[_DESTINATION])))
        elif _BRIDGE in found and state & _NOARP:  # neither learned nor the port's own
            yield FdbEntry(name, mac)


def creation(item: Neighbour | FdbEntry, index: int) -> tuple[int, int, bytes]:
    """The message, on the interface of that index. Whatever is there for the address or MAC is replaced."""
    body = _packed(item, index)
    if isinstance(item, FdbEntry) and item.destination:
        body += _destination(item)
    # What is for everybody has one row with many destinations.
    several = isinstance(item, FdbEntry) and item.mac == EVERYBODY
    return _NEWNEIGH, ACK | CREATE | (APPEND if several else REPLACE), body


def deletion(item: Neighbour | FdbEntry, index: int) -> tuple[int, int, bytes]:
    """The message; refused with ENOENT where there is none, or the bridge has heard the MAC elsewhere meanwhile."""
    body = _packed(item, index)
    if isinstance(item, FdbEntry) and item.mac == EVERYBODY and item.destination:
        body += _destination(item)
    return _DELNEIGH, ACK, body


def lost(body: bytes, ours: Mapping[int, object]) -> int | None:
    """The interface on which a row of ours went, from the kernel's word about one that did; None if it was not ours.

    Forwarding entries are ours on `ours`, links by index.
    """
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    if family != socket.AF_BRIDGE:
        protocol = attributes(body, _NEIGHBOUR.size).get(_PROTOCOL)
        return index if protocol == bytes((PROTOCOL,)) else None
    return index if index in ours and state & _NOARP else None


def _destination(item: FdbEntry) -> bytes:
    return attribute(_DESTINATION, ipaddress.ip_address(item.destination).packed)


def _packed(item: Neighbour | FdbEntry, index: int) -> bytes:
    mac = attribute(_MAC, bytes.fromhex(item.mac.replace(":", "")))
    if isinstance(item, Neighbour):
        address = ipaddress.ip_address(item.address)
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        head = _NEIGHBOUR.pack(family, index, _PERMANENT, 0, 0)
        return head + attribute(_DESTINATION, address.packed) + mac + u8(_PROTOCOL, PROTOCOL)
    if not item.destination:
        return _NEIGHBOUR.pack(socket.AF_BRIDGE, index, _NOARP, _MASTER, 0) + mac
    return _NEIGHBOUR.pack(socket.AF_BRIDGE, index, _NOARP | _PERMANENT, _SELF, 0) + mac
