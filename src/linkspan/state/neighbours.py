"""Other firewalls on the host, as far as they have a say in what is forwarded, and what they do with it.

A packet passes only if no table drops it. So where another's chain ends in a drop (ufw's and Docker's policy,
firewalld's last rule), whatever our table accepts is dropped there, unless a rule of ours in that chain accepts it.
That rule knows our traffic by the mark that our own table gives it (`kernel/ruleset.nft`, chain `passing`).

It belongs where the chain would drop everything that is left: refusals before that are the administrator's, and hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from linkspan.state.objects import ForwardAccept

# ufw calls blocked, in its log, whatever is still there at this point.
_LOGS_AS_BLOCKED = ("ufw-after-logging-forward", "ufw6-after-logging-forward")
# A dockerd accepts what may reach its containers in this chain, and leaves the rest to the policy.
_DOCKER = "DOCKER"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as far as it matters here. `handle` is nft's; 0 with iptables-legacy.

    `verdict` is accept, drop (or reject), jump, goto, return, or "" for a rule that only does something on the way.
    """

    handle: int
    unconditional: bool
    verdict: str
    target: str = ""  # of a jump or goto
    leaving_by: str = ""  # the interface that it asks a packet to leave by
    ours: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    rules: tuple[Rule, ...]
    policy: str = ""  # accept or drop; "" for one that is jumped to


Chains: TypeAlias = Mapping[str, Chain]


@dataclasses.dataclass(frozen=True, slots=True)
class Dropping:
    """A chain that drops what is forwarded, unless `accept` is there. `refused`: why that could not be put there."""

    accept: ForwardAccept
    why: str
    refused: str = ""

    def __str__(self) -> str:
        return f"{self.accept} ({self.why})"


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbours:
    """`accepting` is what is there of our rules, needed or not; `guarded` are those that others sort themselves."""

    dropping: tuple[Dropping, ...] = ()
    accepting: frozenset[ForwardAccept] = frozenset()
    guarded: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """`why` is "" for a chain that lets pass what it does not refuse by a rule with conditions. `place` is the index,
    our own rules left out, before which an accepting rule belongs."""

    why: str
    place: int


def judge(name: str, chains: Chains) -> Judgement:
    """What becomes of a packet in a base chain that no rule with conditions knows. `chains` are those of its table."""
    rules = others(chains[name])
    end, why = len(rules), "its policy is drop" if chains[name].policy == "drop" else ""
    logged = end
    for index, rule in enumerate(rules):
        if rule.unconditional and rule.target in _LOGS_AS_BLOCKED:
            logged = index
        if outcome := _outcome(rule, chains, frozenset({name})):
            end, why = index, {"drop": "its rules drop the rest", "accept": ""}.get(outcome, why)
            break
    return Judgement(why, min(end, logged))


def others(chain: Chain) -> tuple[Rule, ...]:
    return tuple(rule for rule in chain.rules if not rule.ours)


def in_place(name: str, chains: Chains) -> bool:
    """Whether one rule of ours is there, where it belongs."""
    ours = [index for index, rule in enumerate(chains[name].rules) if rule.ours]
    return ours == [judge(name, chains).place]


def guarded(name: str, chains: Chains) -> frozenset[str]:
    """The interfaces of a dockerd's networks, which a chain passes on to that dockerd's rules."""
    found: set[str] = set()
    seen: set[str] = set()
    ahead = [name]
    while ahead:
        current = ahead.pop()
        if current in seen or current not in chains:
            continue
        seen.add(current)
        for rule in chains[current].rules:
            if rule.target == _DOCKER and rule.leaving_by:
                found.add(rule.leaving_by)
            elif rule.unconditional and rule.target:
                ahead.append(rule.target)
    return frozenset(found)


def _outcome(rule: Rule, chains: Chains, above: frozenset[str]) -> str:
    """accept, drop, return, or "" where packets go on to the next rule."""
    if not rule.unconditional:
        return ""
    if rule.verdict not in ("jump", "goto"):
        return rule.verdict
    if rule.target in above or rule.target not in chains:
        return ""
    for inner in others(chains[rule.target]):
        match _outcome(inner, chains, above | {rule.target}):
            case "return":
                break
            case outcome if outcome:
                return outcome
    return "return" if rule.verdict == "goto" else ""
