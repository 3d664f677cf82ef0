"""The policies of a tier as chains of nftables.

Rule by rule a thousand of them would be a thousand comparisons for every new connection. But where rules that follow
each other say the same (all of them Allow, or Deny), their order does not matter: those that differ in whom they mean
become one set, and those that differ in the port one map from ports to chains.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from linkspan.engine.policy.applied import Stage
from linkspan.engine.policy.lines import End, Line, Ports, lines, title
from linkspan.model.policy import ALLOW, DENY, INGRESS, LOG, PASS
from linkspan.model.selector import Selector
from linkspan.state.guard import (
    ACCEPT,
    DESTINATION4,
    DESTINATION6,
    DESTINATION_PORT,
    DROP,
    FAMILY,
    ICMP_CODE,
    ICMP_TYPE,
    PROTOCOL,
    RETURN,
    SOURCE4,
    SOURCE6,
    SOURCE_PORT,
    Among,
    GuardChain,
    GuardPorts,
    GuardRule,
    Is,
    Match,
)

_VERDICTS = {ALLOW: ACCEPT, DENY: DROP, PASS: RETURN}
_SOURCE, _DESTINATION = {4: SOURCE4, 6: SOURCE6}, {4: DESTINATION4, 6: DESTINATION6}
_NOBODY: frozenset[Any] = frozenset()
_FEW = 4  # rules alike that are not worth a set of their own
_LOG_PREFIX = 120  # characters, of which the kernel takes 127


@dataclasses.dataclass(frozen=True, slots=True)
class Whom:
    """Addresses of one IP version: all that the selectors select, and all of the nets. The name says which."""

    name: str
    version: int = dataclasses.field(compare=False)
    selectors: frozenset[Selector] = dataclasses.field(compare=False)
    nets: frozenset[str] = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=1 << 16)
def _whom(version: int, selectors: frozenset[Selector], nets: frozenset[str]) -> Whom:
    parts = [*sorted(map(str, selectors)), "", *sorted(nets)]
    return Whom(f"ip{'' if version == 4 else '6'}-{_digest(parts)}", version, selectors, nets)


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Chains, the last of which is the one to jump to, and what they refer to."""

    chains: tuple[GuardChain, ...]
    sets: frozenset[Whom]
    ports: tuple[GuardPorts, ...]

    @property
    def entry(self) -> str:
        return self.chains[-1].name


@functools.lru_cache(maxsize=1 << 12)
def piece_of(found: tuple[Stage, ...], direction: str, otherwise: str = ACCEPT) -> Piece:
    """The chain of an endpoint in one direction: each tier has its say until one decides. What none decides passes, or
    what `otherwise` says."""
    tiers = [_tier(stage, direction) for stage in found]
    rules = (*(GuardRule(jump=tier.entry) for tier in tiers), GuardRule(verdict=otherwise))
    return _joined(tiers, GuardChain(_name("end", rules), rules))


@functools.lru_cache(maxsize=1 << 12)
def _tier(stage: Stage, direction: str) -> Piece:
    made = _Made()
    rules: list[GuardRule] = []
    for action, run in itertools.groupby(lines(stage, direction), key=lambda line: line.action):
        alike = list(run)
        if action in (ALLOW, DENY) and len(alike) >= _FEW:
            rules += made.merged(alike, direction)
        else:
            rules += (rule for line in alike for rule in made.plain(line))
    if stage.default_action == DENY:
        rules.append(GuardRule(verdict=DROP))
    return made.piece(tuple(rules))


def _joined(pieces: Sequence[Piece], last: GuardChain) -> Piece:
    chains = {chain.name: chain for piece in pieces for chain in piece.chains}
    ports = {one.name: one for piece in pieces for one in piece.ports}
    return Piece((*chains.values(), last), frozenset().union(*(p.sets for p in pieces)), tuple(ports.values()))


