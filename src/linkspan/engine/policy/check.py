"""Whether one may talk to another, asked by name: which of their addresses it is about, and what both ends say."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator

from linkspan.engine.join import sandbox_owner
from linkspan.engine.policy.lines import WITH_PORTS
from linkspan.engine.policy.verdict import Packet, Say, say
from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.policy import EGRESS, INGRESS
from linkspan.model.snapshot import Snapshot

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
_ICMPV6 = 58


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """An endpoint, here or on another host; or an address that is nobody's: then `member` and `network` are ""."""

    name: str
    member: str
    network: str
    addresses: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """From one address to another of the same IP version, and what the end that begins and the other end say."""

    network: str  # that both are on; "" where there is none
    source: str
    destination: str
    egress: Say
    ingress: Say

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed


def check(snapshot: Snapshot, source: str, destination: str, protocol: str, port: int) -> list[Path]:
    """Names are those of containers, here or on other hosts. Icmp is an echo, of either version.

    Where both are on a network the paths are over it: over each, if they have several in common. Raises NotFound where
    there is no such container or it is on no network, InvalidArgument.
    """
    if protocol not in PROTOCOLS:
        raise InvalidArgument(f"protocol {protocol!r}: one of {', '.join(PROTOCOLS)}")
    if not 0 <= port < 1 << 16:
        raise InvalidArgument(f"{port} is not a port")
    number = PROTOCOLS[protocol]
    if bool(port) != (number in WITH_PORTS):
        raise InvalidArgument(f"{protocol} {'needs a port' if number in WITH_PORTS else 'has no ports'}")
    paths = [
        _path(snapshot, one, other, ends, number, port)
        for one, other in _pairs(list(_sides(snapshot, source)), list(_sides(snapshot, destination)))
        for ends in _alike(one, other)
    ]
    if not paths:
        raise NotFound(f"{source} and {destination} have no addresses of one IP version")
    return paths


def _sides(snapshot: Snapshot, named: str) -> Iterator[Side]:
    try:
        address = str(ipaddress.ip_address(named))
    except ValueError:
        yield from _of_container(snapshot, named)
        return
    holders = [
        *((e.id, e.network_id, e.address, e.address6) for e in snapshot.endpoints.values()),
        *((r.id, r.network_id, r.address, r.address6) for r in snapshot.remotes.values()),
    ]
    found = [(id_, network) for id_, network, *addresses in holders if address in addresses]
    if not found:
        yield Side(named, "", "", (address,))
    for id_, network in found:
        yield Side(named, id_, network, (address,))


def _of_container(snapshot: Snapshot, named: str) -> Iterator[Side]:
    name = named.lstrip("/")
    elsewhere = [r for r in snapshot.remotes.values() if name in (r.name, r.container_id)]
    try:
        container = snapshot.container(name)
    except NotFound:
        if not elsewhere:
            raise
        for remote in elsewhere:
            yield Side(name, remote.id, remote.network_id, tuple(filter(None, (remote.address, remote.address6))))
        return
    endpoints = snapshot.endpoints_in(sandbox_owner(snapshot, container))
    if not endpoints:
        raise NotFound(f"container {name} is on no network: it may not be running")
    for endpoint in endpoints:
        yield Side(name, endpoint.id, endpoint.network_id, tuple(filter(None, (endpoint.address, endpoint.address6))))


def _pairs(sources: list[Side], destinations: list[Side]) -> list[tuple[Side, Side]]:
    """Over the networks that they have in common; without any, from the first place of one to each of the other."""
    common = [(one, other) for one in sources for other in destinations if one.network == other.network != ""]
    return common or [(one, other) for one in sources[:1] for other in destinations]


def _alike(one: Side, other: Side) -> Iterator[tuple[str, str]]:
    for source in one.addresses:
        yield from ((source, to) for to in other.addresses if (":" in to) == (":" in source))


def _path(snapshot: Snapshot, one: Side, other: Side, ends: tuple[str, str], protocol: int, port: int) -> Path:
    six = ":" in ends[0]
    if protocol == PROTOCOLS["icmp"]:
        packet = Packet(*ends, _ICMPV6 if six else protocol, icmp_type=128 if six else 8)
    else:
        packet = Packet(*ends, protocol, port=port)
    network = snapshot.networks.get(one.network) if one.network == other.network else None
    return Path(
        network.name if network else "",
        *ends,
        *(_say(snapshot, side, way, packet) for side, way in ((one, EGRESS), (other, INGRESS))),
    )


def _say(snapshot: Snapshot, side: Side, direction: str, packet: Packet) -> Say:
    if not side.member:
        return Say(True, "not a container: policies are about containers")
    return say(snapshot, snapshot.selections.applying(side.member), direction, packet)
