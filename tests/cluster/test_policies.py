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


def test_what_would_cut_hosts_off_is_refused(hosts: Cluster) -> None:
    hosts.network("overlay", "back")
    member = hosts["h1"]
    closed = (
        "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: h2, labels: {host: h2}}\n"
        "spec: {node: h2, interfaceName: eth0}\n"
    )
    refused = member.linkspan("policy", "apply", "-f", "-", stdin=closed, status=1)
    assert "this would cut hosts off (use --force to do it all the same):\nUDP 4789 from h1 (10.211.55." in refused.err
    assert member.request("GET", "/policy/resources/hep")[1]["items"] == []
    opened = closed + (
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: tunnels}\nspec:\n"
        "  selector: has(host)\n  ingress: &tunnels [{action: Allow, protocol: UDP, destination: {ports: [4789]}}]\n"
        "  egress: *tunnels\n"
    )
    member.linkspan("policy", "apply", "-f", "-", stdin=opened)
    table = ["nft", "list", "table", "inet", "linkspan-policy"]
    until(lambda: hosts["h2"].host.run(table, check=False).returncode == 0, "h2 guards its interface")
    assert hosts["h1"].host.run(table, check=False).returncode
    hosts["h1"].docker("run", "-d", "--name", "web", "--network", "back", "plain", "sleep", "60")
    hosts["h2"].docker("run", "--rm", "--network", "back", "plain", "ping", "-c1", "-W5", "web")
    refused = hosts["h3"].linkspan("policy", "delete", "gnp", "tunnels", status=1)
    assert "UDP 4789" in refused.err


def test_an_ippool_is_taken_over_by_its_network_on_all_hosts(hosts: Cluster) -> None:
    hosts.network("calico", "city", "--subnet", "10.77.0.0/16")
    pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: city}\nspec: {cidr: 10.77.0.0/16, "
    hosts["h1"].linkspan("policy", "apply", "-f", "-", stdin=f"{pool}vxlanMode: CrossSubnet}}\n")
    for member in hosts:
        until(lambda member=member: options(member) == ("vxlan-cross-subnet", "false"), f"{member.name} knows of it")
    hosts["h2"].docker("run", "-d", "--name", "web", "--network", "city", "plain", "sleep", "60")
    refused = hosts["h3"].linkspan("policy", "apply", "-f", "-", stdin=f"{pool}vxlanMode: Always}}\n", status=1)
    assert "IPPool city: network city is in use" in refused.err
    hosts["h3"].linkspan("policy", "apply", "-f", "-", stdin=f"{pool}vxlanMode: CrossSubnet, disabled: true}}\n")
    until(lambda: "disabled" in hosts["h2"].linkspan("policy", "get", "ipp", "-o", "yaml").out, "h2 knows of it")
    refused = hosts["h2"].docker("run", "--rm", "--network", "city", "plain", "true", status=None)
    assert "the IPPool city is disabled" in refused.err


def options(member: Member) -> tuple[str, str]:
    found = json.loads(member.out("network", "inspect", "city"))[0]["Options"]
    return found.get("encapsulation", ""), found.get("nat_outgoing", "")
