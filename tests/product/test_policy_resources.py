"""`linkspan policy apply`, `get` and `delete`, and the same over HTTP: files taken whole or not at all."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from tests.hosts import socket_in
from tests.product.network import answers, held
from tests.product.place import HOST, OUTSIDE, Place

SHOP = """\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 100}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: shop, labels: {team: a}}
spec:
  tier: security
  order: 10
  selector: app == "web"
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: role == "front"}, destination: {ports: [80, 8080:8090]}}
  - {action: Pass}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: office, labels: {where: office}}
spec: {nets: [192.0.2.0/24]}
"""


def listed(engine: Place) -> Any:
    return json.loads(engine.linkspan("policy", "get", "-o", "json").out)["items"]


def test_a_file_is_applied_shown_changed_and_deleted(engine: Place) -> None:
    engine.docker("network", "create", "shop")
    file = engine.folder / "shop.yaml"
    file.write_text(SHOP)
    done = engine.linkspan("policy", "apply", "-f", str(file))
    assert (done.out, done.err) == (
        "Tier security: created\nNetworkPolicy shop/web: created\nGlobalNetworkSet office: created\n",
        "",
    )
    assert "shop/web: unchanged" in engine.linkspan("policy", "apply", "-f", "-", stdin=SHOP).out
    assert [line.split() for line in engine.linkspan("policy", "get").out.splitlines()] == [
        ["NETWORKPOLICY", "NETWORK", "TIER", "ORDER", "TYPES", "SELECTOR"],
        ["web", "shop", "security", "10", "Ingress", "app", "==", '"web"'],
        [],
        ["TIER", "ORDER", "DEFAULT", "ACTION"],
        ["default", "1000000", "Deny"],
        ["security", "100", "Deny"],
        [],
        ["GLOBALNETWORKSET", "LABELS", "NETS"],
        ["office", "where=office", "192.0.2.0/24"],
    ]
    shown = engine.linkspan("policy", "get", "np", "shop/web", "-o", "yaml").out
    assert shown == engine.linkspan("policy", "get", "networkpolicies", "web", "-n", "shop", "-o", "yaml").out
    changed = shown.replace("order: 10", "order: 20")
    assert engine.linkspan("policy", "apply", "-f", "-", stdin=changed).out == "NetworkPolicy shop/web: configured\n"
    refused = engine.linkspan("policy", "apply", "-f", "-", stdin=changed.replace("order: 20", "order: 30"), status=1)
    assert "NetworkPolicy shop/web has been changed since: resourceVersion 1 was given, it is at 2" in refused.err
    refused = engine.linkspan("policy", "delete", "tier", "security", status=1)
    assert "Tier security has policies: NetworkPolicy shop/web: delete them first" in refused.err
    everything = engine.linkspan("policy", "get", "-o", "yaml").out
    again = engine.linkspan("policy", "apply", "-f", "-", stdin=everything).out.splitlines()
    assert [line.rpartition(" ")[2] for line in again] == ["unchanged"] * 4
    assert engine.linkspan("policy", "delete", "gns", "office").out == "GlobalNetworkSet office: deleted\n"
    file.write_text(SHOP.rpartition("---")[0])
    assert engine.linkspan("policy", "delete", "-f", str(file)).out.count("deleted") == 2
    assert [one["metadata"]["name"] for one in listed(engine)] == ["default"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            SHOP.replace("source: {", "source: {net: [10.0.0.0/8], "),
            "line 14: NetworkPolicy shop/web: spec.ingress[0].source.net: unknown field; did you mean nets?",
        ),
        (SHOP + "spec: {}\n", "line 21: the key spec is there already"),
        (SHOP.replace("\n  tier", "\n\ttier"), "line 10: this is not YAML: lines are indented by spaces, not tabs"),
        (SHOP.replace("tier: security", "tier: securty"), "there is no tier securty"),
        (SHOP.replace("10\n", "10\n  doNotTrack: true\n"), "spec.doNotTrack: every connection is tracked here"),
        ("", "there is no resource in it"),
        ("# " + "x" * (5 << 20), "the request body is too large"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(engine: Place, text: str, says: str) -> None:
    refused = engine.linkspan("policy", "apply", "-f", "-", stdin=text, status=1)
    assert says in refused.err and refused.out == ""
    assert len(listed(engine)) == 1


def test_what_is_not_there(engine: Place) -> None:
    for words, says in (
        (("get", "np", "shop/web"), "NetworkPolicy shop/web not found"),
        (("delete", "np", "web"), "NetworkPolicy web not found: which network is it of?"),
        (("get", "pods"), "no such kind: pods: there are GlobalNetworkPolicy, NetworkPolicy"),
        (("delete", "tier", "default"), "the tier default is always there"),
        (("apply", "-f", "/no/file"), "open /no/file: no such file or directory"),
        (("get", "-o", "xml"), "--output xml: one of table, yaml, json"),
        (("apply",), "a file is needed: -f FILE"),
        (("delete", "np"), "KIND NAME is needed"),
    ):
        refused = engine.linkspan("policy", *words, status=None)
        assert refused.status and says in refused.err, words


def test_over_http(engine: Place) -> None:
    status, answer = engine.request("POST", "/policy/apply", SHOP.encode())
    assert (status, answer) == (
        200,
        {
            "Resources": [
                {"Kind": "Tier", "Name": "security", "Network": "", "Result": "created"},
                {"Kind": "NetworkPolicy", "Name": "web", "Network": "shop", "Result": "created"},
                {"Kind": "GlobalNetworkSet", "Name": "office", "Network": "", "Result": "created"},
            ],
            "Warnings": ["NetworkPolicy shop/web: there is no network shop yet"],
        },
    )
    one = engine.request("GET", "/policy/resources/networkpolicy/web?network=shop")[1]
    assert one["spec"]["ingress"][0] == {
        "action": "Allow",
        "protocol": "TCP",
        "source": {"selector": 'role == "front"'},
        "destination": {"ports": [80, "8080:8090"]},
    }
    assert one["metadata"]["resourceVersion"] == "1" and len(one["metadata"]["uid"]) == 36
    assert engine.request("POST", "/policy/apply", one)[1]["Resources"][0]["Result"] == "unchanged"
    assert engine.request("GET", "/policy/resources/tier?format=xml")[0] == 400
    assert engine.request("GET", "/policy/resources/np?network=other")[1]["items"] == []
    assert engine.request("POST", "/policy/delete", SHOP.encode())[0] == 200
    assert engine.request("DELETE", "/policy/resources/gns/office")[0] == 404


def opened(engine: Place, port: int) -> bool:
    """Whether a connection from outside to the host comes about."""
    with socket_in(engine.there) as client, contextlib.suppress(TimeoutError):
        client.settimeout(0.4)
        client.connect((HOST, port))
        return True
    return False


def test_the_hosts_own_interface(engine: Place) -> None:
    """Closed but for what is allowed and the failsafe ports; nothing of it is left."""
    name = engine.out("info", "--format", "{{.Name}}")
    (interface,) = [link["ifname"] for link in engine.ip("address") if HOST in str(link["addr_info"])]
    endpoint = (
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: out, labels: {side: out}}\n"
        f"spec: {{node: {name}, interfaceName: {interface}}}\n---\n"
    )
    policy = (
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: web}\nspec:\n"
        "  selector: side == 'out'\n  ingress:\n"
        f"  - {{action: Allow, protocol: TCP, source: {{nets: [{OUTSIDE}]}}, destination: {{ports: [8000]}}}}\n"
    )
    with held(engine.here, HOST, 8000), held(engine.here, HOST, 8001), held(engine.here, HOST, 22):
        assert [opened(engine, port) for port in (8000, 8001, 22)] == [True, True, True]
        engine.run("--name", "web", "-p", "8080:80", "web")
        engine.linkspan("policy", "apply", "-f", "-", stdin=endpoint + policy)
        assert [opened(engine, port) for port in (8000, 8001, 22)] == [True, False, True]
        assert answers(engine.there, HOST, 8080)  # what the host passes on is judged at the container
        with held(engine.there, OUTSIDE, 9000), socket_in(engine.here) as client, pytest.raises(OSError):
            client.connect((OUTSIDE, 9000))
        other = policy.replace("8000", "8001")
        engine.linkspan("policy", "apply", "-f", "-", stdin=other)
        assert [opened(engine, port) for port in (8000, 8001, 22)] == [False, True, True]
        engine.linkspan("policy", "delete", "hep", "out")
        assert [opened(engine, port) for port in (8000, 8001, 22)] == [True, True, True]
    assert "linkspan-policy" not in engine.host.run(["nft", "list", "tables"]).stdout
