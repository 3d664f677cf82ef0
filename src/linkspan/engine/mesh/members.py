"""Which of the hosts have a member of the store: one, three or five of them.

More members answer as long as most of them do; each costs every write a little. One step is taken at a time, and each
leaves a store that works: a member is new as a learner, which has no vote before it knows everything; what is gone for
good is replaced, not merely removed; and no step makes those that answer a minority.

Who is silent may come back, or be in the other part of a net that is parted: for that the number of votes does not
sink. A user who knows better says so (`mesh forget`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

GONE = 900.0  # seconds of silence, after which another host gets its place
_STUCK = 60.0  # the same for one that has no vote yet


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A host of the mesh. `silent` is for how many seconds it has not been heard of; 0 is that it answers."""

    host_id: str
    joined: str  # RFC 3339
    silent: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Seat:
    """A member of the store. `host_id` is "" where none of the hosts has its address."""

    member_id: str
    host_id: str
    learner: bool = False
    silent: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Add:
    """A learner on this host."""

    host_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Promote:
    seat: Seat


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    seat: Seat


Step = Add | Promote | Remove


def wanted(hosts: int) -> int:
    """How many members so many hosts should have."""
    return 5 if hosts >= 5 else 3 if hosts >= 3 else 1


def next_step(
    candidates: Collection[Candidate], seats: Collection[Seat], leader: str, gone: float = GONE
) -> Step | None:
    """What is to be done next, None where all is well or nothing can be done. `leader` is a host id: the one that is
    to carry it out."""
    hosts = {candidate.host_id: candidate for candidate in candidates}
    voters = sorted((seat for seat in seats if not seat.learner), key=lambda seat: _age(seat, hosts))
    learners = [seat for seat in seats if seat.learner]
    for seat in learners:
        return _with_learner(seat, voters, hosts)
    for seat in voters:
        if seat.host_id not in hosts and _safe([one for one in voters if one is not seat]):
            return Remove(seat)
    seated = {seat.host_id for seat in seats}
    free = [candidate for candidate in candidates if not candidate.silent and candidate.host_id not in seated]
    free.sort(key=lambda candidate: (candidate.joined, candidate.host_id))
    lost = next((seat for seat in voters if seat.silent > gone), None)
    if lost and free and _safe([one for one in voters if one is not lost]):
        return Remove(lost)
    target = max(n for n in (1, 3, 5) if n <= max(1, min(wanted(len(hosts)), len(voters) + len(free))))
    if len(voters) < target and free and _safe(voters):
        return Add(free[0].host_id)
    if len(voters) > target and not any(seat.silent for seat in voters):
        return Remove(next(seat for seat in reversed(voters) if seat.host_id != leader))
    return None


def _with_learner(seat: Seat, voters: Sequence[Seat], hosts: dict[str, Candidate]) -> Step | None:
    if seat.host_id not in hosts or seat.silent > _STUCK:
        return Remove(seat)
    return Promote(seat) if not seat.silent and _safe([*voters, seat]) else None


def _safe(voters: Sequence[Seat]) -> bool:
    """Whether most of them answer."""
    return sum(not seat.silent for seat in voters) > len(voters) // 2


def _age(seat: Seat, hosts: dict[str, Candidate]) -> tuple[str, str]:
    host = hosts.get(seat.host_id)
    return (host.joined if host else "", seat.host_id)
