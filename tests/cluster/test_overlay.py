"""Overlay networks by docker, on three hosts: what is made where, what heals, and what moves while nobody looks."""

from __future__ import annotations

import concurrent.futures
import json
from random import Random

import pytest

from tests.cluster.place import Cluster, Member, kill_daemon, until
from tests.cluster.probes import heard_by_many

SUBNETS = ("--subnet", "10.92.0.0/24", "--ipv6", "--subnet", "fd00:92::/64")


def sleeper(member: Member, name: str, *options: str) -> None:
    member.run("--name", name, "--network", "city", *options, "plain", "sleep", "1000")


def reached(member: Member, name: str, other: str, version: int = 4) -> bool:
    return member.docker("exec", name, "ping", f"-{version}", "-c1", "-W1", other, status=None).status == 0


def tunnels(member: Member) -> list[str]:
    return [link["ifname"] for link in member.ip("link", "show", "type", "vxlan") if link]


def rows(member: Member) -> list[str]:
    """All that says on a host who is where; a tunnel's own MAC on its bridge is nobody's."""
    shown = [["ip", "neigh", "show", "nud", "permanent", "proto", "76"]]
    shown += [["bridge", "fdb", "show", "dev", tunnel] for tunnel in tunnels(member)]
    lines = [line.strip() for command in shown for line in member.host.run(command, check=False).stdout.splitlines()]
    return sorted(line for line in lines if not ("master" in line and line.endswith("permanent")))


