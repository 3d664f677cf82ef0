"""All daemons are restarted, one host after the other, and nobody on any network notices."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from tests.cluster.place import Cluster, Member, until
from tests.cluster.probes import carries
from tests.cluster.switches import switches_of
from tests.ovs import THERE as OVS
from tests.traffic import PORT, Traffic, Way

# Each has numbers, subnets and an interface for itself, so that all are there at once. The flat network takes the card
# that what the others send each other goes by.
SIX = ("--ipv6", "--subnet")
NETWORKS: dict[str, tuple[str, ...]] = {
    "overlay": ("overlay", "--subnet", "10.101.0.0/24", *SIX, "fd00:101::/64"),
    "weave": ("weave", "--subnet", "10.102.0.0/24", *SIX, "fd00:102::/64"),
    "ovs": ("ovs", "--subnet", "10.103.0.0/24"),
    "flannel, vxlan": ("flannel", "--subnet", "10.104.0.0/16", "-o", "flannel.vni=9"),
    "flannel, host-gw": ("flannel", "--subnet", "10.105.0.0/16", "-o", "flannel.backend=host-gw"),
    "flannel, udp": ("flannel", "--subnet", "10.106.0.0/16", "-o", "flannel.backend=udp"),
    "calico, vxlan": ("calico", "--subnet", "10.107.0.0/16", *SIX, "fd00:107::/64"),
    "calico, never": ("calico", "--subnet", "10.108.0.0/16", "-o", "encapsulation=never"),
    "macvlan": ("macvlan", "--subnet", "10.109.0.0/24", *SIX, "fd00:109::/64", "-o", "parent=eth1", "--scope=global"),
    "flat, routed": ("flat", "--subnet", "10.212.55.0/24", "-o", "parent=eth1", "-o", "mode=routed"),
    "flat, bridge": ("flat", "--subnet", "10.211.55.0/24", "-o", "parent=eth0", "--ip-range", "10.211.55.128/25"),
}
SIXTH = ("overlay", "weave", "calico, vxlan", "macvlan")
# Where a process carries the packets, one may wait for its turn on a busy machine until TCP sends it once more.
BY_PROCESSES = ("ovs", "flannel, udp")
PUBLISHED = 8090


def name_of(network: str) -> str:
    return network.replace(", ", "-")


@pytest.fixture
def ways(hosts: Cluster) -> Iterator[list[Way]]:
    """On each network a container that asks and one that answers, on two hosts; by IPv6 too, by a published port, and
    by name."""
    networks = {name: options for name, options in NETWORKS.items() if name != "ovs" or OVS}
    second = {member.name: f"10.212.55.{member.at.rpartition('.')[2]}/24" for member in hosts}
    with contextlib.ExitStack() as stack:
        stack.enter_context(hosts.fabric.segment("eth1", second))
        stack.callback(hosts.clear)
        if OVS:
            stack.enter_context(switches_of(hosts))
        members = list(hosts)
        placed = {name: (members[n % 3], members[(n + 1) % 3]) for n, name in enumerate(networks)}
        for name, options in networks.items():
            prefix = ("-o", f"flannel.prefix=/roll/{name_of(name)}") if options[0] == "flannel" else ()
            placed[name][0].docker("network", "create", "-d", *options, *prefix, name_of(name))
        for name in networks:
            hosts.known(name_of(name))

        def fill(member: Member) -> None:
            for name, (server, client) in placed.items():
                port = ("-p", f"{PUBLISHED}:{PORT}") if name == "overlay" else ()
                for kind in [kind for kind, place in (("server", server), ("client", client)) if place is member]:
                    options = port if kind == "server" else ()
                    named = ("--name", f"{kind}-{name_of(name)}", "--net", name_of(name))
                    member.run(*named, *options, "plain", "sleep", "1000")

        hosts.each(fill)
        yield [way for name in networks for way in leading(hosts, name, *placed[name])]


def leading(hosts: Cluster, name: str, server: Member, client: Member) -> Iterator[Way]:
    """Those of one network, once they lead there."""
    there, here = server.sandbox(f"server-{name_of(name)}"), client.sandbox(f"client-{name_of(name)}")
    (settings,) = server.inspect(f"server-{name_of(name)}")["NetworkSettings"]["Networks"].values()
    for key in ("IPAddress", *(["GlobalIPv6Address"] if name in SIXTH else [])):
        address = settings[key]
        until(lambda address=address: carries(here, there, address, "tcp", 100, within=1), f"{name}: {address}")
        yield Way(f"{name}, {address}", here, there, address)
    if name == "overlay":
        yield Way(f"{name}, by name", here, there, settings["IPAddress"], host=f"server-{name}")
        yield Way(f"{name}, from outside by its port", hosts.there, there, server.at, port=PUBLISHED)


def test_a_rolling_restart_of_all_daemons_fails_no_request(hosts: Cluster, ways: list[Way]) -> None:
    """They end as they should, and then all are killed. What goes with one is the socket that holds a port."""
    with Traffic(ways) as traffic:
        traffic.go_on()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for member in hosts:
                member.end(number)
                traffic.go_on()
                member.start(*member.flags)
                until(member.usable, f"{member.name} can use the store")
                traffic.go_on()
                published = "server-overlay" in member.out("ps", "--format", "{{.Names}}")
                assert looked_over(member) == f"the kernel is as the records say ({int(published)} steps)"
    assert not traffic.failures
    lost = {name: report for name, report in traffic.reports.items() if report.repeated}
    assert not [name for name in lost if not name.startswith(BY_PROCESSES)], lost
    assert all(report.answered > 100 for report in traffic.reports.values())


def looked_over(member: Member) -> str:
    """What the daemon found at its start."""
    return [line for line in member.log.read_text().splitlines() if "as the records say" in line][-1].split(" ", 1)[1]
