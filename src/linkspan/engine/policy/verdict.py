"""What becomes of a connection, and by which rule: at the end that begins it, and at the end that it goes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from linkspan.engine.policy.applied import stages
from linkspan.engine.policy.lines import WITH_PORTS, End, Line, Ports, lines, title
from linkspan.model.policy import ALLOW, DENY, LOG, PASS
from linkspan.model.selections import Held, Member, addresses_of
from linkspan.model.selector import Selector
from linkspan.model.snapshot import Snapshot

_ICMP = (1, 58)


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """The first one of a connection. A port of 0 is one that nobody knows: no rule about ports is about it."""

    source: str
    destination: str
    protocol: int
    source_port: int = 0
    port: int = 0
    icmp_type: int = 8
    icmp_code: int = 0

    @property
    def version(self) -> int:
        return 6 if ":" in self.destination else 4


@dataclasses.dataclass(frozen=True, slots=True)
class Say:
    """What one end says, and why. `rule` is a rule's name, or what else decides."""

    allowed: bool
    rule: str
    tier: str = ""
    policy: str = ""
    logged: tuple[str, ...] = ()  # rules with the action Log that were met before


def say(snapshot: Snapshot, policies: Iterable[Held], direction: str, packet: Packet) -> Say:
    """What the policies that are about an endpoint say of what comes in there, or goes out."""
    logged: list[str] = []
    found = stages(snapshot, policies, direction)
    if not found:
        return Say(True, f"no policy is about its {direction.lower()}")
    selected = _Selected(snapshot)
    for stage in found:
        decided = ""
        for line in lines(stage, direction):
            if not matches(line, packet, selected):
                continue
            if line.action == LOG:
                logged.append(line.name)
                continue
            if line.action in (ALLOW, DENY):
                return Say(line.action == ALLOW, line.name, stage.tier, line.held.policy.id, tuple(logged))
            decided = PASS
            break
        if not decided and stage.default_action == DENY:
            those = ", ".join(title(held.policy) for held in stage.policies)
            rule = f"the end of tier {stage.tier}: no rule of {those} matches"
            return Say(False, rule, stage.tier, logged=tuple(logged))
    return Say(True, "every tier has passed it on", logged=tuple(logged))


class _Selected:
    """Whether a selector means an address: by whom the endpoints and sets that are there make of it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._members = snapshot.selections.members.values()
        self._addresses: dict[str, list[Member]] = {}

    def means(self, selector: Selector, address: str) -> bool:
        return any(selector.matches(member.labels) for member in self._having(address))

    def _having(self, address: str) -> list[Member]:
        if address not in self._addresses:
            self._addresses[address] = [m for m in self._members if _holds(m, address)]
        return self._addresses[address]


def matches(line: Line, packet: Packet, selected: _Selected) -> bool:
    return (
        line.version in (None, packet.version)
        and line.protocol in (None, packet.protocol)
        and (line.not_protocol is None or line.not_protocol != packet.protocol)
        and _icmp(line, packet)
        and _is_end(line.source, packet.source, packet.source_port, packet, selected)
        and _is_end(line.destination, packet.destination, packet.port, packet, selected)
    )


def _icmp(line: Line, packet: Packet) -> bool:
    wanted, unwanted = line.icmp, line.not_icmp
    if (wanted or unwanted) and packet.protocol not in _ICMP:
        return False
    kind = packet.icmp_type, packet.icmp_code
    if wanted and (wanted.type not in (None, kind[0]) or wanted.code not in (None, kind[1])):
        return False
    return not (unwanted and unwanted.type == kind[0] and unwanted.code in (None, kind[1]))


def _is_end(end: End, address: str, port: int, packet: Packet, selected: _Selected) -> bool:
    return (
        (end.peers is None or selected.means(end.peers, address))
        and (end.besides is None or not selected.means(end.besides, address))
        and (not end.nets or any(_within(address, net) for net in end.nets))
        and not any(_within(address, net) for net in end.not_nets)
        and (not end.ports or (packet.protocol in WITH_PORTS and _among(port, end.ports)))
        and not (packet.protocol in WITH_PORTS and _among(port, end.not_ports))
    )


def _holds(member: Member, address: str) -> bool:
    return address in addresses_of(member.slot) or any(_within(address, net) for net in member.nets)


def _within(address: str, net: str) -> bool:
    return ip_address(address) in ip_network(net, strict=False)


def _among(port: int, ports: Ports) -> bool:
    return any(first <= port <= last for first, last in ports)
