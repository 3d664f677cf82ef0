"""What a link has (addresses, routes, neighbours), taken over by another one: as it is, with lifetimes and metrics.

For an interface of the host's own that becomes a port of a bridge of ours, or is one no more. The copy is complete
before the original goes, so that at each moment there is a way to send and an address to receive at. Formats:
linux/rtnetlink.h, linux/if_addr.h, linux/neighbour.h.
"""

from __future__ import annotations

import dataclasses
import errno
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from linkspan.kernel.netlink import (
    ACK,
    APPEND,
    CREATE,
    REPLACE,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    number,
    string,
    u32,
)

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _GETNEIGH = 28, 30
_ADDR = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst, src length, tos, table, protocol, scope, type, flags
_NEIGH = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_HOP = struct.Struct("=HBBi")  # length, flags, hops, index

# IFA_…
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 4, 6, 8
_IFA_KEPT = {_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_CACHEINFO, 9, 11}  # …, IFA_RT_PRIORITY, IFA_PROTO
_FLAGS_KEPT = 0x100 | 0x200 | 0x400  # managed temporary addresses, no prefix route, automatic multicast groups
_READY = 2.0  # seconds
_NODAD = 0x2  # it was ours before: nothing to detect
# RTA_…
_DST, _OIF, _GATEWAY, _MULTIPATH, _CACHEINFO, _TABLE, _VIA, _EXPIRES = 1, 4, 5, 9, 12, 15, 18, 23
_ROUTE_LEFT = {_OIF, _MULTIPATH, _CACHEINFO, _EXPIRES}
_UNICAST, _LOCAL, _LOCAL_TABLE, _CLONED, _ONLINK = 1, 2, 255, 0x200, 4
_TICKS = 100  # a second, in which the kernel tells when a route expires
# NUD_…: what is known of a neighbour, be it old
_KNOWN, _STALE, _PERMANENT = 0x02 | 0x04 | 0x08 | 0x10, 0x04, 0x80

Message: TypeAlias = tuple[int, int, bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What a link of the index `index` and the name `name` has, in the kernel's own form."""

    index: int
    name: str
    addresses: tuple[bytes, ...] = ()
    routes: tuple[bytes, ...] = ()
    neighbours: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lasting or self.routes)

    @property
    def lasting(self) -> list[bytes]:
        """The addresses, but for those that IPv6 gives every interface by itself."""
        return [body for body in self.addresses if _ADDR.unpack_from(body)[3] != 253]

    def gateways(self) -> Iterator[tuple[str, str]]:
        """Of IPv4 default routes: the gateway's address, and one of the link's own to ask from."""
        own = next((socket.inet_ntoa(attributes(b, _ADDR.size)[_IFA_LOCAL]) for b in self.addresses if b[0] == 2), "")
        for body in self.routes:
            family, length, *_ = _ROUTE.unpack_from(body)
            values = attributes(body, _ROUTE.size)
            if family == socket.AF_INET and length == 0 and _GATEWAY in values and own:
                yield socket.inet_ntoa(values[_GATEWAY]), own


def held(host: NetlinkSocket, index: int, name: str) -> Held:
    """OSError."""
    addresses = [b for b in host.dump(_GETADDR, _ADDR.pack(0, 0, 0, 0, 0)) if _ADDR.unpack_from(b)[4] == index]
    routes = [
        one
        for family in (socket.AF_INET, socket.AF_INET6)
        for body in host.dump(_GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        if _leads_over(body, index)
        for one in _ways(body, index)
    ]
    neighbours = [b for b in host.dump(_GETNEIGH, _NEIGH.pack(0, 0, 0, 0, 0)) if _is_known(b, index)]
    return Held(index, name, tuple(addresses), tuple(routes), tuple(neighbours))


def give(host: NetlinkSocket, what: Held, index: int) -> None:
    """To another link: addresses and neighbours, which do not matter to what is sent. There already is success."""
    _send(host, [(_NEWADDR, ACK | CREATE, _address(body, what.name, index)) for body in what.addresses], errno.EEXIST)
    _send(host, [(_NEWNEIGH, ACK | CREATE | REPLACE, _neighbour(body, index)) for body in what.neighbours])
    _await_addresses(host, what, index)


def switch(host: NetlinkSocket, what: Held, index: int) -> None:
    """From now on everything is sent over another link, which has the addresses already; the first has no routes any
    more."""
    routes = sorted(what.routes, key=lambda body: bool({_GATEWAY, _VIA} & attributes(body, _ROUTE.size).keys()))
    made = [(_NEWROUTE, ACK | CREATE | APPEND, _route(body, what.index, index)) for body in routes]
    _send(host, made, errno.EEXIST)
    if index == what.index:
        return  # it had lost them
    gone = [(_DELROUTE, ACK, _route(body, what.index, what.index)) for body in reversed(routes)]
    _send(host, gone, errno.ESRCH, errno.ENODEV)


def take(host: NetlinkSocket, what: Held) -> None:
    """The addresses, the last first: where the first of a subnet goes, the others go with it."""
    _send(host, [(_DELADDR, ACK, _bare(body)) for body in reversed(what.addresses)], errno.EADDRNOTAVAIL)


def _send(host: NetlinkSocket, steps: Sequence[Message], *tolerated: int) -> None:
    for error in host.batch(steps).values() if steps else ():
        if error.errno not in tolerated:
            raise error


def _await_addresses(host: NetlinkSocket, what: Held, index: int) -> None:
    """The kernel takes packets for an IPv6 address a moment after it was given, also where it is not probed for: when
    it has a route of its own to it."""
    wanted = {attributes(body, _ADDR.size)[_IFA_ADDRESS] for body in what.addresses if body[0] == socket.AF_INET6}
    end = time.monotonic() + _READY
    while wanted and time.monotonic() < end:
        for body in host.dump(_GETROUTE, _ROUTE.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)):
            *_, kind, _ = _ROUTE.unpack_from(body)
            values = attributes(body, _ROUTE.size)
            if kind == _LOCAL and _is_over(values, index):
                wanted.discard(values.get(_DST, b""))
        if wanted:
            time.sleep(0.001)


