"""Open vSwitch on one host: networks of the driver ovs, and ports by hand, in ovs-docker's words and pipework's."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ovs import OpenVSwitch, needs_ovs, open_vswitch
from tests.product.network import answers
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

pytestmark = needs_ovs


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[tuple[Place, OpenVSwitch]]:
    """A host with a switch of its own, in which the administrator has a bridge."""
    with place(new_folder()) as made, open_vswitch(made.here, made.folder / "ovs") as switch:
        switch.vsctl("add-br", "theirs", "--", "set", "bridge", "theirs", "datapath_type=netdev")
        made.start()
        made.import_images()
        yield made, switch


@pytest.fixture
def engine(ground: tuple[Place, OpenVSwitch]) -> Iterator[Place]:
    made, switch = ground
    before = traces(made)
    yield made
    made.clear()
    settles(made, before)
    assert [row["name"] for row in switch.table("Port")] == ["theirs"]
    assert switch.table("QoS") == []
    assert "Traceback" not in made.log.read_text(), made.log.read_text()[-4000:]


@pytest.fixture
def switch(ground: tuple[Place, OpenVSwitch]) -> OpenVSwitch:
    return ground[1]


def reaches(engine: Place, one: str, address: str) -> bool:
    return engine.docker("exec", one, "ping", "-c1", "-W1", address, status=None).status == 0


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_network_of_this_host(engine: Place, switch: OpenVSwitch) -> None:
    subnets = ("--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd00:77::/64")
    engine.docker("network", "create", "-d", "ovs", *subnets, "net")
    network = json.loads(engine.out("network", "inspect", "net"))[0]
    assert (network["Driver"], network["Scope"]) == ("ovs", "local")
    engine.run("--name", "web", "--network", "net", "-p", "8080:80", "web")
    engine.run("--name", "two", "--network", "net", "web")
    assert reaches(engine, "two", "web") and reaches(engine, "two", OUTSIDE)
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    address = engine.inspect("web")["NetworkSettings"]["Networks"]["net"]["GlobalIPv6Address"]
    assert engine.docker("exec", "two", "ping", "-6", "-c1", "-W2", address).status == 0
    assert engine.docker("exec", "two", "ping", "-6", "-c1", "-W2", "fd00:77::1").status == 0  # the gateway
    (row,) = (row for row in switch.table("Bridge") if row["name"] != "theirs")
    assert row["external_ids"] == ["map", [["linkspan", f"linkspan:{network['Id']}"]]]
    engine.docker("restart", "-t", "0", "web")
    eventually(lambda: reaches(engine, "two", "web"))


def test_ports_as_ovs_docker_has_them(engine: Place, switch: OpenVSwitch) -> None:
    for name, last in (("one", 2), ("two", 3)):
        engine.run("--name", name, "--network", "none", "web")
        engine.linkspan("ovs", "add-port", "theirs", "eth1", name, f"--ipaddress=10.88.0.{last}/24", "--mtu=1400")
    assert reaches(engine, "one", "10.88.0.3")
    given = engine.inspect("one")["NetworkSettings"]["Interfaces"][0]
    assert (given["Kind"], given["HostInterface"], given["Address"]) == ("ovs", "theirs", "10.88.0.2/24")
    port = next(row for row in switch.table("Port") if row["name"] == given["HostEnd"])
    said = dict(port["external_ids"][1])
    assert (said["container_id"], said["container_iface"]) == (engine.inspect("one")["Id"], "eth1")
    engine.linkspan("ovs", "set-vlan", "theirs", "eth1", "one", "10")
    assert not reaches(engine, "one", "10.88.0.3")
    engine.linkspan("ovs", "set-vlan", "theirs", "eth1", "two", "10")
    assert reaches(engine, "one", "10.88.0.3")
    # They are recorded: they come back with the container, with the switch, and from another's hand.
    engine.docker("restart", "-t", "0", "one")
    eventually(lambda: reaches(engine, "one", "10.88.0.3"))
    switch.vsctl("del-port", given["HostEnd"])
    eventually(lambda: reaches(engine, "one", "10.88.0.3"))
    engine.linkspan("ovs", "add-port", "theirs", "eth2", "one")  # without an address
    engine.linkspan("ovs", "del-port", "theirs", "eth1", "one")
    assert [one["Name"] for one in engine.inspect("one")["NetworkSettings"]["Interfaces"]] == ["eth2"]
    engine.linkspan("ovs", "del-ports", "theirs", "one")
    assert "Interfaces" not in engine.inspect("one")["NetworkSettings"]
    for words, said_ in (
        (("add-port", "theirs", "eth1", "two"), "interface eth1 exists already in container two"),
        (("add-port", "eth0", "eth5", "two"), "eth0 exists already, and is no bridge of Open vSwitch's"),
        (("add-port", "theirs", "eth5", "two", "--ipaddress=10.88.0.9"), "perhaps 10.88.0.9/24 is meant"),
        (("del-port", "theirs", "eth5", "two"), "has no interface eth5 on bridge theirs"),
        (("set-vlan", "theirs", "eth1", "two", "5000"), "invalid VLAN '5000': use 1 to 4094"),
        (("set-vlan", "other", "eth1", "two", "5"), "no interface eth1 on a bridge other"),
    ):
        assert said_ in engine.linkspan("ovs", *words, status=1).err, words


def test_a_bridge_of_theirs_that_goes_and_comes(engine: Place, switch: OpenVSwitch) -> None:
    for name, last in (("one", 2), ("two", 3)):
        engine.run("--name", name, "--network", "none", "web")
        engine.linkspan("ovs", "add-port", "theirs", "eth1", name, f"--ipaddress=10.88.0.{last}/24")
    switch.vsctl("del-br", "theirs")
    eventually(lambda: "interface theirs of this host is not there" in engine.log.read_text())
    assert not reaches(engine, "one", "10.88.0.3")
    engine.run("--name", "other", "--network", "bridge", "web")  # the rest of the host goes on
    switch.vsctl("add-br", "theirs", "--", "set", "bridge", "theirs", "datapath_type=netdev")
    eventually(lambda: reaches(engine, "one", "10.88.0.3"))
    engine.end(signal.SIGKILL)
    engine.start(*engine.flags)
    assert reaches(engine, "one", "10.88.0.3")


def test_pipework_on_a_bridge_of_open_vswitchs(engine: Place, switch: OpenVSwitch) -> None:
    for name, last in (("one", 2), ("two", 3)):
        engine.run("--name", name, "--network", "none", "web")
        engine.linkspan("pipework", "ovs5", name, f"10.89.0.{last}/24", "@7")  # made, by its name
    assert reaches(engine, "one", "10.89.0.3")
    ports = {row["name"]: row for row in switch.table("Port")}
    end = engine.inspect("one")["NetworkSettings"]["Interfaces"][0]["HostEnd"]
    said = dict(ports[end]["external_ids"][1])
    assert (said["pipework.bridge"], said["pipework.interface"], said["pipework.vlan"]) == ("ovs5", "eth1", "7")
    assert ports[end]["tag"] == 7 and "ovs5" in ports
    engine.linkspan("pipework", "--remove", "two")
    assert "ovs5" in {row["name"] for row in switch.table("Bridge")}  # one is still on it
