"""What the hosts of a cluster know of each other: networks, endpoints, names, addresses, whoever goes away."""

from __future__ import annotations

import json
import time

from tests.cluster.place import Cluster, Member, kill_daemon, until

WIRE = ("-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--gateway", "10.211.55.9", "--scope", "global")


def wire(hosts: Cluster, name: str = "wire", ip_range: str = "10.211.55.64/26") -> str:
    return hosts.network("macvlan", name, *WIRE, "--ip-range", ip_range)


def sleeper(member: Member, name: str, *options: str) -> None:
    member.docker("run", "-d", "--name", name, "--network", "wire", *options, "plain", "sleep", "300")


def known(member: Member, network: str = "wire") -> dict[str, str]:
    """The addresses on a network, by container's name, as one host knows them."""
    found = json.loads(member.out("network", "inspect", network))[0]["Containers"].values()
    return {one["Name"]: one["IPv4Address"].partition("/")[0] for one in found}


def test_a_network_is_everywhere_and_so_are_its_containers_names(hosts: Cluster) -> None:
    wire(hosts)
    for member in hosts:
        assert "wire" in member.out("network", "ls", "--filter", "scope=global")
        sleeper(member, f"c-{member.name}")
    for member in hosts:
        until(lambda member=member: len(known(member)) == 3, f"{member.name} knows all three")
        peers = json.loads(member.out("network", "inspect", "wire"))[0]["Peers"]
        assert sorted(peer["Name"] for peer in peers) == ["h1", "h2", "h3"]
        for other in hosts:
            member.docker("exec", f"c-{member.name}", "ping", "-c1", "-W2", f"c-{other.name}")
    addresses = set(known(hosts["h1"]).values())
    assert len(addresses) == 3
    assert "c-h2 on h2" in hosts["h1"].linkspan("ipam", "wire").out
    refused = hosts["h2"].docker("network", "rm", "wire", status=1)
    assert "has active endpoints" in refused.err and "c-h1 on h1" in refused.err
    hosts["h1"].docker("rename", "c-h1", "renamed")
    until(lambda: "renamed" in known(hosts["h3"]), "h3 knows the new name")
    hosts["h3"].docker("exec", "c-h3", "ping", "-c1", "-W2", "renamed")
    hosts["h1"].docker("rm", "-f", "renamed")
    until(lambda: len(known(hosts["h3"])) == 2, "h3 knows that it has gone")
    assert hosts["h3"].docker("exec", "c-h3", "ping", "-c1", "-W2", "renamed", status=None).status


def test_a_host_is_shown(hosts: Cluster) -> None:
    one = hosts["h1"]
    (two,) = json.loads(one.linkspan("host", "inspect", "h2").out)
    assert (two["Name"], two["Status"], two["Self"]) == ("h2", "up", False)
    shown = one.linkspan("host", "inspect", "--format", "{{.Name}} {{.Self}}", "h1", two["ID"][:13]).out
    assert shown == "h1 true\nh2 false\n"
    refused = one.linkspan("host", "inspect", "h9", status=1)
    assert "no such host: h9: `linkspan host ls` shows them" in refused.err


def test_an_address_is_held_once(hosts: Cluster) -> None:
    wire(hosts)
    sleeper(hosts["h1"], "first", "--ip", "10.211.55.100")
    until(lambda: "first" in known(hosts["h2"]), "h2 knows of it")
    refused = hosts["h2"].docker(
        *("run", "--rm", "--network", "wire", "--ip", "10.211.55.100", "plain", "true"), status=125
    )
    assert "Address already in use: 10.211.55.100 is the address of container first on another host" in refused.err


def test_a_name_is_one_networks_in_the_whole_cluster(hosts: Cluster) -> None:
    wire(hosts)
    refused = hosts["h3"].docker("network", "create", "-d", "macvlan", *WIRE, "wire", status=1)
    assert "network with name wire already exists" in refused.err
    overlapping = hosts["h3"].docker("network", "create", "--subnet", "10.211.55.128/25", "other", status=1)
    assert "Pool overlaps" in overlapping.err


def test_two_hosts_that_make_one_network_at_once(hosts: Cluster) -> None:
    made = hosts.each(
        lambda member: member.docker("network", "create", "-d", "macvlan", *WIRE, "wire", status=None).status
    )
    assert sorted(made) == [0, 1, 1]
    for member in hosts:
        until(lambda member=member: len(member.networks()) == 1, f"{member.name} knows the one")


