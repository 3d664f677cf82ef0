"""Driver by driver: every source to every container on every host, by real connections, against `reaches`; and packets
of every size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from tests.cluster.place import ADDRESSES, OUTSIDE, Cluster, Member, until
from tests.cluster.probes import carries, full_datagram
from tests.cluster.reaches import HOSTS, SPOTS, Destination, Driver, Spot, reaches
from tests.cluster.switches import switches_of
from tests.ovs import THERE
from tests.product.dns_tools import addresses
from tests.truth.place import KIND, PUBLISHED, Probe, Servers, attempt

_SEGMENT = ("-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--gateway", OUTSIDE, "--ip-range", "10.211.55.64/26")
_MACVLAN = ("-o", "parent=eth0", "--scope", "global")


def _flannel(backend: str, vnis: tuple[str, str] = ("", "")) -> Driver:
    """Each network has its own keys in etcd, which outlive it."""

    def options(network: str, subnet: str, vni: str) -> tuple[str, ...]:
        words = [f"prefix=/truth/{backend}/{network}", f"backend={backend}", *([f"vni={vni}"] if vni else [])]
        return ("--subnet", subnet, *(word for text in words for word in ("-o", f"flannel.{text}")))

    city, town = options("city", "10.92.0.0/16", vnis[0]), options("town", "10.93.0.0/16", vnis[1])
    return Driver("flannel", city, town, from_own_host=True, from_any_host=True, publishes=True)


def _calico(encapsulation: str) -> Driver:
    city, town = (("--subnet", f"10.{number}.0.0/16", "-o", f"encapsulation={encapsulation}") for number in (92, 93))
    return Driver("calico", city, town, routes=True, publishes=True)


DRIVERS = {
    "flannel, vxlan": _flannel("vxlan", ("21", "22")),
    "flannel, host-gw": _flannel("host-gw"),
    "overlay": Driver(
        "overlay", ("--subnet", "10.92.0.0/24"), ("--subnet", "10.93.0.0/24"), from_own_host=True, publishes=True
    ),
    "ovs": Driver(
        "ovs", ("--subnet", "10.94.0.0/24"), ("--subnet", "10.95.0.0/24"), from_own_host=True, publishes=True
    ),
    "calico, vxlan": _calico("vxlan"),
    "calico, vxlan-cross-subnet": _calico("vxlan-cross-subnet"),
    "calico, never": _calico("never"),
    "macvlan": Driver("macvlan", (*_MACVLAN, "--subnet", "10.90.0.0/24"), (*_MACVLAN, "--subnet", "10.91.0.0/24")),
    "flat, bridge": Driver("flat", (*_SEGMENT, "-o", "mode=bridge"), flat=True, from_own_host=True),
    "flat, macvlan": Driver("flat", (*_SEGMENT, "-o", "mode=macvlan"), flat=True),
    "flat, routed": Driver("flat", (*_SEGMENT, "-o", "mode=routed"), flat=True, from_own_host=True),
}
FIRST_PORT = 8000
_JUDGED = 82  # where nobody was before: its connections may linger
_ONE_MAY_COME = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: one, namespace: city}
spec:
  selector: projectcalico.org/name == "city-h1"
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: projectcalico.org/name == "city-h2"}, destination: {ports: [82]}}
"""
SIZES = {"tcp": (1, 300_000), "udp": (1, 4_000, 20_000, 60_000)}


@pytest.fixture(params=DRIVERS)
def ground(request: pytest.FixtureRequest, hosts: Cluster) -> Iterator[tuple[Driver, Cluster]]:
    """The network `city` and another one, with a container of each on each host, and one on each host's bridge."""
    driver = DRIVERS[request.param]
    if driver.name != "ovs":
        yield from _filled(driver, hosts)
    elif not THERE:
        pytest.skip("ovs: there is no Open vSwitch: it is in Debian's package openvswitch-switch")
    else:
        with switches_of(hosts):
            yield from _filled(driver, hosts)


def _filled(driver: Driver, hosts: Cluster) -> Iterator[tuple[Driver, Cluster]]:
    made = hosts["h1"].docker("network", "create", "-d", driver.name, *driver.city, "city", status=None)
    if made.status and "lacks" in made.err:
        pytest.skip(f"{driver.name}: {made.err.strip()}")
    assert made.status == 0, made
    hosts.known("city")
    if driver.town:
        hosts.network(driver.name, "town", *driver.town)

    def fill(member: Member) -> None:
        port = ["-p", f"{FIRST_PORT}:{PUBLISHED}", "-p", f"{FIRST_PORT}:{PUBLISHED}/udp"] if driver.publishes else []
        networks = {"city": port, "bridge": []} | ({"town": []} if driver.town else {})
        for network, options in networks.items():
            name = f"{network}-{member.name}"
            member.run("--name", name, "--net", network, *options, "plain", "sleep", "1000")

    hosts.each(fill)
    for member in hosts:
        until(lambda member=member: _everybody(member), f"{member.name} knows every container")
    yield driver, hosts


