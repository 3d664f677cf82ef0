"""What policies mean, as Calico's documentation of its resources says: meant to be read, and slow.

It shares nothing with the compiler: selectors are functions here, addresses are compared one by one, and every rule is
gone through in its order. https://docs.tigera.io/calico/latest/reference/resources/
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from linkspan.model.policy import Entity, Policy, Rule, Tier

Labels = Mapping[str, str]
NUMBERS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
# The selectors that generated policies use, each with what it means.
SELECTORS: dict[str, Callable[[Labels], bool]] = {
    "": lambda labels: True,
    "all()": lambda labels: True,
    'app == "web"': lambda labels: labels.get("app") == "web",
    'app != "web"': lambda labels: labels.get("app") != "web",
    'app in {"web", "db"}': lambda labels: labels.get("app") in ("web", "db"),
    "has(role)": lambda labels: "role" in labels,
    "!has(role)": lambda labels: "role" not in labels,
    'role == "client" && app != "db"': lambda labels: labels.get("role") == "client" and labels.get("app") != "db",
    'app == "db" || role == "client"': lambda labels: labels.get("app") == "db" or labels.get("role") == "client",
    'app starts with "w"': lambda labels: labels.get("app", "").startswith("w"),
}
# And those over networks: `global()` means what is on none.
NETWORK_SELECTORS: dict[str, Callable[[Labels | None], bool]] = {
    "all()": lambda labels: labels is not None,
    "global()": lambda labels: labels is None,
    'zone == "city"': lambda labels: labels is not None and labels.get("zone") == "city",
    "!has(zone)": lambda labels: labels is None or "zone" not in labels,
}


@dataclasses.dataclass(frozen=True)
class Place:
    """An endpoint, or a set of addresses: then it is on no network."""

    labels: Labels
    addresses: tuple[str, ...]  # nets, of a set
    network: str = ""
    network_labels: Labels | None = None


@dataclasses.dataclass(frozen=True)
class Packet:
    """The first packet of a connection."""

    source: str
    destination: str
    protocol: int
    source_port: int = 0
    port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0


def passes(
    place: Place, direction: str, packet: Packet, policies: Iterable[Policy], tiers: Iterable[Tier], world: list[Place]
) -> bool:
    """Whether the policies let the packet into an endpoint (Ingress), or out of it (Egress)."""
    mine = [p for p in policies if direction in p.spec.types and _about(p, place)]
    known = {tier.metadata.name: tier for tier in tiers}
    names = sorted({p.spec.tier for p in mine}, key=lambda name: (_order(known[name].spec.order), name))
    for name in names:
        decided = ""
        for policy in sorted(
            (p for p in mine if p.spec.tier == name),
            key=lambda p: (_order(p.spec.order), p.metadata.name, p.metadata.namespace),
        ):
            for rule in policy.spec.ingress if direction == "Ingress" else policy.spec.egress:
                if rule.action != "Log" and _matches(rule, policy, packet, world):
                    decided = rule.action
                    break
            if decided:
                break
        decided = decided or known[name].spec.default_action  # at the end of a tier
        if decided != "Pass":
            return decided == "Allow"
    return True  # no policy, or none that decides: the endpoint's profile, which allows


def _order(order: float | None) -> tuple[bool, float]:
    return order is None, order or 0.0


def _about(policy: Policy, place: Place) -> bool:
    if policy.metadata.namespace:
        if place.network != policy.metadata.namespace:
            return False
    elif policy.spec.namespace_selector and not NETWORK_SELECTORS[policy.spec.namespace_selector](place.network_labels):
        return False
    return SELECTORS[policy.spec.selector](place.labels)


def _matches(rule: Rule, policy: Policy, packet: Packet, world: list[Place]) -> bool:
    version = 6 if ":" in packet.source else 4
    if rule.ip_version not in (None, version):
        return False
    if rule.protocol is not None and _number(rule.protocol) != packet.protocol:
        return False
    if rule.not_protocol is not None and _number(rule.not_protocol) == packet.protocol:
        return False
    if rule.icmp and rule.icmp.type not in (None, packet.icmp_type):
        return False
    if rule.icmp and rule.icmp.code not in (None, packet.icmp_code):
        return False
    if rule.not_icmp and rule.not_icmp.type == packet.icmp_type and rule.not_icmp.code in (None, packet.icmp_code):
        return False
    return _is(rule.source, policy, packet.source, packet.source_port, world) and _is(
        rule.destination, policy, packet.destination, packet.port, world
    )


def _number(protocol: int | str) -> int:
    return NUMBERS[protocol] if isinstance(protocol, str) else protocol


@functools.cache
def _address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)


@functools.cache
def _net(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def _is(entity: Entity, policy: Policy, address: str, port: int, world: list[Place]) -> bool:
    if entity.nets and not any(_address(address) in _net(net) for net in entity.nets):
        return False
    if any(_address(address) in _net(net) for net in entity.not_nets):
        return False
    if entity.ports and not _among(port, entity.ports):
        return False
    if _among(port, entity.not_ports):
        return False
    there = [place for place in world if _has(place, address)]
    selects = entity.selector or entity.namespace_selector or (entity.not_selector and policy.metadata.namespace)
    if selects and not any(_selected(entity, policy, place) for place in there):
        return False
    return not (entity.not_selector and any(SELECTORS[entity.not_selector](place.labels) for place in there))


def _selected(entity: Entity, policy: Policy, place: Place) -> bool:
    if entity.namespace_selector:
        if not NETWORK_SELECTORS[entity.namespace_selector](place.network_labels):
            return False
    elif policy.metadata.namespace and place.network != policy.metadata.namespace:
        return False
    return SELECTORS[entity.selector](place.labels)


def _has(place: Place, address: str) -> bool:
    return any(_address(address) in _net(own) for own in place.addresses)


def _among(port: int, ports: Iterable[int | str]) -> bool:
    for one in ports:
        first, _, last = str(one).partition(":")
        if int(first) <= port <= int(last or first):
            return True
    return False
