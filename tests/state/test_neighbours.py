"""What another's chain does with what is forwarded, and where a rule of ours belongs in it."""

from __future__ import annotations

import pytest

from linkspan.state.neighbours import Chain, Judgement, Rule, guarded, in_place, judge

OURS = Rule(9, False, "accept", ours=True)
DROP, ACCEPT, RETURN, COUNT = (Rule(1, True, verdict) for verdict in ("drop", "accept", "return", ""))
SOMETIMES = Rule(2, False, "drop")
POLICY, REST = "its policy is drop", "its rules drop the rest"


def jump(target: str, verdict: str = "jump") -> Rule:
    return Rule(3, True, verdict, target)


@pytest.mark.parametrize(
    "policy, rules, others, expected",
    [
        ("accept", (), {}, Judgement("", 0)),
        ("accept", (SOMETIMES, COUNT), {}, Judgement("", 2)),
        ("drop", (), {}, Judgement(POLICY, 0)),
        ("drop", (SOMETIMES,), {}, Judgement(POLICY, 1)),
        ("drop", (ACCEPT,), {}, Judgement("", 0)),
        ("accept", (SOMETIMES, DROP, SOMETIMES), {}, Judgement(REST, 1)),
        ("drop", (RETURN, ACCEPT), {}, Judgement(POLICY, 0)),
        ("accept", (RETURN, DROP), {}, Judgement("", 0)),
        ("accept", (jump("a"), COUNT), {"a": (SOMETIMES,)}, Judgement("", 2)),
        ("accept", (COUNT, jump("a")), {"a": (jump("b"),), "b": (DROP,)}, Judgement(REST, 1)),
        ("accept", (COUNT, jump("a")), {"a": (RETURN, DROP)}, Judgement("", 2)),
        ("accept", (jump("a", "goto"), DROP), {"a": ()}, Judgement("", 0)),
        ("drop", (jump("a", "goto"), ACCEPT), {"a": ()}, Judgement(POLICY, 0)),
        ("drop", (jump("a"), SOMETIMES), {"a": (ACCEPT,)}, Judgement("", 0)),
        ("drop", (jump("gone"),), {}, Judgement(POLICY, 1)),
        ("drop", (jump("a"),), {"a": (jump("a"),)}, Judgement(POLICY, 1)),
        # ufw: what comes to its last logging is logged as blocked, and the policy or a reject follows.
        ("drop", (jump("b"), jump("ufw-after-logging-forward"), jump("c")), {"b": (SOMETIMES,)}, Judgement(POLICY, 1)),
        ("drop", (jump("ufw-after-logging-forward"), jump("c")), {"c": (DROP,)}, Judgement(REST, 0)),
    ],
)
def test_judged(policy: str, rules: tuple[Rule, ...], others: dict[str, tuple[Rule, ...]], expected: Judgement) -> None:
    chains = {"F": Chain(rules, policy), **{name: Chain(inner) for name, inner in others.items()}}
    assert judge("F", chains) == expected
    # A rule of ours changes nothing of it, wherever it is; and it is in place there and nowhere else.
    for index in range(len(rules) + 1):
        with_ours = {**chains, "F": Chain((*rules[:index], OURS, *rules[index:]), policy)}
        assert judge("F", with_ours) == expected
        assert in_place("F", with_ours) == (index == expected.place)
    assert not in_place("F", chains)
    assert not in_place("F", {**chains, "F": Chain((OURS, *rules, OURS), policy)})


def test_a_dockerds_networks_are_guarded() -> None:
    docker = Rule(4, False, "jump", "DOCKER", leaving_by="dock0")
    elsewhere = Rule(5, False, "jump", "MINE", leaving_by="eth0")
    newer = {
        "FORWARD": Chain((jump("DOCKER-FORWARD"), elsewhere, jump("nowhere")), "drop"),
        "DOCKER-FORWARD": Chain((jump("DOCKER-BRIDGE"), jump("FORWARD"))),
        "DOCKER-BRIDGE": Chain((docker,)),
    }
    assert guarded("FORWARD", newer) == {"dock0"}
    assert guarded("FORWARD", {"FORWARD": Chain((docker, elsewhere), "drop")}) == {"dock0"}
    assert guarded("FORWARD", {"FORWARD": Chain((elsewhere,), "drop")}) == set()
