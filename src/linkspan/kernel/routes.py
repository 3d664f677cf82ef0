"""Routes: those of a namespace's main table, and the messages that make ours. Formats: linux/rtnetlink.h."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import struct

from linkspan.kernel.contract import RouteEntry
from linkspan.kernel.netlink import ACK, CREATE, EXCL, REPLACE, NetlinkSocket, attribute, attributes, number, u32
from linkspan.kernel.rtnetlink import PROTOCOL, links
from linkspan.state.objects import Route

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst, src length, tos, table, protocol, scope, type, flags
_MAIN = 254
_UNIVERSE, _SCOPE_LINK, _NOWHERE = 0, 253, 255  # of a deletion, nowhere is whatever scope
_KINDS = {"unicast": 1, "blackhole": 6, "unreachable": 7}
_ONLINK, _CLONED = 0x4, 0x200
_METRIC6 = 1024  # what IPv6 gives a route that asks for none
# RTA_…
_DESTINATION, _INTERFACE, _GATEWAY, _PRIORITY, _SOURCE, _TABLE = 1, 4, 5, 6, 7, 15


@dataclasses.dataclass(frozen=True, slots=True)
class RouteFound:
    entry: RouteEntry
    ours: bool
    onlink: bool
    metric: int
    kind: str
    source: str

    def as_ours(self, namespace: str) -> Route:
        found = self.entry
        place = (namespace, found.destination, found.interface, found.gateway)
        return Route(*place, self.onlink, self.metric, self.kind, self.source)


def routes(inside: NetlinkSocket) -> list[RouteFound]:
    """The main table's routes with one way out, or none, without IPv6's own link-local ones."""
    found = []
    names: dict[int, str] = {}
    kinds = {number_: kind for kind, number_ in _KINDS.items()}
    for family in (socket.AF_INET, socket.AF_INET6):
        body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for answer in inside.dump(_GETROUTE, body):
            _, length, _, _, table, protocol, _, kind, flags = _ROUTE.unpack_from(answer)
            values = attributes(answer, _ROUTE.size)
            if (number(values[_TABLE]) if _TABLE in values else table) != _MAIN or kind not in kinds:
                continue
            if flags & _CLONED:
                continue
            destination = ipaddress.ip_address(values.get(_DESTINATION, bytes(16 if family == socket.AF_INET6 else 4)))
            if destination.is_link_local and family == socket.AF_INET6:
                continue
            if not names:
                names = {item.interface.index: item.interface.name for item in links(inside)}
            gateway = str(ipaddress.ip_address(values[_GATEWAY])) if _GATEWAY in values else ""
            # An IPv6 route to nowhere says that it is on lo.
            name = names.get(number(values.get(_INTERFACE, b"")), "") if kinds[kind] == "unicast" else ""
            metric = number(values.get(_PRIORITY, b""))
            found.append(
                RouteFound(
                    RouteEntry(f"{destination}/{length}", name, gateway),
                    ours=protocol == PROTOCOL,
                    onlink=bool(flags & _ONLINK),
                    metric=0 if family == socket.AF_INET6 and metric == _METRIC6 else metric,
                    kind=kinds[kind],
                    source=str(ipaddress.ip_address(values[_SOURCE])) if _SOURCE in values else "",
                )
            )
    return found


def others(inside: NetlinkSocket, protocol: int, metric: int) -> list[tuple[str, tuple[int, int, bytes]]]:
    """The main table's routes that somebody else keeps, known by these numbers: the destinations, and the message that
    takes each away. Also those with several ways out."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for answer in inside.dump(_GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, kept_by, _, kind, flags = _ROUTE.unpack_from(answer)
            values = attributes(answer, _ROUTE.size)
            table = number(values[_TABLE]) if _TABLE in values else table
            if table != _MAIN or flags & _CLONED or kept_by != protocol or number(values.get(_PRIORITY, b"")) != metric:
                continue
            destination = values.get(_DESTINATION, bytes(16 if family == socket.AF_INET6 else 4))
            body = _ROUTE.pack(family, length, 0, 0, _MAIN, protocol, _NOWHERE, kind, 0)
            body += attribute(_DESTINATION, destination) + u32(_PRIORITY, metric)
            found.append((f"{ipaddress.ip_address(destination)}/{length}", (_DELROUTE, ACK, body)))
    return found


def creation(route: Route, index: int, *, replace: bool) -> tuple[int, int, bytes]:
    """The message; refused with EEXIST where there is a route to that destination, unless it may be replaced.

    `index` is the interface's.
    """
    body = _route(route, _ONLINK if route.onlink else 0)
    if index:
        body += u32(_INTERFACE, index)
    if route.gateway:
        body += attribute(_GATEWAY, ipaddress.ip_address(route.gateway).packed)
    if route.source:
        body += attribute(_SOURCE, ipaddress.ip_address(route.source).packed)
    return _NEWROUTE, ACK | CREATE | (REPLACE if replace else EXCL), body


def deletion(route: Route) -> tuple[int, int, bytes]:
    """The message; of ours only, as the kernel compares the protocol number. Refused with ESRCH where there is none."""
    return _DELROUTE, ACK, _route(route, 0)


def _route(route: Route, flags: int) -> bytes:
    destination = ipaddress.ip_network(route.destination)
    version6 = destination.version == 6
    family = socket.AF_INET6 if version6 else socket.AF_INET
    scope = _UNIVERSE if route.gateway or route.kind != "unicast" else _SCOPE_LINK
    kind = _KINDS[route.kind]
    body = _ROUTE.pack(family, destination.prefixlen, 0, 0, _MAIN, PROTOCOL, scope, kind, flags)
    if destination.prefixlen:
        body += attribute(_DESTINATION, destination.network_address.packed)
    if metric := route.metric or (_METRIC6 if version6 else 0):
        body += u32(_PRIORITY, metric)
    return body
