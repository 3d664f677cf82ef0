"""Who may talk to whom: policies in tiers, sets of addresses, the hosts' own interfaces, as Calico's v3 API has them.

Everything is selected by labels. An endpoint has its container's, and what it is by itself (`endpoint_labels`); its
network's labels it has with a prefix, so that one selector over one mapping says what a rule's several fields say
together (`Policy.subject`, `peers`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping

import msgspec

from linkspan.model import selector as selectors
from linkspan.model.network import Network
from linkspan.model.resource import Metadata, Part, Resource
from linkspan.model.selector import NAMESPACE, All, And, Equal, Global, Has, Not, Or, Selector

# A packet's fate: these two end it, Log goes on to the next rule, Pass to the next tier.
ALLOW, DENY, LOG, PASS = "Allow", "Deny", "Log", "Pass"
ACTIONS = (ALLOW, DENY, LOG, PASS)
INGRESS, EGRESS = "Ingress", "Egress"
PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
PORTS_OF = ("TCP", "UDP", "SCTP", "UDPLite")  # the protocols that have ports
DEFAULT_TIER = "default"
# (protocol, destination port) that pass at hosts' own interfaces whatever policies say: ssh, DHCP, DNS, and what hosts
# are run by (BGP, etcd, Kubernetes' own). Calico keeps the same open.
_SERVICES = ((6, 179), (6, 2379), (6, 2380), (6, 5473), (6, 6443), (6, 6666), (6, 6667))
FAILSAFE = {
    INGRESS: frozenset({(6, 22), (17, 68), *_SERVICES}),
    EGRESS: frozenset({(17, 53), (17, 67), *_SERVICES}),
}
ALLOW_PROFILE = "projectcalico-default-allow"  # of a host's interface: what no policy is about passes
# Labels that are there by themselves, and the prefix of a network's.
NAME = "projectcalico.org/name"
NETWORKS = "pcns."
LONGEST_VALUE = 255  # characters of a container's label; longer ones are no labels to policies


class Icmp(Part, frozen=True, kw_only=True):
    type: int | None = None
    code: int | None = None


class Entity(Part, frozen=True, kw_only=True):
    """What a rule says of one end of a connection: all of it must hold."""

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    ports: tuple[int | str, ...] = ()  # 80, or "8080:8090"
    not_ports: tuple[int | str, ...] = ()


class RuleMetadata(Part, frozen=True, kw_only=True):
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class Rule(Part, frozen=True, kw_only=True):
    action: str
    ip_version: int | None = None
    protocol: int | str | None = None  # a name out of PROTOCOLS, or the number of one that has none
    not_protocol: int | str | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = msgspec.field(default=None, name="notICMP")
    source: Entity = Entity()
    destination: Entity = Entity()
    metadata: RuleMetadata | None = None


class PolicySpec(Part, frozen=True, kw_only=True):
    tier: str = DEFAULT_TIER
    order: float | None = None  # None is last
    selector: str = ""
    namespace_selector: str = ""  # of a GlobalNetworkPolicy
    types: tuple[str, ...] = ()  # never empty once it is a record
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


class Policy(Resource, frozen=True, kw_only=True):
    """A GlobalNetworkPolicy; or a NetworkPolicy, whose namespace is the name of a network."""

    spec: PolicySpec = PolicySpec()

    @property
    def subject(self) -> Selector:
        """Whose traffic it is about: of endpoints, and of the hosts' own interfaces where it is global."""
        return _subject(self.spec.selector, self.spec.namespace_selector, self.metadata.namespace)

    @property
    def place(self) -> tuple[float, str, str]:
        """What policies of a tier are sorted by."""
        order = math.inf if self.spec.order is None else self.spec.order
        return (order, self.name, self.metadata.namespace)

    def peers(self, entity: Entity) -> Selector | None:
        """Which endpoints and sets a rule's end is, None where it may be any address. `not_selector` comes besides."""
        return _peers(entity.namespace_selector, entity.selector, bool(entity.not_selector), self.metadata.namespace)

    @property
    def logs(self) -> bool:
        return any(rule.action == LOG for rule in (*self.spec.ingress, *self.spec.egress))

    @property
    def far_reaching(self) -> bool:
        """Whether its rules may select endpoints on other networks than those that it is about."""
        entities = (e for rule in (*self.spec.ingress, *self.spec.egress) for e in (rule.source, rule.destination))
        return any(self._reaches_far(entity) for entity in entities)

    def _reaches_far(self, entity: Entity) -> bool:
        peers = self.peers(entity)
        if peers is None:
            return bool(entity.not_selector)
        own = Equal(NAMESPACE, self.metadata.namespace)
        return not self.metadata.namespace or own not in (peers.parts if isinstance(peers, And) else (peers,))


