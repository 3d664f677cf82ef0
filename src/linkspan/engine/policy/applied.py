"""Which policies are about an endpoint, and in which order they have their say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from linkspan.model.policy import DEFAULT_TIER, THE_DEFAULT_TIER, Tier
from linkspan.model.resource import Metadata
from linkspan.model.selections import Held
from linkspan.model.snapshot import Snapshot


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """The policies of one tier that are about an endpoint in one direction, in their order; never none."""

    tier: str
    default_action: str
    policies: tuple[Held, ...]


def stages(snapshot: Snapshot, policies: Iterable[Held], direction: str) -> tuple[Stage, ...]:
    """Those of the policies that speak of this direction. Without any, everything passes."""
    speaking: dict[str, list[Held]] = {}
    for held in policies:
        if direction in held.policy.spec.types:
            speaking.setdefault(held.policy.spec.tier, []).append(held)
    tiers = sorted((tier_named(snapshot, name) for name in speaking), key=lambda tier: tier.place)
    return tuple(
        Stage(tier.name, tier.spec.default_action, tuple(sorted(speaking[tier.name], key=lambda h: h.policy.place)))
        for tier in tiers
    )


def tier_named(snapshot: Snapshot, name: str) -> Tier:
    """One that nobody has made comes last, as one without an order does."""
    if tier := snapshot.tiers.get(name):
        return tier
    return THE_DEFAULT_TIER if name == DEFAULT_TIER else Tier(metadata=Metadata(name=name))
