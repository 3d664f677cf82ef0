"""What becomes of a file of resources: all of it or nothing, and nobody's change is undone unknowingly."""

from __future__ import annotations

import pytest

from linkspan.engine.publication import gone, read, shared
from linkspan.engine.resources import Decision, apply_resources, delete_resources, listed
from linkspan.errors import Conflict, Forbidden, NotFound
from linkspan.model.manifests.kinds import kind_named
from linkspan.model.manifests.reading import read_resources
from linkspan.model.manifests.writing import yaml_of
from linkspan.model.snapshot import Snapshot

from .conftest import HOST

NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"


def manifest(kind: str, name: str, spec: str = "{}") -> str:
    network, _, name = name.rpartition("/")
    namespace = f", namespace: {network}" if network else ""
    return f"---\napiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec: {spec}\n"


class Policies:
    def __init__(self) -> None:
        self.now, self.host = Snapshot(), HOST
        self.number = 0

    def apply(self, text: str, *, scope: str = "local", at: str = NOON) -> list[str]:
        asked = read_resources(text.encode())
        uids = [f"uid-{self.number + index}" for index in range(len(asked))]
        self.number += len(asked)
        return self._done(apply_resources(self.now, asked, uids, scope, at, self.host))

    def delete(self, text: str) -> list[str]:
        return self._done(delete_resources(self.now, read_resources(text.encode())))

    def _done(self, decision: Decision) -> list[str]:
        self.warnings, self.writes = decision.change.warnings, decision.change.writes
        self.now = self.now.after(decision.change.writes)
        return [outcome.result for outcome in decision.outcomes]

    def yaml(self) -> str:
        return yaml_of(record for record in listed(self.now, None, "") if record.name != "default")


@pytest.fixture
def policies() -> Policies:
    return Policies()


def test_what_is_said_again_changes_nothing(policies: Policies) -> None:
    text = manifest("GlobalNetworkPolicy", "one", "{order: 1}") + manifest("NetworkPolicy", "shop/two")
    assert policies.apply(text) == ["created", "created"]
    one = policies.now.policies["one"]
    assert (one.metadata.uid, one.metadata.resource_version, one.metadata.creation_timestamp) == ("uid-0", "1", NOON)
    assert policies.apply(text, at=LATER) == ["unchanged", "unchanged"] and policies.writes == ()
    assert policies.apply(manifest("GlobalNetworkPolicy", "one", "{order: 2}"), at=LATER) == ["configured"]
    one = policies.now.policies["one"]
    assert (one.metadata.uid, one.metadata.resource_version, one.metadata.creation_timestamp) == ("uid-0", "2", NOON)
    assert [record.id for record in listed(policies.now, kind_named("np"), "")] == ["shop/two"]
    assert policies.delete(text) == ["deleted", "deleted"]
    assert policies.now == Snapshot()


def test_whoever_has_read_an_older_one_does_not_undo_what_came_since(policies: Policies) -> None:
    policies.apply(manifest("Tier", "t", "{order: 1}"))
    read_before = policies.yaml()
    policies.apply(manifest("Tier", "t", "{order: 2}"))
    for change in (policies.apply, policies.delete):
        with pytest.raises(Conflict, match="Tier t has been changed since: resourceVersion 1 was given, it is at 2"):
            change(read_before)
    assert policies.apply(policies.yaml().replace("order: 2", "order: 3")) == ["configured"]
    policies.delete(manifest("Tier", "t"))
    kept = read_before
    assert policies.apply(kept) == ["created"]  # of what is gone, the version means nothing
    with pytest.raises(Conflict, match="Tier t has been made anew since"):
        policies.apply(kept.replace("uid-0", "uid-9"))


def test_a_policy_needs_its_tier(policies: Policies) -> None:
    policy, tier = manifest("GlobalNetworkPolicy", "p", "{tier: early}"), manifest("Tier", "early")
    with pytest.raises(Conflict, match="GlobalNetworkPolicy p: there is no tier early: apply it first"):
        policies.apply(policy)
    assert policies.apply(policy + tier) == ["created", "created"]
    with pytest.raises(Conflict, match="Tier early has policies: GlobalNetworkPolicy p: delete them first"):
        policies.delete(tier)
    assert policies.delete(tier + policy) == ["deleted", "deleted"]


def test_the_default_tier_is_always_there(policies: Policies) -> None:
    assert [tier.name for tier in listed(policies.now, kind_named("tier"), "")] == ["default"]
    assert policies.apply(manifest("Tier", "default", "{order: 1000000}")) == ["unchanged"]
    with pytest.raises(Forbidden, match="the tier default is always there"):
        policies.delete(manifest("Tier", "default", "{order: 1000000}"))


def test_nothing_is_deleted_where_something_is_not_there(policies: Policies) -> None:
    policies.apply(manifest("GlobalNetworkSet", "a"))
    with pytest.raises(NotFound, match="not found: GlobalNetworkSet b, NetworkPolicy shop/a"):
        policies.delete(
            manifest("GlobalNetworkSet", "a") + manifest("GlobalNetworkSet", "b") + manifest("NetworkPolicy", "shop/a")
        )


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (
            manifest("IPPool", "a", "{cidr: 10.0.0.0/8}"),
            manifest("IPPool", "b", "{cidr: 10.9.0.0/16}"),
            r"IPPool b: 10.9.0.0/16 overlaps IPPool a \(10.0.0.0/8\)",
        ),
        (
            manifest("HostEndpoint", "a", "{node: h1, interfaceName: eth0}"),
            manifest("HostEndpoint", "b", "{node: h1, interfaceName: eth0}"),
            "HostEndpoint b: HostEndpoint a is of that interface already",
        ),
    ],
)
def test_two_that_contradict_each_other(policies: Policies, first: str, second: str, says: str) -> None:
    policies.apply(first)
    with pytest.raises(Conflict, match=says):
        policies.apply(second)
    policies.apply(first.replace("10.0.0.0/8", "10.9.0.0/16"))
    other = second.replace("10.9.0.0/16", "fd00::/48").replace("node: h1", "node: h2")
    assert policies.apply(other) == ["created"]


def test_a_policy_of_a_network_that_is_not_there_yet_is_told(policies: Policies) -> None:
    policies.apply(manifest("NetworkPolicy", "shpo/p"))
    assert policies.warnings == ("NetworkPolicy shpo/p: there is no network shpo yet",)
    policies.apply(manifest("HostEndpoint", "h", "{node: h9, interfaceName: eth0}"))
    assert policies.warnings == ("HostEndpoint h: there is no host h9 yet",)


def test_rules_of_a_direction_that_a_policy_is_not_about_are_told(policies: Policies) -> None:
    policies.apply(manifest("GlobalNetworkPolicy", "p", "{types: [Ingress], egress: [{action: Deny}]}"))
    assert policies.warnings == ("GlobalNetworkPolicy p: types does not name Egress: its egress rules mean nothing",)


def test_resources_of_a_cluster_are_shared_with_it(policies: Policies) -> None:
    text = manifest("NetworkPolicy", "shop/p") + manifest("IPReservation", "r", "{reservedCIDRs: [10.0.0.1]}")
    before = policies.now
    policies.apply(text)
    assert shared(before, policies.writes) == {}
    policies.apply(text, scope="global")
    told = shared(before, policies.writes)
    assert sorted(told) == ["records/ipreservations/r", "records/policies/shop/p"]
    for key, value in told.items():
        assert value is not None
        kind, id_ = gone(key)
        assert read(key, value) == policies.now.get(kind, id_)
    before = policies.now
    policies.delete(text)
    assert set(shared(before, policies.writes).values()) == {None}
