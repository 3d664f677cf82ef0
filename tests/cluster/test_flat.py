"""The flat network on three hosts: one segment for everything, and addresses that follow their containers."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator

import pytest

from tests.cluster.place import OUTSIDE, Cluster, Member, kill_daemon, until
from tests.product.network import answers

LAN = ("-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--ip-range", "10.211.55.128/25")
WEB = ("web",)


def serve(member: Member, name: str, *options: str) -> str:
    """A web server on the network; its address."""
    member.run("--name", name, "--network", "lan", *options, *WEB)
    return member.address(name)


def reservations(member: Member) -> dict[str, tuple[str, str]]:
    found = json.loads(member.linkspan("network", "reservations", "--json", "lan").out)
    return {one["Identity"]: (one["IPv4Address"], one["State"]) for one in found}


@pytest.mark.parametrize("path", ["bridge", "macvlan", "routed"])
def test_one_segment_for_everything(hosts: Cluster, path: str) -> None:
    hosts.network("flat", "lan", *LAN, "-o", f"mode={path}")
    one, two = serve(hosts["h1"], "one"), serve(hosts["h2"], "two")
    assert one != two
    assert answers(hosts.there, one, 80) == answers(hosts.there, two, 80) == OUTSIDE
    assert answers(hosts["h1"].sandbox("one"), two, 80) == one
    assert answers(hosts["h2"].sandbox("two"), one, 80) == two
    until(lambda: hosts["h2"].docker("exec", "two", "wget", "-qO-", "http://one/", status=None).status == 0, "names")
    for member in hosts:
        bridges = [link["ifname"] for link in member.ip("link", "show", "type", "bridge") if link]
        used = path == "bridge" and member.name != "h3"  # where a container is
        assert ("fl-eth0" in bridges) == used


def test_an_interface_that_has_another_name_on_one_host(hosts: Cluster) -> None:
    with renamed(hosts["h2"], "eth0", "ens5"):
        hosts.network("flat", "lan", *LAN)
        one, two = serve(hosts["h1"], "one"), serve(hosts["h2"], "two")
        assert answers(hosts.there, two, 80) == OUTSIDE
        assert answers(hosts["h1"].sandbox("one"), two, 80) == one
        assert answers(hosts["h2"].sandbox("two"), one, 80) == two
        hosts["h2"].docker("rm", "-f", "two")
        hosts["h1"].docker("rm", "-f", "one")
        hosts["h1"].docker("network", "rm", "lan")
        until(lambda: not hosts["h2"].networks(), "it is gone everywhere")
        own = ("-o", "parent=ens5", *LAN[2:], "-o", "mode=routed")
        hosts["h2"].docker("network", "create", "-d", "flat", *own, "lan")
        until(lambda: hosts["h1"].networks(), "h1 knows of it")
        assert answers(hosts.there, serve(hosts["h1"], "one"), 80) == OUTSIDE
        assert answers(hosts.there, serve(hosts["h2"], "two"), 80) == OUTSIDE
        refused = hosts["h2"].docker("network", "create", "-d", "flat", *LAN, "wrong", status=1)
        assert "interface was not found on the host: eth0" in refused.err


@contextlib.contextmanager
def renamed(member: Member, name: str, here: str) -> Iterator[None]:
    """The member's interface has another name, which its daemon is told of."""

    def rename(old: str, new: str) -> None:
        kill_daemon(member)
        for command in (("set", old, "down"), ("set", old, "name", new), ("set", new, "up")):
            member.host.run(["ip", "link", *command])
        member.host.run(["ip", "route", "replace", "default", "via", OUTSIDE])

    flags = tuple(member.flags)
    rename(name, here)
    member.start(*flags, "--cluster-interface", f"{name}={here}")
    try:
        yield
    finally:
        for each in ("one", "two"):
            member.docker("rm", "-f", each, status=None)
        rename(here, name)
        member.start(*flags)


@pytest.mark.parametrize("path", ["bridge", "routed"])
def test_an_address_follows_its_name_to_another_host(hosts: Cluster, path: str) -> None:
    hosts.network("flat", "lan", *LAN, "-o", f"mode={path}")
    address = serve(hosts["h1"], "web")
    assert answers(hosts.there, address, 80) == OUTSIDE
    hosts["h1"].docker("rm", "-f", "web")
    until(lambda: reservations(hosts["h3"]).get("web") == (address, "resting"), "h3 knows that it rests")
    assert serve(hosts["h3"], "web") == address
    assert answers(hosts.there, address, 80) == OUTSIDE
    # While one has the name's address, another host's container of that name has one of its own.
    until(lambda: reservations(hosts["h1"]).get("web") == (address, "in use"), "h1 knows that it is used")
    assert serve(hosts["h1"], "web") != address
    assert set(reservations(hosts["h1"])) == {"web", "web#2"}


