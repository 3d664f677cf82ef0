"""Whom the selectors of policies select: an index of the snapshot, empty for as long as there is no policy.

What a selector selects are addresses. Each address, or pair of an IPv4 and an IPv6 address, has a number in this
process, and a selection is a set of numbers as the bits of one integer: unions and differences of thousands take
microseconds, and two moments share what did not change.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

from immutables import Map

from linkspan.model import selector as selectors
from linkspan.model.cluster import Remote
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.policy import Entity, HostEndpoint, NetworkSet, Policy, endpoint_labels
from linkspan.model.selector import (
    NAMESPACE,
    And,
    Contains,
    EndsWith,
    Equal,
    Has,
    In,
    Labels,
    Or,
    Selector,
    StartsWith,
)

K = TypeVar("K", bound=Hashable)
# What is certainly true of the labels of whom a selector selects: a label has the value, or (None) is there.
Anchor: TypeAlias = tuple[str, str | None]


class Records(Protocol):
    """What is read of a snapshot."""

    @property
    def containers(self) -> Mapping[str, Container]: ...
    @property
    def networks(self) -> Mapping[str, Network]: ...
    @property
    def endpoints(self) -> Mapping[str, Endpoint]: ...
    @property
    def remotes(self) -> Mapping[str, Remote]: ...
    @property
    def policies(self) -> Mapping[str, Policy]: ...
    @property
    def network_sets(self) -> Mapping[str, NetworkSet]: ...
    @property
    def host_endpoints(self) -> Mapping[str, HostEndpoint]: ...
    @property
    def endpoints_of(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def endpoints_on(self) -> Mapping[str, Mapping[str, None]]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """What selectors may select: an endpoint here or elsewhere, an interface of a host, or a set of addresses."""

    labels: Labels
    slot: int = -1  # the number of its addresses
    nets: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A policy as it is at the moment, itself and no other: what follows from it is remembered under it."""

    policy: Policy
    subject: Selector

    def selectors(self) -> Iterator[Selector]:
        """Those of its rules."""
        for rule in (*self.policy.spec.ingress, *self.policy.spec.egress):
            for entity in (rule.source, rule.destination):
                yield from selectors_of(self.policy, entity)


def selectors_of(policy: Policy, entity: Entity) -> Iterator[Selector]:
    if peers := policy.peers(entity):
        yield peers
    if entity.not_selector:
        yield selectors.parse(entity.not_selector)


