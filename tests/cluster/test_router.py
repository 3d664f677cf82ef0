"""Hosts in two subnets with a router between them: plainly within a subnet, in a tunnel to the other one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from demo.etcd import Members, place
from demo.hosts import Host

from tests.cluster.conftest import undisturbed
from tests.cluster.ear import Ear
from tests.cluster.place import Cluster, Member, until
from tests.cluster.probes import carries, full_datagram
from tests.cluster.test_calico import address6, reached, routes, serve
from tests.product.network import answers

NEAR, MIDDLE, FAR = "10.211.55.4", "10.211.55.5", "10.212.0.6"
_GATEWAY = "10.212.0.1"


class Parted(Cluster):
    """The third host is in a subnet of its own, behind the machine outside, which is everybody's router."""

    addresses: ClassVar = {"h1": NEAR, "h2": MIDDLE, "h3": FAR}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.etcd = Members([place(self["h1"].host, NEAR)], folder / "etcd")

    def _plugged(self, name: str, address: str) -> Host:
        if address != FAR:
            return super()._plugged(name, address)
        host = Host(name)
        self.fabric.hosts.append(host)  # it ends with the others
        enter = ["nsenter", f"--target={self.outside.pid}", "--net", "--"]
        pair = ["ip", "link", "add", "down0", "type", "veth", "peer", "name", "eth0", "netns", str(host.pid)]
        subprocess.run([*enter, *pair], check=True)
        for command in (f"ip address add {_GATEWAY}/24 dev down0", "ip link set down0 up"):
            self.outside.run(command.split())
        self.outside.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        host.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"])
        host.run(["ip", "link", "set", "eth0", "up"])
        host.run(["ip", "route", "add", "default", "via", _GATEWAY])
        return host

    def cable(self, name: str, *, plugged: bool) -> None:
        if name == "h3":
            self.outside.run(["ip", "link", "set", "down0", "up" if plugged else "down"])
        else:
            super().cable(name, plugged=plugged)


@pytest.fixture(scope="module")
def module_cluster(new_folder: Callable[[], Path]) -> Iterator[Parted]:
    made = Parted(new_folder())
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def parted(module_cluster: Parted) -> Iterator[Cluster]:
    yield from undisturbed(module_cluster)


def _every_size(one: str, other: str, addresses: tuple[str, str], mtu: int) -> None:
    """Both ways: by TCP, and by UDP in one packet, as large as it may be, and in several."""
    for here, there, address in ((one, other, addresses[1]), (other, one, addresses[0])):
        until(lambda h=here, t=there, a=address: carries(h, t, a, "tcp", 100, within=1), f"{address} is reached")
        assert carries(here, there, address, "tcp", 300_000)
        for size in (full_datagram(mtu, address), 20_000):
            assert carries(here, there, address, "udp", size), (address, size)


def test_calico_goes_in_tunnels_to_the_other_subnet_alone(parted: Cluster) -> None:
    subnets = ("--subnet", "10.92.0.0/16", "--ipv6", "--subnet", "fd00:92::/64")
    parted.network("calico", "city", "-o", "encapsulation=vxlan-cross-subnet", *subnets)
    h1, h2, h3 = parted
    one, two, three = serve(h1, "one"), serve(h2, "two"), serve(h3, "three")
    spaces = {name: member.sandbox(name) for name, member in (("one", h1), ("two", h2), ("three", h3))}
    until(lambda: len(routes(h1)) == 8, "h1 has a way to everybody")
    assert _ways(h1) == {("eth0", MIDDLE), ("vx-4096", FAR)}
    assert _ways(h3) == {("vx-4096", NEAR), ("vx-4096", MIDDLE)}
    assert h1.out("exec", "one", "cat", "/sys/class/net/eth0/mtu") == "1450"
    with Ear(h1.here, "vx-4096") as tunnel, Ear(parted.there, "down0") as wire:
        for name, member, address in (("two", h2, two), ("three", h3, three)):
            _every_size(spaces["one"], spaces[name], (one, address), 1450)
            _every_size(spaces["one"], spaces[name], (address6(h1, "one"), address6(member, name)), 1450)
        inside, outside = tunnel.heard(), wire.heard()
    assert (three, one) in inside and (two, one) not in inside
    assert (FAR, NEAR) in outside and (three, one) not in outside
    # The hosts themselves: there in the tunnel, and back plainly.
    assert answers(h1.here, three, 80) == NEAR
    assert answers(h3.here, one, 80) == FAR
    # An address that comes to the other subnet is then reached in the tunnel; from whom its block is, too.
    h2.docker("rm", "-f", "two")
    assert serve(h3, "two") == two
    until(lambda: " dev vx-4096 " in routes(h1).get(two, ""), "h1 knows where it is now")
    assert reached(h1, "one", two) and answers(h1.sandbox("one"), two, 80) == one


def _ways(member: Member) -> set[tuple[str, str]]:
    """Over which interface it sends to which hosts for their containers' IPv4 addresses."""
    found = member.ip("route", "show", "proto", "76")
    return {(route["dev"], route["gateway"]) for route in found if "gateway" in route}


def test_flannel_goes_plainly_within_the_subnet_alone(parted: Cluster) -> None:
    """By host-gw to nobody else, which is said."""
    h1, h2, h3 = parted
    made = {"direct": ("10.77.0.0/16", "direct_routing=true", "vni=7"), "plain": ("10.78.0.0/16", "backend=host-gw")}
    for name, (subnet, *options) in made.items():
        words = [word for option in (f"prefix=/{name}", *options) for word in ("-o", f"flannel.{option}")]
        parted.network("flannel", name, "--subnet", subnet, *words)
        for member in parted:
            member.run("--name", f"{name}-{member.name}", "--network", name, "web")
    (one, two, three), (uno, due, tre) = ([m.address(f"{name}-{m.name}") for m in parted] for name in made)
    _every_size(h1.sandbox("direct-h1"), h2.sandbox("direct-h2"), (one, two), 1450)
    _every_size(h1.sandbox("direct-h1"), h3.sandbox("direct-h3"), (one, three), 1450)
    assert answers(h3.here, one, 80) == three.rpartition(".")[0] + ".0"  # the tunnel's address
    _every_size(h1.sandbox("plain-h1"), h2.sandbox("plain-h2"), (uno, due), 1500)
    assert not reached(h1, "plain-h1", tre)
    assert f"network plain: host {FAR} is behind a router, and not reached" in h1.log.read_text()
    ways = [(r["dst"][:5], r["dev"], r["gateway"]) for r in h1.ip("route", "show", "metric", "512")]
    assert ("10.77", "eth0", MIDDLE) in ways and ("10.78", "eth0", MIDDLE) in ways
    assert {dev for subnet, dev, gateway in ways if gateway != MIDDLE} == {"flannel.7"}
