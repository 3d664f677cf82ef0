"""ovs networks on three hosts with a switch each, by the docker command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.place import Cluster, Member, kill_daemon, until
from tests.cluster.probes import carries, full_datagram
from tests.cluster.switches import switches_of
from tests.ovs import OpenVSwitch, needs_ovs
from tests.product.network import answers, silent

pytestmark = needs_ovs

MTU = {"gre": 1454, "vxlan": 1446}


@pytest.fixture
def switches(hosts: Cluster) -> Iterator[dict[str, OpenVSwitch]]:
    with switches_of(hosts) as made:
        yield made


def network(hosts: Cluster, *options: str) -> Any:
    made = hosts.network("ovs", "net", *options)
    return json.loads(hosts["h1"].out("network", "inspect", made))[0]


def container(member: Member, name: str = "", *options: str) -> str:
    """Its address."""
    name = name or f"c-{member.name}"
    member.run("--name", name, "--network", "net", *options, "web")
    return member.address(name)


@pytest.mark.parametrize("tunnel", ["gre", "vxlan"])
def test_containers_of_all_hosts_reach_each_other(
    hosts: Cluster, switches: dict[str, OpenVSwitch], tunnel: str
) -> None:
    made = network(hosts, "-o", f"tunnel={tunnel}")
    assert made["Scope"] == "global"
    addresses = {member.name: container(member) for member in hosts}
    for one, other in itertools.permutations(hosts, 2):
        until(
            lambda one=one, other=other: (
                one.docker("exec", f"c-{one.name}", "ping", "-c1", "-W1", f"c-{other.name}", status=None).status == 0
            ),
            f"{one.name} reaches {other.name} by name",
        )
    for one, other in itertools.permutations(hosts, 2):
        here, there = one.sandbox(f"c-{one.name}"), other.sandbox(f"c-{other.name}")
        address = addresses[other.name]
        for size in (1, full_datagram(MTU[tunnel], address), 9000):
            assert carries(here, there, address, "udp", size), (one.name, other.name, size)
        assert carries(here, there, address, "tcp", 500_000), (one.name, other.name)


def test_the_way_out_and_the_way_in(hosts: Cluster, switches: dict[str, OpenVSwitch]) -> None:
    network(hosts)
    one, two = hosts["h1"], hosts["h2"]
    container(one, "web", "-p", "8080:80")
    container(two)
    assert answers(hosts.there, one.at, 8080) == "10.211.55.9"
    assert answers(one.here, "127.0.0.1", 8080)
    assert silent(hosts.there, two.at, 8080)
    two.docker("exec", "c-h2", "ping", "-c1", "-W2", "10.211.55.9")  # over its own host, masqueraded
    assert one.ip("route", "show", "dev", "eth0") and one.at in json.dumps(one.ip("address", "show", "eth0"))


def test_vlans(hosts: Cluster, switches: dict[str, OpenVSwitch]) -> None:
    network(hosts, "-o", "vlan=10")
    one, two = hosts["h1"], hosts["h2"]
    addresses = {member.name: container(member) for member in hosts}
    # Docker 20.10 knows no driver-opt of a container's network: connected later it has one.
    two.newest("network", "create", "spare")
    two.run("--name", "apart", "--network", "spare", "web")
    two.newest("network", "connect", "--driver-opt", "vlan=20", "net", "apart")
    here, apart = one.sandbox("c-h1"), two.sandbox("apart")
    assert carries(here, two.sandbox("c-h2"), addresses["h2"], "udp", 1000)
    settings = two.inspect("apart")["NetworkSettings"]["Networks"]["net"]
    assert not carries(here, apart, settings["IPAddress"], "udp", 10, within=1)
    tags = {row["name"]: row["tag"] for row in switches["h2"].table("Port")}
    assert sorted(tag for name, tag in tags.items() if name.startswith("veth")) == [10, 20]


def test_a_daemon_and_a_switch_that_are_killed(hosts: Cluster, switches: dict[str, OpenVSwitch]) -> None:
    network(hosts)
    one, two, three = hosts
    address = container(one)
    container(two)
    here, there = two.sandbox("c-h2"), one.sandbox("c-h1")
    assert carries(here, there, address, "tcp", 100_000)
    kill_daemon(one)
    assert carries(here, there, address, "tcp", 100_000)
    one.start(*one.flags)
    assert carries(here, there, address, "tcp", 100_000)
    switches["h1"].end_switch(9)
    switches["h1"].start_switch()
    until(lambda: carries(here, there, address, "tcp", 1000, within=0.5), "the switch is put right")
    # Somebody new on a host whose switch does not run: refused, and nothing of it is left.
    switches["h3"].end_switch(9)
    refused = three.docker("run", "-d", "--name", "c-h3", "--network", "net", "web", status=None)
    assert refused.status and "ovs-vswitchd does not run: install openvswitch-switch and start it" in refused.err
    three.docker("rm", "-f", "c-h3")
    switches["h3"].start_switch()
    until(lambda: not three.docker("run", "--rm", "--network", "net", "web", "true", status=None).status, "it runs")


def test_tunnels_follow_the_hosts_address(hosts: Cluster, switches: dict[str, OpenVSwitch]) -> None:
    """A flat network's bridge takes it over, and gives it back."""
    network(hosts)
    one, two = hosts["h1"], hosts["h2"]
    container(one)
    address = container(two)
    here, there = one.sandbox("c-h1"), two.sandbox("c-h2")
    until(lambda: carries(here, there, address, "tcp", 1000, within=1), "the way is there")
    segment = ("--subnet", "10.211.55.0/24", "--gateway", "10.211.55.9", "--ip-range", "10.211.55.64/26")
    hosts.network("flat", "segment", "-o", "parent=eth0", "-o", "mode=bridge", *segment)
    one.run("--name", "flat", "--network", "segment", "web")
    until(lambda: carries(here, there, address, "tcp", 1000, within=1), "the way is there again, over the bridge")
    ports = switches["h1"].vsctl("list-ports", "ovs-uplink").split()
    assert ports != ["eth0"] and len(ports) == 1
    one.docker("rm", "-f", "flat")
    until(lambda: carries(here, there, address, "tcp", 1000, within=1), "the way is there again, over the card")
    assert switches["h1"].vsctl("list-ports", "ovs-uplink").split() == ["eth0"]


def test_a_host_without_open_vswitch(hosts: Cluster) -> None:
    refused = hosts["h1"].docker("network", "create", "-d", "ovs", "net", status=1)
    assert "Open vSwitch does not run on this host: nothing answers at unix:" in refused.err
    assert "install openvswitch-switch and start it, or say with --ovs-db where its database is" in refused.err
