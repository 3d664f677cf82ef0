"""Whether one may talk to another, asked by name: which of their addresses it is about, and what both ends say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from linkspan.engine.join import sharers
from linkspan.engine.policy.host import host_endpoints, host_say
from linkspan.engine.policy.lines import WITH_PORTS
from linkspan.engine.policy.sides import Side, Sides
from linkspan.engine.policy.verdict import Packet, Say, say
from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.policy import EGRESS, INGRESS
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1}
_ICMPV6 = 58


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """From one address to another of the same IP version, and what the end that begins and the other end say."""

    network: str  # that both are on; "" where there is none
    source: str
    destination: str
    seen_as: str  # the source, as the destination sees it
    egress: Say
    ingress: Say
    egress_at: str = ""  # a host and its interface, where that end is one
    ingress_at: str = ""
    unbound: tuple[str, ...] = ()  # containers that have the means to evade what is said of them

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed


def check(snapshot: Snapshot, facts: HostFacts, source: str, destination: str, protocol: str, port: int) -> list[Path]:
    """Names are those of containers, here or on other hosts; `host:NAME` is a host, `host:NAME/INTERFACE` where it has
    several. Icmp is an echo, of either version.

    Where both are on a network the paths are over it: over each, if they have several in common. Raises NotFound where
    there is no such container or host, or the container is on no network, InvalidArgument.
    """
    if protocol not in PROTOCOLS:
        raise InvalidArgument(f"protocol {protocol!r}: one of {', '.join(PROTOCOLS)}")
    if not 0 <= port < 1 << 16:
        raise InvalidArgument(f"{port} is not a port")
    number = PROTOCOLS[protocol]
    if bool(port) != (number in WITH_PORTS):
        raise InvalidArgument(f"{protocol} {'needs a port' if number in WITH_PORTS else 'has no ports'}")
    checking = _Checking(snapshot, facts, protocol, port)
    sides = checking.sides
    paths = [
        checking.path(one, other, ends)
        for one, other in _pairs(sides.named(source), sides.named(destination))
        for ends in sides.ends(one, other)
    ]
    if not paths:
        raise NotFound(f"{source} and {destination} have no addresses of one IP version")
    return paths


def _pairs(sources: list[Side], destinations: list[Side]) -> list[tuple[Side, Side]]:
    """Over the networks that they have in common; without any, from the first place of one to each of the other."""
    common = [(one, other) for one in sources for other in destinations if one.network == other.network != ""]
    return common or [(one, other) for one in sources[:1] for other in destinations]


class _Checking:
    def __init__(self, snapshot: Snapshot, facts: HostFacts, protocol: str, port: int) -> None:
        self._snapshot, self._protocol, self._port = snapshot, protocol, port
        self._guarding = host_endpoints(snapshot, facts)
        self.sides = Sides(snapshot, facts)

    def path(self, one: Side, other: Side, ends: tuple[str, str]) -> Path:
        source, to = ends
        if other.host and (leads := self.sides.published(other, self._protocol, self._port, to)):
            raise InvalidArgument(f"port {self._port} of host {other.host} is published: ask for {leads}")
        seen = self.sides.seen_as(one, source, other, to)
        egress, egress_at = self._say(one, other, EGRESS, self._packet(source, to), to)
        ingress, ingress_at = self._say(other, one, INGRESS, self._packet(seen, to), seen)
        common = self._snapshot.networks.get(one.network) if one.network == other.network else None
        unbound = tuple(name for side in (one, other) for name in self._unbound(side))
        return Path(common.name if common else "", source, to, seen, egress, ingress, egress_at, ingress_at, unbound)

    def _unbound(self, side: Side) -> Iterator[str]:
        """Of those here, who is in a sandbox that something is said of, and may administrate its network."""
        endpoint = self._snapshot.endpoints.get(side.member)
        if endpoint and self._snapshot.selections.applying(side.member):
            owner = self._snapshot.containers[endpoint.container_id]
            everybody = (owner, *sharers(self._snapshot, owner))
            yield from (one.name for one in everybody if one.host_config.administers_network)

    def _packet(self, source: str, to: str) -> Packet:
        number = PROTOCOLS[self._protocol]
        if self._protocol == "icmp":
            six = ":" in to
            return Packet(source, to, _ICMPV6 if six else number, icmp_type=128 if six else 8)
        return Packet(source, to, number, port=self._port)

    def _say(self, side: Side, other: Side, direction: str, packet: Packet, peer: str) -> tuple[Say, str]:
        """And where: a host's interface."""
        if side.member:
            return say(self._snapshot, self._snapshot.selections.applying(side.member), direction, packet), ""
        if not side.host:
            return Say(True, "neither a container nor a host: policies are about those"), ""
        if self.sides.same_host(side, other):
            return Say(True, "loopback is not judged"), side.host
        if self.sides.is_own(side):
            return self._own(side, other, direction, packet, peer)
        return self._elsewhere(side, other, direction, packet)

    def _own(self, side: Side, other: Side, direction: str, packet: Packet, peer: str) -> tuple[Say, str]:
        interface = self.sides.interface(side, other, peer)
        if not interface and self._guarding:
            raise InvalidArgument(
                f"which interface of host {side.host} leads to {peer} is not known: ask for host:{side.host}/INTERFACE"
            )
        endpoint = self._guarding.get(interface)
        said = host_say(self._snapshot, endpoint, direction, packet) if endpoint else _OPEN
        return said, f"{side.host} {interface}".strip()

    def _elsewhere(self, side: Side, other: Side, direction: str, packet: Packet) -> tuple[Say, str]:
        if self.sides.at_home(side, other) and not side.interface:
            return _OPEN, side.host  # at an interface of linkspan's own
        found = self.sides.guarding(side, packet.source if direction == EGRESS else packet.destination)
        said = [(host_say(self._snapshot, endpoint, direction, packet), endpoint) for endpoint in found]
        if not said:
            return _OPEN, f"{side.host} {side.interface}".strip()
        if len({one.allowed for one, _ in said}) > 1:
            names = ", ".join(endpoint.spec.interface_name for _, endpoint in said)
            raise InvalidArgument(f"host {side.host} has several interfaces ({names}): ask for host:{side.host}/NAME")
        first, endpoint = said[0]
        return first, f"{side.host} {side.interface or endpoint.spec.interface_name}".strip()


_OPEN = Say(True, "no HostEndpoint is about the interface")
