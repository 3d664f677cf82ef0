"""The flat network on three hosts: one segment for everything, and addresses that follow their containers."""

from __future__ import annotations

import json

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
