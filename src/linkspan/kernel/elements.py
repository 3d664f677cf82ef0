"""The elements of our sets and maps: their text, and what the kernel has for it.

Read by one netlink dump for each set, and written by one message for some hundreds: libnftables would take a hundred
times as long to read them, since it parses all rules and prints all of it, and five times as long to write one, since
it asks for every set first. Formats: linux/netfilter/nf_tables.h; the comment is in libnftnl's user data, as nft itself
writes it, and subnets are the two marks that nft makes of them.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from linkspan.errors import Internal
from linkspan.kernel.netlink import (
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    be32,
    nested,
    string,
    text,
)
from linkspan.state.objects import NftElement

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_GETCHAIN, _GETSET, _GETSETELEM = _SUBSYSTEM | 4, _SUBSYSTEM | 10, _SUBSYSTEM | 13
_FAMILY = struct.pack("=BBH", 1, 0, 0)  # struct nfgenmsg: NFPROTO_INET
_INTERVAL_END = 1
_UDATA_COMMENT = 0
_LONGEST = 60_000  # bytes of a list, which may have 64 KiB

_DEFINITION = re.compile(
    r"^\s*(?:set|map) (\w+) \{ (?:type|typeof) ([^:;]+?)(?: : ([^;]+?))?;( flags interval;)? \}", re.M
)
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
_VERSIONS = {2: "ipv4", 10: "ipv6"}

_NUMBERS = {name: number for number, name in {**_PROTOCOLS, **_VERSIONS}.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """A field of a key: struct's letter for it, and the value that it packs as text, and back."""

    letter: str
    show: Callable[[Any], str]
    parse: Callable[[str], Any]
    ranged: bool = False  # in a set of intervals: may be a subnet, or a range


def _number(text: str) -> int:
    return _NUMBERS[text] if text in _NUMBERS else int(text)


def _address(letter: str, family: int) -> _Field:
    return _Field(letter, partial(socket.inet_ntop, family), partial(socket.inet_pton, family), ranged=True)


_FIELDS: Mapping[str, _Field] = {
    "ipv4_addr": _address("4s", socket.AF_INET),
    "ipv6_addr": _address("16s", socket.AF_INET6),
    "inet_proto": _Field("B", lambda value: _PROTOCOLS.get(value, str(value)), _number),
    "nf_proto": _Field("B", lambda value: _VERSIONS.get(value, str(value)), _number),
    "inet_service": _Field("H", str, int),
    "udp dport": _Field("H", str, int),
    "ip saddr": _address("4s", socket.AF_INET),
    "ip6 saddr": _address("16s", socket.AF_INET6),
    # A VXLAN network identifier: 24 bits behind 12 bytes of UDP's header and its own.
    "@th,96,24": _Field(
        "3s", lambda value: str(int.from_bytes(value, "big")), lambda text: int(text).to_bytes(3, "big")
    ),
    "ifname": _Field("16s", lambda value: f'"{string(value)}"', lambda text: text.strip('"').encode()),
}


class _Layout:
    """The fields of a key or of data. Each field of a concatenation fills whole registers of four bytes."""

    def __init__(self, fields: str) -> None:
        self._fields = [_FIELDS[field] for field in fields.split(" . ")]
        letters = [field.letter for field in self._fields]
        padded = (f"{letter}{-struct.calcsize(letter) % 4}x" for letter in letters)
        self._struct = struct.Struct(">" + ("".join(padded) if len(letters) > 1 else letters[0]))

    def show(self, value: bytes) -> str:
        parts = zip(self._fields, self._struct.unpack(value), strict=True)
        return " . ".join([field.show(part) for field, part in parts])

    def show_span(self, first: bytes, last: bytes) -> str:
        """A range of keys with several fields, each a value or a subnet."""
        parts = zip(self._fields, self._struct.unpack(first), self._struct.unpack(last), strict=True)
        return " . ".join([field.show(low) if low == high else _range(low, high) for field, low, high in parts])

    def pack(self, shown: str) -> bytes:
        """Raises ValueError, OSError or struct.error where it is not of these fields."""
        parts = zip(self._fields, shown.split(" . "), strict=True)
        return self._struct.pack(*[field.parse(part) for field, part in parts])

    def pack_span(self, shown: str) -> tuple[bytes, bytes]:
        """The first and the last key of a range: of fields that are values, subnets or ranges of addresses."""
        parts = zip(self._fields, shown.split(" . "), strict=True)
        bounds = [_bounds(part) if field.ranged else (field.parse(part),) * 2 for field, part in parts]
        return self._struct.pack(*[low for low, _ in bounds]), self._struct.pack(*[high for _, high in bounds])