@dataclasses.dataclass(frozen=True, slots=True)
class Finder(Generic[K]):
    """Selectors, each under a key, and which of them may be true of labels, without asking all of them."""

    anchored: Map[Anchor, Map[K, Selector]] = dataclasses.field(default_factory=Map)
    loose: Map[K, Selector] = dataclasses.field(default_factory=Map)

    def with_(self, key: K, selector: Selector) -> Finder[K]:
        anchors = anchors_of(selector)
        if anchors is None:
            return dataclasses.replace(self, loose=self.loose.set(key, selector))
        anchored = self.anchored
        for anchor in anchors:
            anchored = anchored.set(anchor, anchored.get(anchor, Map()).set(key, selector))
        return dataclasses.replace(self, anchored=anchored)

    def without(self, key: K, selector: Selector) -> Finder[K]:
        anchors = anchors_of(selector)
        if anchors is None:
            return dataclasses.replace(self, loose=self.loose.delete(key))
        anchored = self.anchored
        for anchor in anchors:
            left = anchored[anchor].delete(key)
            anchored = anchored.set(anchor, left) if left else anchored.delete(anchor)
        return dataclasses.replace(self, anchored=anchored)

    def matching(self, labels: Labels) -> set[K]:
        found = {key for key, selector in self.loose.items() if selector.matches(labels)}
        for label, value in labels.items():
            for anchor in ((label, value), (label, None)):
                if (under := self.anchored.get(anchor)) is not None:
                    found.update(key for key, selector in under.items() if selector.matches(labels))
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Selections:
    policies: Map[str, Held] = dataclasses.field(default_factory=Map)
    members: Map[str, Member] = dataclasses.field(default_factory=Map)
    # label → value → ids of members
    having: Map[str, Map[str, Map[str, None]]] = dataclasses.field(default_factory=Map)
    # → ids of members. Of several there is more than one only for moments, or where networks overlap.
    at: Map[int, tuple[str, ...]] = dataclasses.field(default_factory=Map)
    subjects: Finder[str] = dataclasses.field(default_factory=Finder)  # by policy
    used: Map[Selector, Map[str, None]] = dataclasses.field(default_factory=Map)  # → ids of policies whose rules do
    peers: Finder[Selector] = dataclasses.field(default_factory=Finder)
    bits: Map[Selector, int] = dataclasses.field(default_factory=Map)  # the slots that each selects
    nets: Map[Selector, Map[str, None]] = dataclasses.field(default_factory=Map)  # ids of members with nets

    def __bool__(self) -> bool:
        return bool(self.policies)

    def applying(self, id_: str) -> list[Held]:
        """The policies that are about a member, in no order."""
        member = self.members.get(id_)
        return [self.policies[one] for one in self.subjects.matching(member.labels)] if member else []

    def selected(self, selector: Selector) -> int:
        return self.bits.get(selector, 0)

    def nets_selected(self, selector: Selector) -> Iterator[str]:
        for id_ in self.nets.get(selector, ()):
            yield from self.members[id_].nets

    def changed(self, before: Selections) -> set[Selector]:
        """The selectors that do not select what they did at another moment."""
        found: set[Selector] = set()
        if self.bits is not before.bits:
            found.update(s for s, bits in self.bits.items() if before.bits.get(s, 0) != bits)
            found.update(s for s in before.bits if s not in self.bits)
        if self.nets is not before.nets or self.members is not before.members:
            for selector in {*self.nets, *before.nets}:
                if set(self.nets_selected(selector)) != set(before.nets_selected(selector)):
                    found.add(selector)
        return found

    # -- the next moment --------------------------------------------------------------------------------------------

    def after(self, records: Records, kind: str, id_: str) -> Selections:
        """When the record of that kind and id was put or dropped; `records` are those of then."""
        if kind == "policy":
            return self._with_policy(records, id_, records.policies.get(id_))
        if not self.policies:
            return self
        match kind:
            case "endpoint" | "remote" | "networkset" | "hostendpoint":
                return self._renewed(records, kind, (id_,))
            case "container":
                return self._renewed(records, "endpoint", records.endpoints_of.get(id_, ()))
            case "network":
                remotes = (one for one, remote in records.remotes.items() if remote.network_id == id_)
                found = self._renewed(records, "endpoint", records.endpoints_on.get(id_, ()))
                return found._renewed(records, "remote", remotes)
        return self

    def _with_policy(self, records: Records, id_: str, policy: Policy | None) -> Selections:
        old = self.policies.get(id_)
        if old is None and policy is None:
            return self
        if policy is None and len(self.policies) == 1:
            return Selections()
        found = self if self.policies else self._of_all(records)
        if old:
            found = found._forgetting(old)
        if policy is None:
            return dataclasses.replace(found, policies=found.policies.delete(id_))
        held = Held(policy, policy.subject)
        found = found._minding(held)
        return dataclasses.replace(found, policies=found.policies.set(id_, held))

    def _of_all(self, records: Records) -> Selections:
        found = self._renewed(records, "endpoint", records.endpoints)
        found = found._renewed(records, "remote", records.remotes)
        found = found._renewed(records, "networkset", records.network_sets)
        return found._renewed(records, "hostendpoint", records.host_endpoints)

    def _minding(self, held: Held) -> Selections:
        used, peers, bits, nets = self.used, self.peers, self.bits, self.nets
        for selector in held.selectors():
            users = used.get(selector, Map())
            used = used.set(selector, users.set(held.policy.id, None))
            if not users:
                peers = peers.with_(selector, selector)
                number, with_nets = self._search(selector)
                bits = bits.set(selector, number) if number else bits
                nets = nets.set(selector, with_nets) if with_nets else nets
        subjects = self.subjects.with_(held.policy.id, held.subject)
        return dataclasses.replace(self, used=used, peers=peers, bits=bits, nets=nets, subjects=subjects)

    def _forgetting(self, held: Held) -> Selections:
        used, peers, bits, nets = self.used, self.peers, self.bits, self.nets
        for selector in set(held.selectors()):
            left = used[selector].delete(held.policy.id)
            used = used.set(selector, left) if left else used.delete(selector)
            if not left:
                peers = peers.without(selector, selector)
                bits = bits.delete(selector) if selector in bits else bits
                nets = nets.delete(selector) if selector in nets else nets
        subjects = self.subjects.without(held.policy.id, held.subject)
        return dataclasses.replace(self, used=used, peers=peers, bits=bits, nets=nets, subjects=subjects)

    def _search(self, selector: Selector) -> tuple[int, Map[str, None]]:
        slots, nets = set[int](), Map[str, None]()
        for id_ in self._candidates(selector):
            member = self.members[id_]
            if selector.matches(member.labels):
                if member.slot >= 0:
                    slots.add(member.slot)
                if member.nets:
                    nets = nets.set(id_, None)
        return bits_of(slots), nets

    def _candidates(self, selector: Selector) -> Iterable[str]:
        anchors = anchors_of(selector)
        if anchors is None:
            return self.members
        found = set[str]()
        for label, value in anchors:
            values = self.having.get(label, Map())
            for ids in values.values() if value is None else (values.get(value, Map()),):
                found.update(ids)
        return found

    def _renewed(self, records: Records, kind: str, ids: Iterable[str]) -> Selections:
        """With these members as they are now."""
        members, having, at = self.members, self.having, self.at
        bits, nets = dict[Selector, int](), self.nets
        for record_id in ids:
            id_ = record_id if kind in ("endpoint", "remote") else f"{kind}/{record_id}"
            old, new = members.get(id_), _member(records, kind, record_id)
            if old == new:
                continue
            was, is_ = (self.peers.matching(one.labels) if one else set() for one in (old, new))
            if old:
                members, having = members.delete(id_), _labelled(having, id_, old.labels, there=False)
                left = tuple(one for one in at.get(old.slot, ()) if one != id_)
                at = at.set(old.slot, left) if left else at.delete(old.slot) if old.slot in at else at
                for selector in was:
                    if old.slot >= 0 and not any(selector.matches(members[one].labels) for one in left):
                        bits[selector] = bits.get(selector, self.bits.get(selector, 0)) & ~(1 << old.slot)
                    if old.nets:
                        nets = _without(nets, selector, id_)
            if new:
                members, having = members.set(id_, new), _labelled(having, id_, new.labels, there=True)
                if new.slot >= 0:
                    at = at.set(new.slot, (*at.get(new.slot, ()), id_))
                for selector in is_:
                    if new.slot >= 0:
                        bits[selector] = bits.get(selector, self.bits.get(selector, 0)) | 1 << new.slot
                    if new.nets:
                        nets = nets.set(selector, nets.get(selector, Map()).set(id_, None))
        renewed = self.bits
        for selector, number in bits.items():
            renewed = renewed.set(selector, number) if number else renewed.delete(selector)
        return dataclasses.replace(self, members=members, having=having, at=at, bits=renewed, nets=nets)