def test_a_daemon_that_dies_loses_no_address(hosts: Cluster) -> None:
    hosts.network("flat", "lan", *LAN)
    address = serve(hosts["h1"], "web", "--label", "a=b")
    hosts["h1"].docker("stop", "-t", "0", "web")
    kill_daemon(hosts["h1"])
    other = serve(hosts["h2"], "db")
    assert other != address
    hosts["h1"].start(*hosts["h1"].flags)
    hosts["h1"].docker("start", "web")
    assert hosts["h1"].address("web") == address
    assert answers(hosts["h2"].sandbox("db"), address, 80) == other


def test_a_container_moves_with_its_address(hosts: Cluster) -> None:
    h1, h2 = hosts["h1"], hosts["h2"]
    hosts.network("flat", "lan", *LAN, "-o", "rest=0")
    address = serve(h1, "web", "-e", "A=1", "--label", "of=mine", "--restart", "unless-stopped")
    assert "is running: stop it before it moves" in h1.linkspan("move", "web", "h2", status=1).err
    h1.docker("stop", "-t", "0", "web")
    before = h1.inspect("web")
    for target, says in (("nowhere", "no such host: nowhere"), ("h1", "no such host: h1")):
        assert says in h1.linkspan("move", "web", target, status=1).err
    h1.linkspan("move", "web", "h2")
    assert not h1.out("ps", "-aq", "-f", "name=web")
    after = h2.inspect("web")
    assert after["State"]["Status"] == "created"
    for part in ("Env", "Labels", "Cmd", "Image"):
        assert after["Config"][part] == before["Config"][part]
    assert after["HostConfig"]["RestartPolicy"] == before["HostConfig"]["RestartPolicy"]
    assert after["Config"]["Hostname"] == after["Id"][:12]
    other = serve(hosts["h3"], "other")
    assert other != address
    h2.docker("start", "web")
    assert h2.address("web") == address
    assert answers(hosts.there, address, 80) == OUTSIDE
    for member in hosts:
        until(lambda member=member: _journeys(member) == 0, f"{member.name} has forgotten the move")


def test_what_cannot_move_stays_as_it_is(hosts: Cluster) -> None:
    h1, h2 = hosts["h1"], hosts["h2"]
    hosts.network("flat", "lan", *LAN)
    h1.docker("network", "create", "own")
    h1.docker("create", "--name", "bound", "--network", "own", "-v", "data:/data", "-v", "/tmp:/host", "web")
    refused = h1.linkspan("move", "bound", "h2", status=1).err
    for why in ("its volume data (/data)", "its bind mount /tmp (/host)", "network own is this host's only"):
        assert why in refused
    h1.docker("create", "--name", "web", "--network", "lan", "web")
    h2.docker("create", "--name", "web", "--network", "lan", "web")
    for _ in range(2):  # and again: nothing is left of the first attempt
        refused = h1.linkspan("move", "web", "h2", status=1).err
        assert 'host h2: Conflict. The container name "/web" is already in use' in refused
    h1.docker("start", "web")
    rare = "127.0.0.1:1/only-here"  # of a registry that refuses at once
    h1.docker("tag", "web", rare)
    h1.docker("create", "--name", "rare", "--network", "lan", rare)
    refused = h1.linkspan("move", "rare", "h2", status=1).err
    assert "host h2: " in refused and "connection refused" in refused
    h1.docker("rmi", rare, status=None)
    assert h1.inspect("rare")["State"]["Status"] == "created"


def _journeys(member: Member) -> int:
    """Of moves in the daemon's records."""
    with sqlite3.connect(f"file:{member.data_root}/records.db?mode=ro", uri=True) as records:
        return int(records.execute("SELECT count(*) FROM record WHERE kind IN ('move', 'arrival')").fetchone()[0])


def test_the_address_of_the_host_moves_with_its_card(hosts: Cluster) -> None:
    """What other drivers build on it goes on."""
    h1, h3 = hosts["h1"], hosts["h3"]
    hosts.network("overlay", "city", "--subnet", "10.92.0.0/24")
    h1.run("--name", "one", "--network", "city", "plain", "sleep", "1000")
    h3.run("--name", "three", "--network", "city", "plain", "sleep", "1000")

    def reached() -> bool:
        return h1.docker("exec", "one", "ping", "-c1", "-W1", "three", status=None).status == 0

    until(reached, "one reaches three")
    hosts.network("flat", "lan", *LAN)
    serve(h1, "web")
    assert reached()
    for network in ("new", "newer"):  # the host is looked at anew
        h1.docker("network", "create", network)
        assert reached()
    h1.docker("rm", "-f", "web")
    assert reached()