class SetType:
    """A set's or map's declaration: how its keys and data are laid out."""

    def __init__(self, name: str, key: str, data: str, *, interval: bool) -> None:
        self.name = name
        self.interval = interval
        self.several = " . " in key
        self.key = _Layout(key)
        self.data = _Layout(data) if data else None

    def packed(self, element: NftElement) -> Iterator[bytes]:
        """The element as items of a message's list: one, or for a subnet the marks at which it starts and ends."""
        tail = attribute(6, _user_data(element.comment)) if element.comment else b""
        if self.data:
            tail = nested(2, attribute(1, self.data.pack(element.data))) + tail
        if not self.interval:
            yield nested(1, nested(1, attribute(1, self.key.pack(element.element))), tail)
            return
        first, last = self.key.pack_span(element.element)
        if self.several:
            end = nested(10, attribute(1, last)) if last != first else b""
            yield nested(1, nested(1, attribute(1, first)), end, tail)
            return
        yield nested(1, nested(1, attribute(1, first)), tail)
        behind = int.from_bytes(last, "big") + 1
        if behind < 1 << 8 * len(last):  # else it has no end
            yield nested(1, nested(1, attribute(1, behind.to_bytes(len(last), "big"))), be32(3, _INTERVAL_END))


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
            shown = kind.data.show(data) if kind.data and data else ""
            if end:
                singles.append(NftElement(kind.name, kind.key.show_span(key, end), shown, comment))
            elif kind.interval and not kind.several:
                ends = bool(int.from_bytes(values.get(3, b""), "big") & _INTERVAL_END)
                marks.append((key, not ends, comment, shown))
            else:
                singles.append(NftElement(kind.name, kind.key.show(key), shown, comment))
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


def written(table: str, kind: SetType, found: Iterable[NftElement]) -> Iterator[bytes]:
    """Bodies of messages that add elements to one set, or delete them: as many in each as it may hold.

    Raises Internal where the text of an element is not of the set's type.
    """
    head = _FAMILY + text(1, table) + text(2, kind.name)
    items, length = list[bytes](), 0
    for item in _items(kind, found):
        if length + len(item) > _LONGEST:
            yield head + nested(3, *items)
            items, length = [], 0
        items.append(item)
        length += len(item)
    yield head + nested(3, *items)


def _items(kind: SetType, found: Iterable[NftElement]) -> Iterator[bytes]:
    for element in found:
        try:
            yield from kind.packed(element)
        except (ValueError, OSError, struct.error) as error:
            raise Internal(f"{{ {element.element} }} is no element of {kind.name} in the nft table: {error}") from None


def _bounds(shown: str) -> tuple[bytes, bytes]:
    """The first and the last of a subnet's addresses, of a range's, or of one."""
    first, dash, last = shown.partition("-")
    if dash:
        return ipaddress.ip_address(first).packed, ipaddress.ip_address(last).packed
    subnet = ipaddress.ip_network(shown)
    return subnet[0].packed, subnet[-1].packed


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


def _user_data(comment: str) -> bytes:
    value = comment.encode()[:127] + b"\0"
    return bytes((_UDATA_COMMENT, len(value))) + value


def _comment(user_data: bytes) -> str:
    offset = 0
    while offset + 2 <= len(user_data):
        kind, length = user_data[offset], user_data[offset + 1]
        if kind == _UDATA_COMMENT:
            return string(user_data[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