def _member(records: Records, kind: str, id_: str) -> Member | None:
    match kind:
        case "endpoint":
            endpoint = records.endpoints.get(id_)
            container = records.containers.get(endpoint.container_id) if endpoint else None
            network = records.networks.get(endpoint.network_id) if endpoint else None
            if endpoint and container and network:
                labels = endpoint_labels(network, container.name, container.config.labels)
                return Member(labels, slot_of(endpoint.address, endpoint.address6))
        case "remote":
            remote = records.remotes.get(id_)
            network = records.networks.get(remote.network_id) if remote else None
            if remote and network:
                labels = endpoint_labels(network, remote.name, remote.labels)
                return Member(labels, slot_of(remote.address, remote.address6))
        case "networkset":
            if set_ := records.network_sets.get(id_):
                return Member(set_.metadata.labels, nets=set_.spec.nets)
        case "hostendpoint":
            if host := records.host_endpoints.get(id_):
                return Member(host.metadata.labels, nets=host.spec.expected_ips)
    return None


def _labelled(
    having: Map[str, Map[str, Map[str, None]]], id_: str, labels: Labels, *, there: bool
) -> Map[str, Map[str, Map[str, None]]]:
    for label, value in labels.items():
        values = having.get(label, Map())
        ids = values.get(value, Map())
        ids = ids.set(id_, None) if there else ids.delete(id_)
        values = values.set(value, ids) if ids else values.delete(value)
        having = having.set(label, values) if values else having.delete(label)
    return having