class _Made:
    """What the rules of a tier need besides."""

    def __init__(self) -> None:
        self._chains: dict[str, GuardChain] = {}
        self._sets: set[Whom] = set()
        self._ports: dict[str, GuardPorts] = {}

    def piece(self, rules: tuple[GuardRule, ...]) -> Piece:
        chains = (*self._chains.values(), GuardChain(_name("tier", rules), rules))
        return Piece(chains, frozenset(self._sets), tuple(self._ports.values()))

    def _among(self, field: str, whom: Whom, *, negated: bool = False) -> Among:
        self._sets.add(whom)
        return Among(field, whom.name, negated)

    # -- one by one

    def plain(self, line: Line) -> Iterator[GuardRule]:
        """The same whatever stands around it."""
        log = _prefix(line) if line.action == LOG else ""
        for version in (4, 6):
            ends = self._ends(line, version)
            if ends is None or line.version not in (None, version):
                continue
            if not ends and line.version:
                ends = [Is(FAMILY, version, version)]
            for matches in _of_protocol(line):
                yield GuardRule((*matches, *ends), _VERDICTS.get(line.action, ""), log=log)
            if not ends:
                return  # it holds for both

    def _ends(self, line: Line, version: int) -> list[Match] | None:
        """What is asked of the addresses; None where no address of that version answers to it."""
        found: list[Match] = []
        for end, fields in ((line.source, _SOURCE), (line.destination, _DESTINATION)):
            nets, not_nets = (_of_version(some, version) for some in (end.nets, end.not_nets))
            if end.nets and not nets:
                return None
            field = fields[version]
            if end.peers:
                found.append(self._among(field, _whom(version, frozenset({end.peers}), _NOBODY)))
            if nets:
                found.append(self._among(field, _whom(version, _NOBODY, nets)))
            if end.besides:
                found.append(self._among(field, _whom(version, frozenset({end.besides}), _NOBODY), negated=True))
            if not_nets:
                found.append(self._among(field, _whom(version, _NOBODY, not_nets), negated=True))
        return found

    # -- many alike

    def merged(self, alike: list[Line], direction: str) -> Iterator[GuardRule]:
        """All of one action, which ends a packet's way: in any order."""
        verdict = _VERDICTS[alike[0].action]
        whole: dict[int | None, list[Peer]] = {}
        ported: dict[int | None, list[tuple[Peer, Ports]]] = {}
        others: list[Line] = []
        for line in alike:
            simple = _simple(line, direction)
            if simple is None:
                others.append(line)
            elif simple[1]:
                ported.setdefault(line.protocol, []).append(simple)
            else:
                whole.setdefault(line.protocol, []).append(simple[0])
        for protocol, peers in whole.items():
            yield from self._to(frozenset(peers), _protocol(protocol), verdict, direction)
        for protocol, some in ported.items():
            yield from self._by_port(some, _protocol(protocol), verdict, direction)
        for line in others:
            yield from self.plain(line)

    def _to(
        self, peers: frozenset[Peer], matches: tuple[Match, ...], verdict: str, direction: str
    ) -> Iterator[GuardRule]:
        """Whoever of them is at the other end: one set for each IP version is all of them."""
        if ANYBODY in peers:
            yield GuardRule(matches, verdict)
            return
        selectors = frozenset(selector for selector, _ in peers if selector)
        nets = [net for _, some in peers for net in some]
        fields = _SOURCE if direction == INGRESS else _DESTINATION
        for version in (4, 6):
            own = _of_version(nets, version)
            if selectors or own:
                yield GuardRule((*matches, self._among(fields[version], _whom(version, selectors, own))), verdict)

    def _by_port(
        self, some: list[tuple[Peer, Ports]], matches: tuple[Match, ...], verdict: str, direction: str
    ) -> Iterator[GuardRule]:
        spans = _spans(some)
        if len(spans) < _FEW:
            for first, last, peers in spans:
                yield from self._to(peers, (*matches, Is(DESTINATION_PORT, first, last)), verdict, direction)
            return
        elements = []
        names: dict[frozenset[Peer], str] = {}
        for first, last, peers in spans:
            if peers not in names:
                rules = tuple(self._to(peers, (), verdict, direction))
                chain = GuardChain(_name("port", rules), rules)
                names[peers] = chain.name
                self._chains[chain.name] = chain
            elements.append((first, last, names[peers]))
        ports = GuardPorts(f"ports-{_digest(map(str, elements))}", frozenset(elements))
        self._ports[ports.name] = ports
        yield GuardRule(matches, ports=ports.name)


# Who is at the other end: whom a selector selects, or some nets; neither is anybody.
Peer = tuple[Selector | None, tuple[str, ...]]
ANYBODY: Peer = (None, ())


