"""What policies make of a sandbox, or of the host: the kernel object that says what it lets in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from linkspan.engine.policy.applied import stages
from linkspan.engine.policy.chains import Piece, Whom, piece_of
from linkspan.engine.policy.host import about, host_endpoints
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.policy import ALLOW_PROFILE, EGRESS, INGRESS
from linkspan.model.selections import Held, Selections, addresses, mark_of
from linkspan.model.snapshot import Snapshot
from linkspan.state.guard import ACCEPT, DROP, HOST, Entry, Guard, GuardSet, Seal, stamp
from linkspan.state.host import HostFacts


def guard_of(snapshot: Snapshot, sandbox: Sandbox) -> Guard | None:
    """None where no policy is about anything in the sandbox: it has no table then, and costs nothing."""
    if not snapshot.selections or not sandbox.path:
        return None
    entries: list[Entry] = []
    pieces: list[Piece] = []
    for endpoint in _endpoints(snapshot, sandbox):
        policies = snapshot.selections.applying(endpoint.id)
        ways = [_piece(snapshot, policies, direction) for direction in (INGRESS, EGRESS)] if policies else []
        if any(ways):
            entries.append((endpoint.interface, *(way.entry if way else "" for way in ways)))  # type: ignore[arg-type]
            pieces += filter(None, ways)
    return _guard(snapshot, sandbox.path, entries, pieces) if entries else None


def _guard(snapshot: Snapshot, namespace: str, entries: list[Entry], pieces: list[Piece]) -> Guard:
    chains = {chain.name: chain for piece in pieces for chain in piece.chains}
    ports = {one.name: one for piece in pieces for one in piece.ports}
    whom = {one.name: one for piece in pieces for one in piece.sets}
    sets = tuple(filled(whom[name], snapshot.selections) for name in sorted(whom))
    led = tuple(sorted(entries))
    return Guard(namespace, stamp(led, sets), led, tuple(chains.values()), sets, tuple(ports.values()))


def seals(guard: Guard) -> Iterator[Seal]:
    """Of the interfaces at which something is said of what goes out."""
    return (Seal(guard.namespace, interface) for interface, _, outgoing in guard.entries if outgoing)


def host_guard(snapshot: Snapshot, host: HostFacts) -> Guard | None:
    """Of this host's own interfaces that somebody has named; None where nobody has."""
    entries: list[Entry] = []
    pieces: list[Piece] = []
    for name, endpoint in sorted(host_endpoints(snapshot, host).items()):
        policies = about(snapshot, endpoint)
        otherwise = ACCEPT if ALLOW_PROFILE in endpoint.spec.profiles else DROP
        ways = [piece_of(stages(snapshot, policies, way), way, otherwise) for way in (INGRESS, EGRESS)]
        entries.append((name, ways[0].entry, ways[1].entry))
        pieces += ways
    return _guard(snapshot, HOST, entries, pieces) if entries else None


def host_concerned(before: Snapshot, after: Snapshot) -> bool:
    """Whether what holds at the host's own interfaces may differ between two moments."""
    if not (before.host_endpoints or after.host_endpoints):
        return False
    return any(
        old is not new
        for old, new in (
            (before.host_endpoints, after.host_endpoints),
            (before.selections, after.selections),
            (before.tiers, after.tiers),
        )
    )


def concerned(before: Snapshot, after: Snapshot) -> set[str]:
    """Ids of the sandboxes whose guards may differ between two moments."""
    old, new = before.selections, after.selections
    if old is new and before.tiers is after.tiers:
        return set()
    subjects = [held.subject for held in _differing(before, after)]
    found = set[str]()
    for snapshot, selections, others in ((before, old, new), (after, new, old)):
        for id_, endpoint in snapshot.endpoints.items():
            member = selections.members.get(id_)
            if member is None or endpoint.sandbox_id in found:
                continue
            if member is not others.members.get(id_) or any(s.matches(member.labels) for s in subjects):
                found.add(endpoint.sandbox_id)
    return found


def _differing(before: Snapshot, after: Snapshot) -> Iterator[Held]:
    """Policies that are others, or mean others, or have their say at another time."""
    old, new = before.selections, after.selections
    if old.policies is not new.policies:
        yield from (held for id_, held in old.policies.items() if new.policies.get(id_) is not held)
        yield from (held for id_, held in new.policies.items() if old.policies.get(id_) is not held)
    users = {id_ for selector in new.changed(old) for id_ in new.used.get(selector, ())}
    yield from (new.policies[id_] for id_ in users)
    if before.tiers is not after.tiers:
        names = {name for name in {*before.tiers, *after.tiers} if before.tiers.get(name) != after.tiers.get(name)}
        yield from (held for held in new.policies.values() if held.policy.spec.tier in names)


def _endpoints(snapshot: Snapshot, sandbox: Sandbox) -> Iterable[Endpoint]:
    found = (snapshot.endpoints[id_] for id_ in snapshot.endpoints_of.get(sandbox.container_id, ()))
    return (endpoint for endpoint in found if endpoint.interface and endpoint.sandbox_id == sandbox.id)


def _piece(snapshot: Snapshot, policies: list[Held], direction: str) -> Piece | None:
    found = stages(snapshot, policies, direction)
    return piece_of(found, direction) if found else None


def filled(whom: Whom, selections: Selections) -> GuardSet:
    bits, nets = 0, whom.nets
    for selector in whom.selectors:
        bits |= selections.selected(selector)
        if selector in selections.nets:
            of_sets = selections.nets_selected(selector)
            nets |= {net for net in of_sets if (":" in net) == (whom.version == 6)}
    spans = bool(nets)
    return GuardSet(whom.name, whom.version, spans, *_KNOWN.elements(whom.version, bits, nets))


Elements = tuple[frozenset[str], int]


class _Known:
    """What sets hold, for as long as it is not too much: many sandboxes have the same, of which one is to be enough."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, frozenset[str]], Elements] = {}
        self._count = 0

    def elements(self, version: int, bits: int, nets: frozenset[str]) -> Elements:
        key = version, bits, nets
        if (found := self._found.get(key)) is None:
            found = _spans(version, bits, nets) if nets else addresses(bits, version)
            if self._count > _MOST:
                self._found, self._count = {}, 0
            self._found[key] = found
            self._count += len(found[0]) + _BESIDES
        return found


_MOST = 1_000_000  # elements that are remembered
_BESIDES = 20  # of them one set without any is as large as
_KNOWN = _Known()


def _spans(version: int, bits: int, nets: frozenset[str]) -> Elements:
    """As ranges that neither overlap nor touch, which is how the kernel wants them."""
    kind = IPv4Address if version == 4 else IPv6Address
    subnets = (ip_network(net, strict=False) for net in nets)
    ranges = [(int(subnet[0]), int(subnet[-1])) for subnet in subnets]
    ranges += ((int(kind(address)),) * 2 for address in addresses(bits, version)[0])
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    texts = frozenset(f"{kind(first)}-{kind(last)}" for first, last in merged)
    return texts, sum(map(mark_of, texts))
