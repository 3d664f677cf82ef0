"""Policies are the whole cluster's, and so are the labels that they select by."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.place import Cluster, Member, until

POLICIES = "".join(
    f"---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: p{number:03}, namespace: wire}}\n"
    "spec: {selector: app == 'web'}\n"
    for number in range(200)
)
WIRE = ("-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--ip-range", "10.211.55.64/26", "--scope", "global")


def known(member: Member) -> Any:
    return json.loads(member.linkspan("policy", "get", "np", "-o", "json").out)["items"]


def test_what_is_applied_on_one_host_holds_on_all(hosts: Cluster) -> None:
    hosts.network("macvlan", "wire", *WIRE)
    assert hosts["h1"].linkspan("policy", "apply", "-f", "-", stdin=POLICIES).out.count("created") == 200
    until(lambda: known(hosts["h2"]) == known(hosts["h3"]) == known(hosts["h1"]), "all know the same")
    changed = POLICIES.replace("'web'", "'db'", 1)
    assert hosts["h2"].linkspan("policy", "apply", "-f", "-", stdin=changed).out.count("configured") == 1
    until(lambda: known(hosts["h3"])[0]["metadata"]["resourceVersion"] == "2", "h3 knows of the change")
    assert hosts["h3"].linkspan("policy", "delete", "-f", "-", stdin=POLICIES).out.count("deleted") == 200
    until(lambda: known(hosts["h1"]) == known(hosts["h2"]) == [], "all know that they are gone")


def test_labels_of_containers_are_told(hosts: Cluster) -> None:
    hosts.network("macvlan", "wire", *WIRE)
    for name, labels in (("plain", ()), ("web", ("--label", "app=web", "--label", "long=" + "x" * 256))):
        hosts["h1"].docker("run", "-d", "--name", name, "--network", "wire", *labels, "plain", "sleep", "300")
    told = hosts.etcd.ctl("get", "--prefix", "--print-value-only", "/linkspan/v1/endpoints/").splitlines()
    remotes = {one["Name"]: one["Labels"] for one in map(json.loads, told)}
    of_image = {"of": "image"}  # as the tests' image has it
    assert remotes == {"plain": of_image, "web": {**of_image, "app": "web"}}