def test_events_of_other_hosts(hosts: Cluster) -> None:
    since = f"{time.time():.6f}"
    wire(hosts)
    sleeper(hosts["h3"], "here")
    sleeper(hosts["h1"], "there")
    until(lambda: "there" in known(hosts["h3"]), "h3 knows of it")
    span = ("--since", since, "--until", f"{time.time():.6f}")
    networks = ("--filter", "type=network", "--format", "{{.Action}}")
    assert hosts["h3"].out("events", *span, *networks).split() == ["create", "connect", "connect"]
    assert hosts["h2"].out("events", *span, *networks).split() == ["create"]
    assert set(known(hosts["h2"])) == {"here", "there"}


def test_hosts_and_their_store(hosts: Cluster) -> None:
    listed = hosts["h2"].linkspan("host", "ls").out
    assert [line.split()[1:3] for line in listed.splitlines()[1:]] == [
        ["h1", "10.211.55.4"],
        ["h2", "*"],
        ["h3", "10.211.55.6"],
    ]
    assert listed.count(" up ") == 3
    said = hosts["h2"].linkspan("cluster", "status").out
    assert "(usable)" in said and said.count("10.211.55.") >= 6 and "leader" in said
    assert "answers" in hosts["h1"].linkspan("host", "rm", "h2", status=1).err
    assert hosts["h1"].request("GET", "/info")[1]["ClusterStore"].startswith("etcd://")  # type: ignore[index]


def test_a_daemon_that_was_away_knows_what_happened_meanwhile(hosts: Cluster) -> None:
    wire(hosts)
    sleeper(hosts["h1"], "stays")
    sleeper(hosts["h2"], "here")
    kill_daemon(hosts["h2"])
    hosts["h1"].docker("rm", "-f", "stays")
    sleeper(hosts["h3"], "new")
    hosts["h2"].start(*hosts["h2"].flags)
    until(lambda: set(known(hosts["h2"])) == {"here", "new"}, "h2 knows both")
    hosts["h2"].docker("exec", "here", "ping", "-c1", "-W2", "new")
    until(lambda: set(known(hosts["h1"])) == {"here", "new"}, "h1 too")


def test_without_its_store_a_host_goes_on(hosts: Cluster) -> None:
    wire(hosts)
    one, two = hosts["h1"], hosts["h2"]
    sleeper(one, "mine")
    sleeper(one, "going")
    sleeper(two, "other")
    until(lambda: len(known(one)) == 3, "h1 knows all")
    one.parted_from_etcd(True)
    try:
        until(lambda: "not usable" in one.linkspan("cluster", "status").out, "h1 notices", 30)
        one.docker("exec", "mine", "ping", "-c1", "-W2", "other")
        one.docker("run", "--rm", "plain", "true")  # of no business to the cluster
        refused = one.docker("run", "--rm", "--network", "wire", "plain", "true", status=125)
        assert "the cluster's store cannot be used now" in refused.err
        one.docker("restart", "-t0", "mine")  # claims nothing new
        one.docker("rm", "-f", "going")
        assert "going" in known(two)
        one.restart()  # also a daemon that starts without it
        one.docker("exec", "mine", "ping", "-c1", "-W2", "other")
    finally:
        one.parted_from_etcd(False)
    until(lambda: set(known(two)) == {"mine", "other"}, "what was put off is told", 30)
    until(lambda: "(usable)" in one.linkspan("cluster", "status").out, "h1 can use it again", 30)
    sleeper(one, "later")


def test_a_host_that_has_gone_for_good(hosts: Cluster) -> None:
    wire(hosts)
    sleeper(hosts["h3"], "lost", "--ip", "10.211.55.90")
    until(lambda: "lost" in known(hosts["h1"]), "h1 knows of it")
    before = [line.split()[0] for line in hosts["h1"].linkspan("host", "ls").out.splitlines() if " h3 " in line]
    hosts.kill_host("h3")
    until(lambda: "down" in hosts["h1"].linkspan("host", "ls").out, "its lease runs out", 40)
    assert "lost" in known(hosts["h1"])  # it may come back: what it has stays its own
    hosts["h1"].linkspan("host", "rm", *before)
    until(lambda: known(hosts["h2"]) == {}, "h2 knows that it has gone")
    hosts.replace_host("h3", disk=False)
    sleeper(hosts["h3"], "new", "--ip", "10.211.55.90")
    until(lambda: known(hosts["h1"]) == {"new": "10.211.55.90"}, "another host has the address")