def _leads_over(body: bytes, index: int) -> bool:
    """A route that somebody made, or that an address has brought; not what the kernel needs to know its own."""
    *_, table, _, _, kind, flags = _ROUTE.unpack_from(body)
    if kind != _UNICAST or flags & _CLONED:
        return False
    values = attributes(body, _ROUTE.size)
    if (number(values[_TABLE]) if _TABLE in values else table) == _LOCAL_TABLE:
        return False
    return _is_over(values, index)


def _is_over(values: Mapping[int, bytes], index: int) -> bool:
    """Whether a route's way, or one of its ways, is over the link."""
    return number(values.get(_OIF, b"")) == index or index in (hop for hop, _, _ in _hops(values.get(_MULTIPATH, b"")))


def _ways(body: bytes, index: int) -> Iterator[bytes]:
    """An IPv6 route with several ways is as many routes: those over the link. (It becomes one by itself, while there is
    the same route over the old link and the new one.)"""
    values = attributes(body, _ROUTE.size)
    if body[0] != socket.AF_INET6 or _MULTIPATH not in values:
        yield body
        return
    common = b"".join(_whole(kind, value) for kind, value in values.items() if kind not in (_MULTIPATH, _CACHEINFO))
    for at, _, whole in _hops(values[_MULTIPATH]):
        if at == index:
            yield body[: _ROUTE.size] + common + u32(_OIF, at) + _padded(whole[_HOP.size :])


def _is_known(body: bytes, index: int) -> bool:
    _, at, state, _, _ = _NEIGH.unpack_from(body)
    return at == index and bool(state & (_KNOWN | _PERMANENT)) and 2 in attributes(body, _NEIGH.size)


def _address(body: bytes, name: str, index: int) -> bytes:
    family, length, flags, scope, _ = _ADDR.unpack_from(body)
    values = attributes(body, _ADDR.size)
    flags = number(values[_IFA_FLAGS]) if _IFA_FLAGS in values else flags
    flags = flags & _FLAGS_KEPT | (_NODAD if family == socket.AF_INET6 else 0)
    rest = b"".join(attribute(kind, value) for kind, value in values.items() if kind in _IFA_KEPT)
    if _IFA_LABEL in values and string(values[_IFA_LABEL]) != name:  # its own name is the default
        rest += attribute(_IFA_LABEL, values[_IFA_LABEL])
    return _ADDR.pack(family, length, flags & 0xFF, scope, index) + rest + u32(_IFA_FLAGS, flags)


def _bare(body: bytes) -> bytes:
    values = attributes(body, _ADDR.size)
    named = (attribute(kind, values[kind]) for kind in (_IFA_LOCAL, _IFA_ADDRESS) if kind in values)
    return body[: _ADDR.size] + b"".join(named)


def _neighbour(body: bytes, index: int) -> bytes:
    family, _, state, flags, kind = _NEIGH.unpack_from(body)
    values = attributes(body, _NEIGH.size)
    state = _PERMANENT if state & _PERMANENT else _STALE
    return _NEIGH.pack(family, index, state, flags, kind) + attribute(1, values[1]) + attribute(2, values[2])


def _route(body: bytes, old: int, new: int) -> bytes:
    """The same route over another link."""
    *head, flags = _ROUTE.unpack_from(body)
    values = attribute_list(body, _ROUTE.size)
    rest = b""
    for kind, value in values:
        if kind not in _ROUTE_LEFT:
            rest += _whole(kind, value)
        elif kind == _OIF:
            rest += u32(_OIF, new if number(value) == old else number(value))
        elif kind == _MULTIPATH:
            rest += attribute(_MULTIPATH, _over(value, old, new))
        elif kind == _CACHEINFO and head[0] == socket.AF_INET6 and (left := struct.unpack_from("=i", value, 8)[0]) > 0:
            rest += u32(_EXPIRES, max(left // _TICKS, 1))
    return _ROUTE.pack(*head, flags & _ONLINK) + rest


def _whole(kind: int, value: bytes) -> bytes:
    nested = 0x8000 if kind in (8, 22) else 0  # RTA_METRICS, RTA_ENCAP
    return attribute(kind | nested, value)


def _hops(value: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Of a route with several ways: the link's index, flags and the whole of each."""
    offset = 0
    while offset + _HOP.size <= len(value):
        length, flags, _, index = _HOP.unpack_from(value, offset)
        if length < _HOP.size:
            return
        yield index, flags, value[offset : offset + length]
        offset += (length + 3) & ~3


def _over(value: bytes, old: int, new: int) -> bytes:
    return b"".join(_padded(_hop(index, flags, whole, old, new)) for index, flags, whole in _hops(value))


def _hop(index: int, flags: int, whole: bytes, old: int, new: int) -> bytes:
    length, _, hops, _ = _HOP.unpack_from(whole)
    return _HOP.pack(length, flags & _ONLINK, hops, new if index == old else index) + whole[_HOP.size :]


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
