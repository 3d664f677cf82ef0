"""A mesh of real hosts, from the first one on: joining, coming back, being taken out, and what is left of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.cluster.probes import carries
from tests.mesh.place import FLAGS, Mesh, mesh, restart, same, until


def store_of(hosts: Mesh, number: int) -> int:
    """The process id of a host's member of the store; 0 where none runs."""
    mark = f"LINKSPAN_SUPERVISED={hosts[number].data_root}/mesh/etcd/etcd ".encode()
    for folder in Path("/proc").iterdir():
        try:
            found = mark in (folder / "environ").read_bytes()
        except OSError:
            continue
        if found:
            return int(folder.name)
    return 0


def test_three_hosts(new_folder: Callable[[], Path]) -> None:
    with mesh(new_folder(), 4) as hosts:
        hosts.begin()
        hosts.join(2)
        hosts.join(3, at=2)  # any host of the mesh lets others in
        assert hosts.voters(3) == ["h1"]
        containers_reach_each_other(hosts)
        same(lambda: hosts.voters(3), ["h1", "h2", "h3"], "three have a vote")
        what_stands_in_the_way(hosts)
        both_sides_of_a_parted_net_go_on(hosts)
        a_daemon_comes_back(hosts)
        the_store_is_killed(hosts)
        a_host_is_lost(hosts)
        all_start_at_once(hosts)
        most_of_the_members_are_gone_for_good(hosts)


def containers_reach_each_other(hosts: Mesh) -> None:
    for number in (1, 2, 3):
        hosts[number].import_images()
    made = hosts[1].out("network", "create", "-d", "weave", "city")
    for number in (2, 3):
        until(lambda n=number: hosts[n].request("GET", f"/networks/{made}")[0] == 200, "the network is there")
    hosts[3].run("--name", "third", "--net", "city", "plain", "sleep", "1000")
    hosts[1].run("--name", "server", "--net", "city", "--restart", "always", "plain", "sleep", "1000")
    hosts[2].run("--name", "client", "--net", "city", "--restart", "always", "plain", "sleep", "1000")
    until(lambda: reach(hosts), "they reach each other")


def reach(hosts: Mesh) -> bool:
    here, there = hosts[2].sandbox("client"), hosts[1].sandbox("server")
    return carries(here, there, hosts[1].address("server"), "tcp", 100, within=1)


def what_stands_in_the_way(hosts: Mesh) -> None:
    """Nothing is left of an attempt."""
    token = hosts[1].linkspan("mesh", "token").out.strip()
    wrong = token[:-20] + "a" * 20
    refused = hosts[4].refuses(*FLAGS, "--join", hosts[1].at, "--token", wrong)
    assert "it is not whole, or something in it was changed" in refused
    hosts[4].host.run(["hostname", "h2"])
    refused = hosts[4].refuses(*FLAGS, "--join", f"{hosts[3].at}:6783", "--token", token)
    assert "the name h2 is another host's of the mesh, at 10.211.55.2" in refused
    hosts[4].host.run(["hostname", "h4"])
    rotated = hosts[2].linkspan("mesh", "token", "rotate", "--expires", "24h").out.strip()
    assert rotated != token == token.lower() and rotated == hosts[3].linkspan("mesh", "token").out.strip()
    refused = hosts[4].refuses(*FLAGS, "--join", hosts[1].at, "--token", token)
    assert "refuses the token: it is not, or no more, the mesh's" in refused
    assert "wanted to join with a wrong token" in hosts[1].log.read_text()
    assert not (hosts[4].data_root / "mesh").exists()


def both_sides_of_a_parted_net_go_on(hosts: Mesh) -> None:
    """What is made on either side has addresses of its own, and is known to all when they meet again."""
    until(lambda: hosts[3].request("GET", "/cluster")[1]["Held"], "h3 has a block of addresses that is its alone")
    hosts.fabric.part(("h1", "h3"), ("h2", "h3"))
    for number, name in ((3, "alone"), (1, "b0"), (1, "b1")):
        hosts[number].run("--name", name, "--net", "city", "plain", "sleep", "1000")
    refused = hosts[3].docker("network", "create", "-d", "weave", "new", status=1)
    assert "the cluster's store cannot be used now" in refused.err or "etcd does not answer" in refused.err
    hosts.fabric.part()
    until(hosts[3].usable, "they meet again")
    made = {name: hosts[1 if name[0] == "b" else 3].address(name) for name in ("alone", "b0", "b1", "third")}
    assert len(set(made.values())) == 4
    until(lambda: made["alone"] in hosts[2].out("network", "inspect", "city"), "what was made is known")
    here, there = hosts[1].sandbox("b1"), hosts[3].sandbox("alone")
    until(lambda: carries(here, there, made["alone"], "tcp", 100, within=1), "and reached")


def a_daemon_comes_back(hosts: Mesh) -> None:
    before = store_of(hosts, 1)
    restart(hosts[1], signal.SIGKILL)
    until(hosts[1].usable, "it is back")
    assert store_of(hosts, 1) == before and reach(hosts)


def the_store_is_killed(hosts: Mesh) -> None:
    for number in (1, 2, 3):
        before = store_of(hosts, number)
        os.kill(before, signal.SIGKILL)
    until(lambda: all(store_of(hosts, n) for n in (1, 2, 3)) and hosts[1].usable(), "all three run again")
    until(lambda: not hosts[2].docker("network", "create", "-d", "overlay", "m", status=None).status, "it can be used")


def all_start_at_once(hosts: Mesh) -> None:
    """As after a power cut: without a token, and without anybody who is there already."""
    for number in (1, 2, 4):
        hosts.kill(number)
    for number in (1, 2, 4):
        hosts.plug(number)
    hosts.each((1, 2, 4), lambda member: member.start(*FLAGS))
    for number in (1, 2, 4):
        until(hosts[number].usable, f"h{number} can use the store")
    until(lambda: reach(hosts), "their containers reach each other again")


def most_of_the_members_are_gone_for_good(hosts: Mesh) -> None:
    refused = hosts[2].linkspan("mesh", "recover", status=1)
    assert "the store answers: there is nothing to recover" in refused.err
    for number in (1, 4):
        hosts.kill(number)
    hosts[2].linkspan("mesh", "recover")
    hosts[2].linkspan("mesh", "forget", "--force", "h1", "h4")
    assert hosts.voters(2) == ["h2"] and "city" in hosts[2].out("network", "ls")
    hosts[2].run("--net", "city", "plain", "sleep", "1000")


def a_host_is_lost(hosts: Mesh) -> None:
    token = hosts[2].linkspan("mesh", "token").out.strip()
    refused = hosts[2].linkspan("mesh", "forget", "h3", status=1)
    assert "host h3 answers: stop its linkspand first, or use --force" in refused.err
    assert "linkspan mesh forget" in hosts[2].linkspan("host", "rm", "--force", "h3", status=1).err
    hosts[2].linkspan("mesh", "forget", "--force", "h3")
    assert hosts[1].linkspan("mesh", "token").out.strip() != token
    assert {host["Name"] for host in hosts[1].request("GET", "/hosts")[1]} == {"h1", "h2"}
    hosts.join(4, at=2)
    same(lambda: hosts.voters(4), ["h1", "h2", "h4"], "another host has the vote")
    until(lambda: not hosts[3].usable(), "who was taken out does not reach the store")
    hosts[3].end()
    hosts[3].start()
    assert not store_of(hosts, 3) and hosts[3].request("GET", "/mesh/token")[0] == 409
