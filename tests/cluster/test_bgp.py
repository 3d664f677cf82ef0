"""Routes between the hosts by BGP: calico networks without tunnels, with a BIRD on every host."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo.hosts import DYING_WITH_US, Host

from tests.cluster.place import ADDRESSES, Cluster, Member, until
from tests.cluster.test_calico import serve
from tests.product.engine import space
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


RACK = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec:
  communities: [{name: ours, value: "64512:93"}]
  prefixAdvertisements: [{cidr: 10.93.0.0/16, communities: [ours]}]
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: rack}
spec:
  peerIP: 10.211.55.9
  asNumber: 65001
  nodeSelector: kubernetes.io/hostname in {"h1", "h2"}
"""
FRR = """
router bgp 65001
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 10.211.55.4 remote-as 64512
 neighbor 10.211.55.5 remote-as 64512
 neighbor 10.211.55.4 timers connect 1
 neighbor 10.211.55.5 timers connect 1
 address-family ipv4 unicast
  network 192.0.2.0/24
"""


@pytest.fixture
def behind(hosts: Cluster) -> Iterator[Host]:
    """A machine behind the machine outside, which is a router with FRR."""
    outside, folder = hosts.outside, Path(tempfile.mkdtemp(prefix="frr"))
    machine = Host("behind")
    running = []
    try:
        shutil.chown(folder, "frr", "frr")  # whom they become
        enter = ["nsenter", f"--target={outside.pid}", "--net", "--"]
        pair = ["ip", "link", "add", "down0", "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid)]
        subprocess.run([*enter, *pair], check=True)
        for command in ("ip address add 192.0.2.1/24 dev down0", "ip link set down0 up"):
            outside.run(command.split())
        outside.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        for command in (
            "ip address add 192.0.2.10/24 dev eth0",
            "ip link set eth0 up",
            "ip route add default via 192.0.2.1",
        ):
            machine.run(command.split())
        (folder / "bgpd.conf").write_text(FRR)
        (folder / "zebra.conf").touch()
        for program in ("zebra", "bgpd"):
            places = ["-i", f"{folder}/{program}.pid", "-z", f"{folder}/zserv", "--vty_socket", str(folder)]
            command = [f"/usr/lib/frr/{program}", "-A", "127.0.0.1", "-P", "0", "-f", f"{folder}/{program}.conf"]
            running.append(outside.start([*DYING_WITH_US, *command, *places], log=folder / f"{program}.log"))
            until((folder / f"{program}.vty").exists, f"{program} listens")
        yield machine
    finally:
        outside.run(["pkill", "-x", "zebra|bgpd"], check=False)  # of that machine's processes
        for process in running:
            process.wait(10)
        machine.end()
        outside.run(["ip", "link", "delete", "down0"], check=False)
        shutil.rmtree(folder)


@pytest.mark.skipif(not Path("/usr/lib/frr/bgpd").exists(), reason="no FRR: make test installs it")
def test_a_machine_behind_a_router_reaches_every_container(hosts: Cluster, behind: Host) -> None:
    hosts.network("calico", "city", *SUBNETS)
    h1, h2, h3 = hosts
    addresses = [serve(member, f"c-{member.name}") for member in hosts]
    (h1.folder / "rack.yaml").write_text(RACK)
    h1.linkspan("policy", "apply", "-f", str(h1.folder / "rack.yaml"))
    for member in (h1, h2):
        until(lambda member=member: "rack" in peers(member), f"{member.name} has the router for a peer", 20)
        until(lambda member=member: "192.0.2.0/24" in learned(member), f"{member.name} knows the way back")
    # The router has them from h1 and h2 alone; h3's is not theirs to say.
    router = hosts.outside.run
    until(lambda: router(["ip", "route", "show", "proto", "bgp"]).stdout.count("10.93.") == 2, "it knows their blocks")
    for member, address in zip((h1, h2), addresses, strict=False):
        assert answers(space(behind), address, 80) == "192.0.2.10"
        # BIRD dies meanwhile: nobody notices.
        for pid in birds(member):
            member.host.run(["kill", "-9", str(pid)])
        assert answers(space(behind), address, 80) == "192.0.2.10"
    assert [one["Peer"] for one in bgp(h3)["Sessions"]] == ["host h1", "host h2"]
    h1.linkspan("policy", "apply", "-f", "-", stdin=RACK.replace('in {"h1", "h2"}', 'in {"h3"}'))
    until(lambda: bool(birds(h1)) and "rack" not in [one["Peer"] for one in bgp(h1)["Sessions"]], "h1 is no more")
    h1.linkspan("policy", "delete", "-f", str(h1.folder / "rack.yaml"))
    until(lambda: "192.0.2.0/24" not in learned(h2), "nor is h2", 20)  # BIRD has just been started again
