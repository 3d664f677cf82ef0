"""The elements of our sets and maps, as the kernel has them, in the same text in which they are written.

Read by one netlink dump for each set: libnftables takes a hundred times as long, since it parses all rules and prints
all of it. Formats: linux/netfilter/nf_tables.h; the comment is in libnftnl's user data, as nft itself writes it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Mapping

from linkspan.kernel.netlink import NetlinkSocket, attribute_list, attributes, string, text
from linkspan.state.objects import NftElement

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GETCHAIN, _GETSET, _GETSETELEM = _SUBSYSTEM | 4, _SUBSYSTEM | 10, _SUBSYSTEM | 13
_FAMILY = struct.pack("=BBH", 1, 0, 0)  # struct nfgenmsg: NFPROTO_INET
_INTERVAL_END = 1
_UDATA_COMMENT = 0

_DEFINITION = re.compile(r"^\s*(?:set|map) (\w+) \{ type ([^:;]+?)(?: : ([^;]+?))?;( flags interval;)? \}", re.M)
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_VERSIONS = {2: "ipv4", 10: "ipv6"}

# Bytes that a field takes in a key, and what they mean as text.
_FIELDS: Mapping[str, tuple[int, Callable[[bytes], str]]] = {
    "ipv4_addr": (4, lambda value: socket.inet_ntop(socket.AF_INET, value)),
    "ipv6_addr": (16, lambda value: socket.inet_ntop(socket.AF_INET6, value)),
    "inet_proto": (1, lambda value: _PROTOCOLS.get(value[0], str(value[0]))),
    "nf_proto": (1, lambda value: _VERSIONS.get(value[0], str(value[0]))),
    "inet_service": (2, lambda value: str(int.from_bytes(value, "big"))),
    "ifname": (16, lambda value: f'"{string(value)}"'),
}


_Layout = list[tuple[int, Callable[[bytes], str]]]


class SetType:
    """A set's or map's declaration: how its keys and data are laid out."""

    def __init__(self, name: str, key: str, data: str, *, interval: bool) -> None:
        self.name = name
        self.interval = interval
        self._key = [_FIELDS[field] for field in key.split(" . ")]
        self._data = [_FIELDS[field] for field in data.split(" . ")] if data else []

    def key(self, value: bytes) -> str:
        return _fields(self._key, value)

    def span(self, first: bytes, last: bytes) -> str:
        """A range of keys with several fields, each a value or a subnet."""
        parts = []
        for (length, show), low, high in zip(self._key, _split(self._key, first), _split(self._key, last), strict=True):
            parts.append(show(low) if low == high else _range(low[:length], high[:length]))
        return " . ".join(parts)

    def data(self, value: bytes) -> str:
        return _fields(self._data, value)


def set_types(ruleset: str) -> dict[str, SetType]:
    """The sets and maps that a ruleset declares, each on a line of its own, by name."""
    return {
        name: SetType(name, key, data or "", interval=bool(flags))
        for name, key, data, flags in _DEFINITION.findall(ruleset)
    }


def read(connection: NetlinkSocket, table: str, kind: SetType) -> list[NftElement]:
    """The elements of one set. OSError(ENOENT) if there is no such set or table."""
    singles: list[NftElement] = []
    marks: list[tuple[bytes, bool, str, str]] = []  # of interval sets: start or end; the start's comment and data
    for body in connection.dump(_GETSETELEM, _FAMILY + text(1, table) + text(2, kind.name)):
        for _, item in attribute_list(attributes(body, 4).get(3, b"")):
            values = attributes(item)
            key = attributes(values.get(1, b"")).get(1, b"")
            end = attributes(values.get(10, b"")).get(1, b"")  # of a range of keys that have several fields
            comment = _comment(values.get(6, b""))
            data = attributes(values.get(2, b"")).get(1, b"")
            shown = kind.data(data) if data else ""
            if end:
                singles.append(NftElement(kind.name, kind.span(key, end), shown, comment))
            elif kind.interval:
                ends = bool(int.from_bytes(values.get(3, b""), "big") & _INTERVAL_END)
                marks.append((key, not ends, comment, shown))
            else:
                singles.append(NftElement(kind.name, kind.key(key), shown, comment))
    return singles or _intervals(kind.name, marks)


def chains(connection: NetlinkSocket, table: str) -> list[str]:
    """The names of a table's chains, in the order in which they were made."""
    found = []
    for body in connection.dump(_GETCHAIN, _FAMILY):
        values = attributes(body, 4)
        if body[0] == _FAMILY[0] and string(values.get(1, b"")) == table:
            found.append(string(values.get(3, b"")))
    return found


def sets(connection: NetlinkSocket, table: str) -> list[str]:
    """The names of a table's sets and maps, but for those that nft makes up for a list in a rule."""
    found = [string(attributes(body, 4).get(2, b"")) for body in connection.dump(_GETSET, _FAMILY + text(1, table))]
    return [name for name in found if not name.startswith("__")]


def _fields(layout: _Layout, value: bytes) -> str:
    return " . ".join(show(part) for (_, show), part in zip(layout, _split(layout, value), strict=True))


def _split(layout: _Layout, value: bytes) -> list[bytes]:
    parts, offset = [], 0
    for length, _ in layout:
        parts.append(value[offset : offset + length])
        offset += (length + 3) & ~3  # each field of a concatenation fills whole registers
    return parts


def _intervals(name: str, marks: list[tuple[bytes, bool, str, str]]) -> list[NftElement]:
    """Subnets from the marks at which they start and end; an end is the first address behind it."""
    found: list[NftElement] = []
    start: tuple[bytes, str, str] | None = None
    for key, starts, comment, data in sorted(marks):
        if start is not None:
            found.append(_subnet(name, start[0], int.from_bytes(key, "big") - 1, *start[1:]))
        start = (key, comment, data) if starts else None
    if start is not None:
        found.append(_subnet(name, start[0], (1 << 8 * len(start[0])) - 1, *start[1:]))
    return found


def _subnet(name: str, first: bytes, last: int, comment: str, data: str) -> NftElement:
    return NftElement(name, _range(first, last.to_bytes(len(first), "big")), data, comment)


def _range(first: bytes, last: bytes) -> str:
    """Addresses, as a subnet where they are one."""
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    networks = list(ipaddress.summarize_address_range(low, high))
    return str(networks[0]) if len(networks) == 1 else f"{low}-{high}"


def _comment(user_data: bytes) -> str:
    offset = 0
    while offset + 2 <= len(user_data):
        kind, length = user_data[offset], user_data[offset + 1]
        if kind == _UDATA_COMMENT:
            return string(user_data[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