@functools.lru_cache(maxsize=1 << 17)
def _simple(line: Line, direction: str) -> tuple[Peer, Ports] | None:
    """Where it says nothing but who is at the other end, by selector or by net, and a protocol and its ports."""
    here, there = (line.destination, line.source) if direction == INGRESS else (line.source, line.destination)
    peer: Peer = there.peers, there.nets
    ports = line.destination.ports
    none: Ports = ()
    own = End(ports=ports if direction == INGRESS else none)
    shown = End(peers=there.peers, nets=there.nets, ports=none if direction == INGRESS else ports)
    rest = all(asked is None for asked in (line.version, line.not_protocol, line.icmp, line.not_icmp))
    return (peer, ports) if rest and here == own and there == shown and not (there.peers and there.nets) else None


def _protocol(protocol: int | None) -> tuple[Match, ...]:
    return () if protocol is None else (Is(PROTOCOL, protocol, protocol),)


def _spans(some: list[tuple[Peer, Ports]]) -> list[tuple[int, int, frozenset[Peer]]]:
    """Ranges of ports that do not overlap, each with everybody who may come there."""
    starts: dict[int, list[Peer]] = {}
    ends: dict[int, list[Peer]] = {}
    for peer, ports in some:
        for first, last in ports:
            starts.setdefault(first, []).append(peer)
            ends.setdefault(last + 1, []).append(peer)
    found: list[tuple[int, int, frozenset[Peer]]] = []
    now: dict[Peer, int] = {}  # how often each covers the port
    for mark, behind in itertools.pairwise(sorted({*starts, *ends})):
        for peer in ends.get(mark, ()):
            now[peer] -= 1
            if not now[peer]:
                del now[peer]
        for peer in starts.get(mark, ()):
            now[peer] = now.get(peer, 0) + 1
        if not now:
            continue
        peers = frozenset(now)
        if found and found[-1][1] == mark - 1 and found[-1][2] == peers:
            found[-1] = (found[-1][0], behind - 1, peers)
        else:
            found.append((mark, behind - 1, peers))
    return found


def _of_protocol(line: Line) -> Iterator[tuple[Match, ...]]:
    """The alternatives of what it asks of the protocol, its ports, and ICMP's types."""
    always: list[Match] = []
    if line.protocol is not None:
        always.append(Is(PROTOCOL, line.protocol, line.protocol))
    if line.not_protocol is not None:
        always.append(Is(PROTOCOL, line.not_protocol, line.not_protocol, negated=True))
    if line.icmp:
        always += _icmp(line.icmp.type, line.icmp.code)
    for field, end in ((SOURCE_PORT, line.source), (DESTINATION_PORT, line.destination)):
        always += (Is(field, first, last, negated=True) for first, last in end.not_ports)
    others: list[tuple[Match, ...]] = [()]
    if line.not_icmp and line.not_icmp.type is not None:
        type_, code = line.not_icmp.type, line.not_icmp.code
        others = [(Is(ICMP_TYPE, type_, type_, negated=True),)]
        if code is not None:
            others.append((Is(ICMP_TYPE, type_, type_), Is(ICMP_CODE, code, code, negated=True)))
    for source in _ranges(SOURCE_PORT, line.source.ports):
        for destination in _ranges(DESTINATION_PORT, line.destination.ports):
            yield from ((*always, *source, *destination, *other) for other in others)


def _prefix(line: Line) -> str:
    return f"linkspan {line.direction.lower()} {title(line.held.policy)}"[:_LOG_PREFIX] + " "


def _icmp(type_: int | None, code: int | None) -> Iterator[Match]:
    for field, value in ((ICMP_TYPE, type_), (ICMP_CODE, code)):
        if value is not None:
            yield Is(field, value, value)


def _ranges(field: str, ports: Ports) -> Iterator[tuple[Match, ...]]:
    if not ports:
        yield ()
    for first, last in ports:
        yield (Is(field, first, last),)


def _of_version(nets: Iterable[str], version: int) -> frozenset[str]:
    return frozenset(net for net in nets if (":" in net) == (version == 6))


def _name(kind: str, rules: Iterable[GuardRule]) -> str:
    return f"{kind}-{_digest(map(str, rules))}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
