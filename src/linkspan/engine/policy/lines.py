"""A rule of a policy, taken apart into what it says of each end of a connection."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from linkspan.engine.policy.applied import Stage
from linkspan.model import selector as selectors
from linkspan.model.policy import INGRESS, PORTS_OF, Entity, Icmp, Policy, port_ranges, protocol_number
from linkspan.model.selections import Held
from linkspan.model.selector import Selector

Ports = tuple[tuple[int, int], ...]
WITH_PORTS = frozenset(map(protocol_number, PORTS_OF))


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """All of it holds of a packet's source, or its destination."""

    peers: Selector | None = None
    besides: Selector | None = None  # whom this selects it is not
    nets: tuple[str, ...] = ()  # one of them, where there are any
    not_nets: tuple[str, ...] = ()
    ports: Ports = ()
    not_ports: Ports = ()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Line:
    held: Held
    direction: str
    number: int  # in its policy, from 0
    action: str
    source: End
    destination: End
    version: int | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None

    @property
    def name(self) -> str:
        """As users read it: `GlobalNetworkPolicy web, ingress rule 2`."""
        return f"{title(self.held.policy)}, {self.direction.lower()} rule {self.number + 1}"


def title(policy: Policy) -> str:
    return f"{'NetworkPolicy' if policy.metadata.namespace else 'GlobalNetworkPolicy'} {policy.id}"


def lines(stage: Stage, direction: str) -> Iterator[Line]:
    for held in stage.policies:
        yield from _lines(held, direction)


@functools.lru_cache(maxsize=1 << 14)
def _lines(held: Held, direction: str) -> tuple[Line, ...]:
    spec = held.policy.spec
    rules = spec.ingress if direction == INGRESS else spec.egress
    return tuple(
        Line(
            held,
            direction,
            number,
            rule.action,
            _end(held.policy, rule.source),
            _end(held.policy, rule.destination),
            rule.ip_version,
            None if rule.protocol is None else protocol_number(rule.protocol),
            None if rule.not_protocol is None else protocol_number(rule.not_protocol),
            rule.icmp,
            rule.not_icmp,
        )
        for number, rule in enumerate(rules)
    )


def _end(policy: Policy, entity: Entity) -> End:
    return End(
        policy.peers(entity),
        selectors.parse(entity.not_selector) if entity.not_selector else None,
        entity.nets,
        entity.not_nets,
        tuple(port_ranges(entity.ports)),
        tuple(port_ranges(entity.not_ports)),
    )