def _everybody(member: Member) -> bool:
    _, network = member.request("GET", "/networks/city")
    return {one["Name"] for one in network["Containers"].values()} == {f"city-{host}" for host in HOSTS}


def test_across_hosts(ground: tuple[Driver, Cluster]) -> None:
    driver, hosts = ground
    _who_reaches_whom(driver, hosts)
    _packets_of_every_size_and_names(hosts)
    _policy_holds(driver, hosts)


def _who_reaches_whom(driver: Driver, hosts: Cluster) -> None:
    spaces = {spot: _space(hosts, spot) for spot in SPOTS if driver.town or spot.kind != "another network"}
    probes: dict[tuple[Spot, str, Destination, str], Probe] = {}
    for spot, space in spaces.items():
        for there in HOSTS:
            own = hosts[there].address(f"city-{there}")
            for destination in get_args(Destination):
                if destination == "published port" and not driver.publishes:
                    continue
                address, port = (own, PUBLISHED) if destination == "address" else (ADDRESSES[there], FIRST_PORT)
                for protocol in KIND:
                    probes[spot, there, destination, protocol] = Probe(space, address, port, protocol, there)
    wanted = [probe for (*row, _), probe in probes.items() if reaches(driver, *row)]
    with Servers() as running:
        for there in HOSTS:
            running.listen(hosts[there].sandbox(f"city-{there}"), there, (PUBLISHED,))
        found = attempt(probes.values(), wanted)
    wrong = [
        f"{spot} to the {destination} of {there}'s by {protocol}: {'' if probe in found else 'not '}reached"
        for (spot, there, destination, protocol), probe in probes.items()
        if (probe in found) != reaches(driver, spot, there, destination)
    ]
    assert not wrong, "\n".join(wrong)
    for (spot, there, destination, protocol), probe in probes.items():
        if spot.kind == "network" and destination == "address" and probe in found:
            own = hosts[spot.host].address(f"city-{spot.host}")
            assert found[probe] == own, f"{spot} is seen by {there}'s as {found[probe]}, by {protocol}"


def _policy_holds(driver: Driver, hosts: Cluster) -> None:
    """Of all that are there the policy lets one come to h1's, by TCP; made on a third host, gone by another's word."""
    names = [
        f"{network}-{host}" for network in (("city", "town") if driver.town else ("city",)) for host in ("h2", "h3")
    ]
    address, there = hosts["h1"].address("city-h1"), hosts["h1"].sandbox("city-h1")
    probes = {
        (name, protocol): Probe(hosts[name[-2:]].sandbox(name), address, _JUDGED, protocol, "h1")
        for name in names
        for protocol in KIND
    }
    before = {key for key in probes if key[0].startswith("city") or driver.routes}
    with Servers() as running:
        running.listen(there, "h1", (_JUDGED,))

        def reached(*wanted: tuple[str, str]) -> set[tuple[str, str]]:
            found = attempt(probes.values(), [probes[key] for key in wanted], quiet=0.3)
            return {key for key, probe in probes.items() if probe in found}

        assert reached(*before) == before
        hosts["h3"].linkspan("policy", "apply", "-f", "-", stdin=_ONE_MAY_COME)
        until(lambda: reached(("city-h2", "tcp")) == {("city-h2", "tcp")}, "one alone reaches h1's")
        hosts["h2"].linkspan("policy", "delete", "np", "city/one")
        until(lambda: reached(*before) == before, "all reach h1's again")


def _packets_of_every_size_and_names(hosts: Cluster) -> None:
    for here in HOSTS:
        for there in HOSTS:
            if here == there:
                continue
            one, other = hosts[here].sandbox(f"city-{here}"), hosts[there].sandbox(f"city-{there}")
            address = hosts[there].address(f"city-{there}")
            assert addresses(one, f"city-{there}") == [address]
            full = full_datagram(_mtu(hosts[here], f"city-{here}"), address)
            for protocol, sizes in SIZES.items():
                for size in (*sizes, *((full, full + 1) if protocol == "udp" else ())):
                    assert carries(one, other, address, protocol, size), (
                        f"{here} to {there}: {size} bytes by {protocol}"
                    )


def _mtu(member: Member, container: str) -> int:
    return int(member.out("exec", container, "cat", "/sys/class/net/eth0/mtu"))


def _space(hosts: Cluster, spot: Spot) -> str:
    match spot.kind:
        case "outside":
            return hosts.there
        case "host":
            return hosts[spot.host].here
        case "network":
            return hosts[spot.host].sandbox(f"city-{spot.host}")
        case "another network":
            return hosts[spot.host].sandbox(f"town-{spot.host}")
        case "bridge":
            return hosts[spot.host].sandbox(f"bridge-{spot.host}")