def test_it_is_made_as_docker_makes_it_and_only_where_it_is_used(hosts: Cluster) -> None:
    hosts.network("overlay", "city", "--attachable", *SUBNETS)
    for member in hosts:
        (shown,) = json.loads(member.out("network", "inspect", "city"))
        assert (shown["Driver"], shown["Scope"], shown["Attachable"], shown["EnableIPv6"]) == (
            "overlay",
            "global",
            True,
            True,
        )
        assert shown["Options"] == {"com.docker.network.driver.overlay.vxlanid_list": "4096"}
        assert shown["IPAM"]["Config"][0] == {"Subnet": "10.92.0.0/24", "Gateway": "10.92.0.1"}
        assert tunnels(member) == []
    sleeper(hosts["h1"], "one")
    sleeper(hosts["h3"], "three")
    for version in (4, 6):
        until(lambda version=version: reached(hosts["h1"], "one", "three", version), "one reaches three")
        assert reached(hosts["h3"], "three", "one", version)
    assert [tunnels(member) for member in hosts] == [["vx-4096"], [], ["vx-4096"]]
    assert [len(rows(member)) for member in hosts] == [4, 0, 4]  # two neighbours, two forwarding entries
    for container, host in (("one", "h1"), ("three", "h3")):
        assert hosts[host].out("exec", container, "cat", "/sys/class/net/eth0/mtu") == "1450"
    hosts["h3"].docker("rm", "-f", "three")
    until(lambda: rows(hosts["h1"]) == [], "h1 has heard that three has gone")
    hosts["h1"].docker("rm", "-f", "one")
    assert [tunnels(member) for member in hosts] == [[], [], []]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--opt", "encrypted"],
            "option encrypted: linkspan does not encrypt what goes between hosts, which needs IPsec",
        ),
        (["-o", "com.docker.network.driver.overlay.vxlanid_list=0"], "a number between 1 and 16777215 is needed"),
        (["-o", "com.docker.network.bridge.name=br0"], "unknown option: com.docker.network.bridge.name"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_is_refused(hosts: Cluster, options: list[str], words: str) -> None:
    refused = hosts["h1"].docker("network", "create", "-d", "overlay", *options, "city", status=1)
    assert words in refused.err


def test_two_networks_made_at_once_have_two_numbers(hosts: Cluster) -> None:
    hosts.each(lambda member: member.docker("network", "create", "-d", "overlay", f"of-{member.name}"))
    for member in hosts:
        hosts.known(f"of-{member.name}")
    shown = [json.loads(hosts["h1"].out("network", "inspect", f"of-{member.name}"))[0] for member in hosts]
    assert len({one["Options"]["com.docker.network.driver.overlay.vxlanid_list"] for one in shown}) == 3
    assert len({one["IPAM"]["Config"][0]["Subnet"] for one in shown}) == 3


def test_a_network_that_leads_nowhere_and_one_whose_containers_do_not_talk(hosts: Cluster) -> None:
    hosts.network("overlay", "city", "--internal", *SUBNETS)
    sleeper(hosts["h1"], "one")
    sleeper(hosts["h2"], "two")
    until(lambda: reached(hosts["h1"], "one", "two"), "one reaches two")
    assert not reached(hosts["h1"], "one", "10.211.55.9")
    hosts.each(lambda member: member.remove_containers())
    hosts["h1"].docker("network", "rm", "city")
    for member in hosts:
        until(lambda member=member: "city" not in member.out("network", "ls"), f"{member.name} knows that it has gone")
    hosts.network("overlay", "city", "-o", "com.docker.network.bridge.enable_icc=false", *SUBNETS)
    sleeper(hosts["h1"], "one")
    sleeper(hosts["h2"], "two")
    until(lambda: len(rows(hosts["h1"])) == 4, "h1 knows of two")
    assert reached(hosts["h1"], "one", "10.211.55.9")
    for version in (4, 6):
        assert not reached(hosts["h1"], "one", "two", version)


HARM = (
    "ip link delete vx-4096",
    "ip link set vx-4096 down",
    "ip link set vx-4096 nomaster",
    "ip neigh flush nud permanent",
    "bridge fdb delete {mac} dev vx-4096 self",
    "bridge fdb delete {mac} dev vx-4096 master",
    "ip link delete {bridge}",
)


def test_what_another_program_takes_away_is_put_back(hosts: Cluster) -> None:
    network = hosts.network("overlay", "city", *SUBNETS)
    here = hosts["h1"]
    sleeper(here, "one")
    sleeper(hosts["h2"], "two")
    until(lambda: reached(here, "one", "two"), "one reaches two")
    before = rows(here)
    mac = next(iter(hosts["h2"].inspect("two")["NetworkSettings"]["Networks"].values()))["MacAddress"]
    for harm in HARM:
        here.host.run(harm.format(mac=mac, bridge=f"br-{network[:12]}").split())
        until(lambda: rows(here) == before and reached(here, "one", "two"), f"all is well after: {harm}")


def test_what_moves_while_a_daemon_is_away_is_found(hosts: Cluster) -> None:
    """On the host that has nobody to tell it, the old place is forgotten and the new one known once its daemon is back;
    and its containers went on all the while."""
    hosts.network("overlay", "city", *SUBNETS)
    sleeper(hosts["h1"], "one")
    sleeper(hosts["h2"], "stays")
    sleeper(hosts["h3"], "moves", "--ip", "10.92.0.77")
    until(lambda: all(reached(hosts["h1"], "one", other) for other in ("stays", "moves")), "one reaches both")
    kill_daemon(hosts["h1"])
    hosts["h3"].docker("rm", "-f", "moves")
    until(lambda: "moves" not in hosts["h2"].out("network", "inspect", "city"), "h2 knows that it has gone")
    sleeper(hosts["h2"], "moves", "--ip", "10.92.0.77")
    hosts["h1"].start(*hosts["h1"].flags)
    until(lambda: reached(hosts["h1"], "one", "10.92.0.77"), "one reaches it where it is")
    assert not any("10.211.55.6" in row for row in rows(hosts["h1"]))
    assert sum("10.211.55.5" in row for row in rows(hosts["h1"])) == 2


def test_many_come_and_go_at_once(hosts: Cluster) -> None:
    """On three hosts, also the first and the last ones there, and with addresses that others have or had: in the end
    every host knows where everybody is, and nobody else, and reaches them."""
    hosts.network("overlay", "city", *SUBNETS)

    def churn(member: Member, seed: int) -> list[str]:
        random, failed = Random(seed), []
        for number in range(5):
            name = f"c-{member.name}-{seed}-{number}"
            asked = ["--ip", f"10.92.0.{200 + random.randrange(4)}"] if random.random() < 0.5 else []
            options = ["-d", "--name", name, "--network", "city", *asked]
            done = member.docker("run", *options, "plain", "sleep", "1000", status=None)
            if done.status and "in use" not in done.err and "another host has the address" not in done.err:
                failed.append(f"{name}: {done.err}")
            if done.status or number < 4 or random.random() < 0.4:
                member.docker("rm", "-f", name, status=None)
        return failed

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        found = threads.map(lambda one: churn(*one), [(member, seed) for seed in (1, 2) for member in hosts])
        assert [failed for each in found for failed in each] == []
    mine = {member.name: member.out("ps", "--format", "{{.Names}}").split() for member in hosts}
    everybody = {name for names in mine.values() for name in names}
    for member in hosts:
        elsewhere = everybody - set(mine[member.name])
        wanted = 4 * len(elsewhere) if mine[member.name] else 0
        until(lambda member=member, wanted=wanted: len(rows(member)) == wanted, f"{wanted} rows on {member.name}")
        for name in mine[member.name][:1]:
            assert [other for other in elsewhere if not reached(member, name, other)] == []


def test_weave_carries_what_is_for_all(hosts: Cluster) -> None:
    """Without a mesh, too: the tunnels end at the hosts' own addresses. On overlay it stays on its host."""
    for driver, heard in (("weave", True), ("overlay", False)):
        hosts.network(driver, "city", *SUBNETS)
        sleeper(hosts["h1"], "one")
        sleeper(hosts["h2"], "two")
        until(lambda: reached(hosts["h1"], "one", "two"), "one reaches two")
        here, there = hosts["h1"].sandbox("one"), hosts["h2"].sandbox("two")
        assert heard_by_many(here, there, "224.1.2.3") == heard
        hosts.each(lambda member: member.remove_containers())
        hosts["h1"].docker("network", "rm", "city")
        for member in hosts:
            until(lambda member=member: "city" not in member.out("network", "ls"), f"{member.name} knows it has gone")
