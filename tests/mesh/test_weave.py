"""weave in a mesh that encrypts: three hosts, of which two hear each other only through the third."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.place import until
from tests.cluster.probes import carries, full_datagram
from tests.mesh.place import Mesh, mesh

SUBNETS = ("--subnet", "10.93.0.0/24", "--ipv6", "--subnet", "fd00:93::/64")


@pytest.fixture(scope="module")
def hosts(new_folder: Callable[[], Path]) -> Iterator[Mesh]:
    with mesh(new_folder(), 3, ("--mesh",)) as made:
        made.fabric.part(("h1", "h3"))
        made.begin()
        made.join(2)
        made.join(3, at=2)
        for member in made:
            member.import_images()
        yield made


def test_packets_of_every_size_by_way_of_another_host(hosts: Mesh) -> None:
    one, _, three = hosts
    made = one.out("network", "create", "-d", "weave", *SUBNETS, "city")
    until(lambda: three.request("GET", f"/networks/{made}")[0] == 200, "the network is there")
    one.run("--name", "server", "--net", "city", "plain", "sleep", "1000")
    three.run("--name", "client", "--net", "city", "plain", "sleep", "1000")
    here, there = three.sandbox("client"), one.sandbox("server")
    address = one.address("server")
    until(lambda: carries(here, there, address, "tcp", 100, within=1), "they reach each other", 20)
    assert one.out("exec", "server", "cat", "/sys/class/net/eth0/mtu") == "1340"
    for size in (1, full_datagram(1340, address), 9000):
        assert carries(here, there, address, "udp", size)
    assert carries(here, there, address, "tcp", 1_000_000)
