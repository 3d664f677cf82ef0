"""Hosts that do not hear each other for a while: what runs goes on, nothing is decided twice, and it heals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.place import Cluster, Member, until
from tests.cluster.probes import carries
from tests.cluster.test_flat import LAN, reservations, serve
from tests.product.network import Watch, ask

SUBNET = ("-o", "parent=eth0", "--subnet", "10.90.0.0/24", "--scope", "global")


def sleeper(member: Member, name: str, *options: str) -> str:
    """A container on the network `city`; its address."""
    member.run("--name", name, "--net", "city", *options, "plain", "sleep", "1000")
    return member.address(name)


def reached(hosts: Cluster, one: str, client: str, other: str, server: str) -> bool:
    """Whether a container of one host reaches another one's of another host, by its address."""
    here, there = hosts[one].sandbox(client), hosts[other].sandbox(server)
    return carries(here, there, hosts[other].address(server), "tcp", 100, within=1)


@contextmanager
def without_its_lease(hosts: Cluster, name: str) -> Iterator[None]:
    """What the others know of a host that has not been heard of for longer than its lease."""
    until(lambda: not hosts[name].usable(), f"{name} notices that it hears of nobody", 40)
    found = json.loads(hosts.etcd.ctl("get", f"/linkspan/v1/records/alive/{hosts[name].id}", "-w", "json"))
    for item in found.get("kvs", ()):
        hosts.etcd.ctl("lease", "revoke", f"{item['lease']:x}")
    yield


def test_a_host_in_the_minority_and_one_that_is_cut_off_from_etcd_alone(hosts: Cluster) -> None:
    """For longer than their leases. The first one, with its member of etcd, hears of nobody: it keeps what it has, and
    claims nothing new. The second one talks to the others as before, and so do its containers."""
    hosts.network("macvlan", "city", *SUBNET)
    two, three, one = hosts
    mine = sleeper(one, "mine")
    sleeper(one, "going")
    sleeper(two, "yours")
    hosts.network("flat", "lan", *LAN, "-o", "mode=macvlan")  # where who leaves keeps the address for a while
    left = serve(one, "web")
    three.run("--name", "server", "--net", "city", "web")
    server, client = three.address("server"), two.sandbox("yours")
    until(lambda: answers(client, server), "the server is up")
    assert reached(hosts, "h1", "yours", "h3", "mine")
    with Watch(client, server, 80) as talk:
        hosts.cut_off("h3")
        three.parted_from_etcd(True)
        with without_its_lease(hosts, "h3"), without_its_lease(hosts, "h2"):
            assert not reached(hosts, "h1", "yours", "h3", "mine")
            one.docker("run", "--rm", "plain", "true")  # on its own bridge
            macvlan = ("network", "create", "--scope", "global", "-d", "macvlan", "-o", "parent=eth0", "new")
            for refused in (
                one.docker("run", "-d", "--net", "city", "plain", "sleep", "1000", status=125),
                one.docker(*macvlan, status=1),
                three.docker(*macvlan, status=1),
            ):
                assert "the cluster's store cannot be used now" in refused.err
            one.docker("rm", "-f", "going", "web")
            one.docker("restart", "-t", "0", "mine")
            assert one.address("mine") == mine
            others = {sleeper(two, f"later{n}") for n in range(6)}
            assert len(others) == 6 and not others & {mine, server}
            assert reservations(two)["web"] == (left, "in use")
            made = two.out("network", "create", "-d", "bridge", "elsewhere")  # of its own: not the cluster's business
            assert one.request("GET", f"/networks/{made}")[0] == 404
        hosts.part()
        three.parted_from_etcd(False)
        for back in (one, three):
            until(back.usable, f"{back.name} is back", 40)
        until(lambda: "later5" in three.out("network", "inspect", "city"), "h2 knows what came meanwhile")
    assert talk.answered and not talk.failures
    until(lambda: reached(hosts, "h1", "yours", "h3", "mine"), "its container is reached again")
    until(lambda: "going" not in two.out("network", "inspect", "city"), "what h3 has removed is known")
    until(lambda: reservations(two)["web"] == (left, "resting"), "and that its address rests", 30)
    assert sleeper(one, "again") not in {mine, server, *others}


def answers(space: str, address: str) -> bool:
    try:
        return bool(ask(space, address, 80))
    except OSError:
        return False


def test_a_cable_pulled_and_plugged_in_again(hosts: Cluster) -> None:
    hosts.network("macvlan", "city", *SUBNET)
    two, _, one = hosts
    sleeper(one, "mine")
    sleeper(two, "yours")
    hosts.cable("h3", plugged=False)
    assert not reached(hosts, "h1", "yours", "h3", "mine")
    hosts.cable("h3", plugged=True)
    until(lambda: reached(hosts, "h1", "yours", "h3", "mine"), "it is reached again")
    until(lambda: one.usable(), "h3 hears of the others", 40)
    sleeper(one, "more")


def test_an_interface_down_and_up(hosts: Cluster) -> None:
    hosts.network("macvlan", "city", *SUBNET)
    two, _, one = hosts
    sleeper(one, "mine")
    sleeper(two, "yours")
    routes = one.host.run(["ip", "route", "show", "default"]).stdout.split()
    one.host.run(["ip", "link", "set", "eth0", "down"])
    assert not reached(hosts, "h1", "yours", "h3", "mine")
    one.host.run(["ip", "link", "set", "eth0", "up"])
    one.host.run(["ip", "route", "replace", *routes])  # the kernel has dropped it: the administrator's own
    until(lambda: reached(hosts, "h1", "yours", "h3", "mine"), "it is reached again")
    until(lambda: one.usable(), "h3 hears of the others", 40)
    sleeper(one, "more")


def test_a_host_that_dies_and_comes_back_with_its_disk(hosts: Cluster) -> None:
    """Its containers start again with the addresses they had, which nobody was given meanwhile."""
    hosts.network("macvlan", "city", *SUBNET)
    two, three, one = hosts
    mine = sleeper(one, "mine", "--restart", "always")
    sleeper(one, "once")
    sleeper(two, "yours")
    hosts.kill_host("h3")
    others = {sleeper(member, f"later{n}") for n in range(5) for member in (two, three)}
    assert len(others) == 10 and mine not in others
    hosts.replace_host("h3", disk=True)
    until(lambda: one.inspect("mine")["State"]["Running"], "it runs again")
    assert one.address("mine") == mine
    until(lambda: reached(hosts, "h1", "yours", "h3", "mine"), "and is reached")
    assert not one.inspect("once")["State"]["Running"]
    until(lambda: "once" not in two.out("network", "inspect", "city"), "what did not come back is known")