class TierSpec(Part, frozen=True, kw_only=True):
    order: float | None = None
    default_action: str = DENY  # or Pass: of what a policy of the tier is about, and no rule matched


class Tier(Resource, frozen=True, kw_only=True):
    spec: TierSpec = TierSpec()

    @property
    def place(self) -> tuple[float, str]:
        return (math.inf if self.spec.order is None else self.spec.order, self.name)


# There without anybody having made it.
THE_DEFAULT_TIER = Tier(metadata=Metadata(name=DEFAULT_TIER), spec=TierSpec(order=1_000_000.0))


class NetworkSetSpec(Part, frozen=True, kw_only=True):
    nets: tuple[str, ...] = ()


class NetworkSet(Resource, frozen=True, kw_only=True):
    """A GlobalNetworkSet: addresses that selectors find by its labels."""

    spec: NetworkSetSpec = NetworkSetSpec()


class HostEndpointSpec(Part, frozen=True, kw_only=True):
    node: str = ""  # the host's name
    interface_name: str = ""  # * is all of them; "" is the one that has one of the addresses
    expected_ips: tuple[str, ...] = msgspec.field(default=(), name="expectedIPs")
    profiles: tuple[str, ...] = ()  # none, or ALLOW_PROFILE


class HostEndpoint(Resource, frozen=True, kw_only=True):
    """An interface of a host: policies for it are about what the host itself sends and receives there."""

    spec: HostEndpointSpec = HostEndpointSpec()


def endpoint_labels(network: Network, name: str, labels: Mapping[str, str] | None) -> dict[str, str]:
    """Of an endpoint of the container with this name and these labels. What an endpoint is, no label can gainsay."""
    return {
        **usable_labels(labels),
        **{f"{NETWORKS}{key}": value for key, value in network.labels.items()},
        NAMESPACE: network.name,
        NAME: name,
        f"{NETWORKS}{NAME}": network.name,
    }


def usable_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Those of a container's labels that selectors see."""
    return {
        key: value
        for key, value in (labels or {}).items()
        if len(value) <= LONGEST_VALUE and selectors.LABEL.fullmatch(key)
    }


def protocol_number(protocol: int | str) -> int:
    return PROTOCOLS[protocol] if isinstance(protocol, str) else protocol


def port_ranges(ports: Iterable[int | str]) -> list[tuple[int, int]]:
    """Both ends included."""
    found = []
    for port in ports:
        first, _, last = str(port).partition(":")
        found.append((int(first), int(last or first)))
    return found


@functools.lru_cache(maxsize=16384)
def _subject(selector: str, namespace_selector: str, namespace: str) -> Selector:
    parts: list[Selector] = []
    if namespace:
        parts.append(Equal(NAMESPACE, namespace))
    if namespace_selector:
        parts.append(_of_networks(selectors.parse(namespace_selector)))
    if selector or not parts:
        parts.append(selectors.parse(selector))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


@functools.lru_cache(maxsize=65536)
def _peers(namespace_selector: str, selector: str, excepts: bool, namespace: str) -> Selector | None:
    """A policy of a network's means that network's endpoints, as soon as a rule selects any, and none by network."""
    parts: list[Selector] = []
    if namespace_selector:
        parts.append(_of_networks(selectors.parse(namespace_selector)))
    elif namespace and (selector or excepts):
        parts.append(Equal(NAMESPACE, namespace))
    if selector:
        parts.append(selectors.parse(selector))
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


def _of_networks(selector: Selector) -> Selector:
    """A selector of networks, as one of the endpoints on them."""
    match selector:
        case All():
            return Has(NAMESPACE)
        case Global():
            return selector
        case Not(of=one):
            return Not(_of_networks(one))
        case And(parts=parts):
            return And(tuple(map(_of_networks, parts)))
        case Or(parts=parts):
            return Or(tuple(map(_of_networks, parts)))
    return dataclasses.replace(selector, label=NETWORKS + selector.label)