def _without(nets: Map[Selector, Map[str, None]], selector: Selector, id_: str) -> Map[Selector, Map[str, None]]:
    left = nets[selector].delete(id_)
    return nets.set(selector, left) if left else nets.delete(selector)


def anchors_of(selector: Selector) -> tuple[Anchor, ...] | None:
    """One of them holds for whom the selector selects; None where there is nothing of the kind."""
    match selector:
        case Equal(label=label, value=value):
            return ((label, value),)
        case In(label=label, values=values):
            return tuple((label, value) for value in sorted(values))
        case Has(label=label) | Contains(label=label) | StartsWith(label=label) | EndsWith(label=label):
            return ((label, None),)
        case And(parts=parts):
            found = [anchors for part in parts if (anchors := anchors_of(part)) is not None]
            return min(found, key=_width, default=None)
        case Or(parts=parts):
            every = [anchors_of(part) for part in parts]
            known = [anchors for anchors in every if anchors is not None]
            return tuple(dict.fromkeys(a for anchors in known for a in anchors)) if len(known) == len(every) else None
    return None


def _width(anchors: tuple[Anchor, ...]) -> tuple[int, int]:
    """The fewer have them, as far as one can guess, the less: a network has many endpoints."""
    return (max((value is None) + (label == NAMESPACE) for label, value in anchors) if anchors else 0, len(anchors))


# -- addresses by number ---------------------------------------------------------------------------------------------

_SLOTS: dict[tuple[str, str], int] = {}
_ADDRESSES: tuple[list[str], list[str]] = ([], [])  # IPv4, IPv6; by slot
_MARKS: tuple[list[int], list[int]] = ([], [])


def slot_of(address: str, address6: str) -> int:
    """The number of these addresses, of which one may be ""; -1 where both are."""
    if not (address or address6):
        return -1
    slot = _SLOTS.setdefault((address, address6), len(_SLOTS))
    if slot == len(_ADDRESSES[0]):
        for number, one in enumerate((address, address6)):
            _ADDRESSES[number].append(one)
            _MARKS[number].append(mark_of(one) if one else 0)
    return slot


def addresses_of(slot: int) -> tuple[str, ...]:
    return tuple(of_version[slot] for of_version in _ADDRESSES if of_version[slot]) if slot >= 0 else ()


def mark_of(address: str) -> int:
    """A number that follows from the text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest())


def bits_of(slots: Iterable[int]) -> int:
    slots = list(slots)
    if len(slots) < 64:
        number = 0
        for slot in slots:
            number |= 1 << slot
        return number
    marks = bytearray((max(slots) >> 3) + 1)
    for slot in slots:
        marks[slot >> 3] |= 1 << (slot & 7)
    return int.from_bytes(marks, "little")


def addresses(bits: int, version: int) -> tuple[frozenset[str], int]:
    """The addresses of that IP version, and a mark that follows from them."""
    digits = bin(bits)[:1:-1]
    known, marks = _ADDRESSES[version == 6], _MARKS[version == 6]
    slots, at = list[int](), digits.find("1")
    while at >= 0:
        slots.append(at)
        at = digits.find("1", at + 1)
    found = frozenset([known[slot] for slot in slots]) - {""}
    # Of two slots with the same address the mark is that of both: it tells differences, and need not tell sameness.
    return found, sum([marks[slot] for slot in slots])
