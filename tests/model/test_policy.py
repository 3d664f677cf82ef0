"""Whom policies and their rules are about, and in which order they come."""

import pytest

from linkspan.model.network import Network
from linkspan.model.policy import (
    THE_DEFAULT_TIER,
    Entity,
    Policy,
    PolicySpec,
    Rule,
    Tier,
    TierSpec,
    endpoint_labels,
    port_ranges,
    protocol_number,
)
from linkspan.model.resource import Metadata

SHOP = Network(id="n" * 64, name="shop", driver="bridge", created="", labels={"stage": "live"})
WEB = endpoint_labels(SHOP, "web-1", {"app": "web", "projectcalico.org/namespace": "elsewhere", "long": "x" * 256})
SET = {"app": "web"}  # of addresses, on no network


def policy(name: str = "p", namespace: str = "", **spec: object) -> Policy:
    return Policy(metadata=Metadata(name=name, namespace=namespace), spec=PolicySpec(**spec))  # type: ignore[arg-type]


def test_an_endpoint_has_its_containers_labels_its_networks_and_what_it_is():
    assert WEB == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/name": "web-1",
        "pcns.stage": "live",
        "pcns.projectcalico.org/name": "shop",
    }


@pytest.mark.parametrize(
    ("namespace", "spec", "endpoint", "host_or_set"),
    [
        ("", {}, True, True),
        ("shop", {}, True, False),
        ("other", {}, False, False),
        ("", {"selector": "app == 'web'"}, True, True),
        ("", {"namespace_selector": "all()"}, True, False),
        ("", {"namespace_selector": "stage == 'live'"}, True, False),
        ("", {"namespace_selector": "stage == 'live'", "selector": "app == 'db'"}, False, False),
        ("", {"namespace_selector": "!(projectcalico.org/name == 'shop')"}, False, True),
        ("shop", {"selector": "app in {'web'}"}, True, False),
    ],
)
def test_whom_a_policy_is_about(namespace, spec, endpoint, host_or_set):
    subject = policy(namespace=namespace, **spec).subject
    assert (subject.matches(WEB), subject.matches(SET)) == (endpoint, host_or_set)


@pytest.mark.parametrize(
    ("namespace", "entity", "endpoint", "host_or_set"),
    [
        ("", Entity(selector="app == 'web'"), True, True),
        ("shop", Entity(selector="app == 'web'"), True, False),
        ("other", Entity(selector="app == 'web'"), False, False),
        ("other", Entity(selector="app == 'web'", namespace_selector="all()"), True, False),
        ("other", Entity(selector="app == 'web'", namespace_selector="global()"), False, True),
        ("other", Entity(namespace_selector="stage == 'live' || global()"), True, True),
        ("shop", Entity(not_selector="app == 'db'"), True, False),
    ],
)
def test_whom_a_rule_is_about(namespace, entity, endpoint, host_or_set):
    peers = policy(namespace=namespace).peers(entity)
    assert peers is not None
    assert (peers.matches(WEB), peers.matches(SET)) == (endpoint, host_or_set)


@pytest.mark.parametrize(
    ("namespace", "entity", "far"),
    [
        ("", Entity(), False),
        ("", Entity(nets=("10.0.0.0/8",)), False),
        ("", Entity(selector="app == 'web'"), True),
        ("", Entity(not_selector="app == 'web'"), True),
        ("", Entity(selector="projectcalico.org/namespace == 'shop'"), True),
        ("shop", Entity(selector="app == 'web'"), False),
        ("shop", Entity(selector="app == 'web' && a == 'b'", not_selector="c == 'd'"), False),
        ("shop", Entity(selector="app == 'web'", namespace_selector="all()"), True),
        ("shop", Entity(selector="projectcalico.org/namespace == 'other'", namespace_selector="all()"), True),
    ],
)
def test_whether_a_policy_reaches_beyond_its_own_network(namespace, entity, far):
    assert policy(namespace=namespace, ingress=(Rule(action="Allow", source=entity),)).far_reaching is far
    assert policy(namespace=namespace, egress=(Rule(action="Deny", destination=entity),)).far_reaching is far


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_a_rule_that_selects_nobody_is_about_any_address(namespace):
    assert policy(namespace=namespace).peers(Entity(nets=("10.0.0.0/8",), ports=(80,))) is None
    assert policy().peers(Entity(not_selector="has(app)")) is None


def test_policies_and_tiers_without_an_order_come_last():
    found = [
        policy("a"),
        policy("b", order=10.5),
        policy("c", order=-1.0),
        policy("a", "shop"),
        policy("a", order=10.5),
    ]
    placed = sorted(found, key=lambda one: one.place)
    assert [(one.id, one.spec.order) for one in placed] == [
        ("c", -1.0),
        ("a", 10.5),
        ("b", 10.5),
        ("a", None),
        ("shop/a", None),
    ]
    tiers = [
        Tier(metadata=Metadata(name="z")),
        THE_DEFAULT_TIER,
        Tier(metadata=Metadata(name="s"), spec=TierSpec(order=3)),
    ]
    assert [tier.name for tier in sorted(tiers, key=lambda tier: tier.place)] == ["s", "default", "z"]


def test_ports_and_protocols_as_numbers():
    assert port_ranges((80, "8080:8090", "443")) == [(80, 80), (8080, 8090), (443, 443)]
    assert [protocol_number(one) for one in ("TCP", "ICMPv6", 47)] == [6, 58, 47]
