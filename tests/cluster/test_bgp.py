"""Routes between the hosts by BGP: calico networks without tunnels, with a BIRD on every host."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.place import ADDRESSES, Cluster, Member, until
from tests.cluster.test_calico import serve
from tests.product.network import answers

SUBNETS = ("-o", "encapsulation=never", "--subnet", "10.93.0.0/16")


def bgp(member: Member) -> Any:
    return json.loads(member.linkspan("bgp", "status", "--json").out)


def peers(member: Member) -> list[str]:
    """Those with whom there is a session."""
    return [one["Peer"] for one in bgp(member)["Sessions"] if one["State"] == "Established"]


def learned(member: Member) -> dict[str, str]:
    """BIRD's routes: where to, and by whom."""
    return {r["dst"]: r["gateway"] for r in member.ip("route", "show", "proto", "bird")}


def birds(member: Member) -> list[int]:
    """Process ids of the host's BIRD."""
    said = member.host.run(["pgrep", "-x", "bird"], check=False).stdout.split()
    return [int(pid) for pid in said]


def test_routes_come_by_bgp_and_go_with_the_network(hosts: Cluster) -> None:
    h1, h2, h3 = hosts
    assert bgp(h1)["Wanted"] is False and not birds(h1)
    hosts.network("calico", "city", *SUBNETS)
    one, two = serve(h1, "one"), serve(h2, "two")
    until(lambda: len(learned(h1)) == 1 and len(learned(h2)) == 1, "h1 and h2 know each other's blocks")
    assert answers(h1.sandbox("one"), two, 80) == one
    assert answers(h2.sandbox("two"), one, 80) == two
    until(lambda: len(learned(h3)) == 2, "h3 knows both")
    assert answers(h3.here, one, 80) == ADDRESSES["h3"]
    assert sorted(learned(h3).values()) == [ADDRESSES["h1"], ADDRESSES["h2"]]
    assert sorted(peers(h3)) == ["host h1", "host h2"]
    said = h1.linkspan("bgp", "status").out
    assert "AS 64512" in said and "host h3" in said and "10.93." in said
    # What another program takes away BIRD puts back.
    for destination in learned(h1):
        h1.host.run(["ip", "route", "delete", destination])
    until(lambda: len(learned(h1)) == 1, "it is there again")
    for member in (h1, h2):
        member.remove_containers()
    h1.docker("network", "rm", "city")
    for member in hosts:
        until(lambda member=member: not birds(member) and not learned(member), f"nothing is left on {member.name}")
