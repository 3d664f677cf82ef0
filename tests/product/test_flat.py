"""flat networks: containers on the hosts' own segment, reached and reaching by their own addresses, with no NAT."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import socket_in
from tests.product.network import answers, ask_udp, udp_echo, who_server
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

LAN = ("-d", "flat", "-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--ip-range", "10.211.55.128/25")
ONE, TWO = "10.211.55.128", "10.211.55.129"
SIX = ("--ipv6", "--subnet", "fd00:55::/64", "--ip-range", "fd00:55::8000/113")
PATHS = ["bridge", "macvlan", "routed"]


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before, network = traces(ground), ground.ip("address", "show", "eth0")
    yield ground
    ground.clear()
    settles(ground, before)
    assert addresses(ground.ip("address", "show", "eth0")) == addresses(network)
    assert "Traceback" not in ground.log.read_text(), ground.log.read_text()[-4000:]


def addresses(found: Any) -> set[str]:
    return {entry["local"] for link in found for entry in link.get("addr_info", ())}


@pytest.mark.parametrize("path", PATHS)
def test_reached_and_reaching_without_nat(engine: Place, path: str) -> None:
    engine.docker("network", "create", *LAN, *SIX, "-o", f"mode={path}", "lan")
    found = json.loads(engine.out("network", "inspect", "lan"))[0]
    assert found["IPAM"]["Config"][0]["Gateway"] == OUTSIDE  # the router that the host itself has
    engine.run("--name", "one", "--network", "lan", "web")
    engine.run("--name", "two", "--network", "lan", "web")
    assert (engine.address("one"), engine.address("two")) == (ONE, TWO)
    # From a machine that runs none of our software, and back; the answer says from whom.
    assert answers(engine.there, ONE, 80) == OUTSIDE
    assert answers(engine.there, TWO, 80) == OUTSIDE
    with udp_echo(engine.there, 7777):
        assert ask_udp(engine.sandbox("one"), OUTSIDE, 7777).startswith(ONE)
    assert answers(engine.sandbox("two"), ONE, 80) == TWO
    if path != "macvlan":  # there the host has a way with host_access only
        assert answers(engine.here, ONE, 80) == HOST
        with udp_echo(engine.here, 7777):
            assert ask_udp(engine.sandbox("one"), HOST, 7777).startswith(ONE)
    for version in ("-4", "-6"):
        engine.docker("exec", "two", "ping", version, "-c1", "-W2", "one")
    with stranger(engine, "fd00:55::9"):
        for container, address in (("one", "fd00:55::8000"), ("two", "fd00:55::8001")):
            with who_server(engine.sandbox(container), address, 8080):
                assert answers(engine.there, address, 8080) == "fd00:55::9"
            with who_server(engine.there, "fd00:55::9", 8080):
                assert answers(engine.sandbox(container), "fd00:55::9", 8080) == address


@contextlib.contextmanager
def stranger(engine: Place, *addresses: str) -> Iterator[str]:
    """The outside machine has these addresses meanwhile; its MAC."""
    for address in addresses:
        length = 64 if ":" in address else 24
        engine.outside.run(["ip", "address", "add", f"{address}/{length}", "dev", "eth0", "nodad"])
    try:
        yield json.loads(engine.outside.run(["ip", "-j", "link", "show", "eth0"]).stdout)[0]["address"]
    finally:
        for address in addresses:
            length = 64 if ":" in address else 24
            engine.outside.run(["ip", "address", "del", f"{address}/{length}", "dev", "eth0"])


@pytest.mark.parametrize("path", PATHS)
def test_an_address_that_a_stranger_has(engine: Place, path: str) -> None:
    """Asked for by hand it is refused, naming who has it; by itself another one is chosen, and that is remembered."""
    engine.docker("network", "create", *LAN, *SIX, "-o", f"mode={path}", "lan")
    with stranger(engine, ONE, "fd00:55::8000") as mac:
        refused = engine.docker("run", "--network", "lan", "--ip", ONE, "plain", "true", status=125).err
        assert f"Address already in use: {ONE}: the machine with the MAC address {mac} has it" in refused
        refused = engine.docker("run", "--network", "lan", "--ip6", "fd00:55::8000", "plain", "true", status=125).err
        assert f"Address already in use: fd00:55::8000: the machine with the MAC address {mac} has it" in refused
        engine.run("--name", "one", "--network", "lan", "web")
    (network,) = engine.inspect("one")["NetworkSettings"]["Networks"].values()
    assert (network["IPAddress"], network["GlobalIPv6Address"]) == (TWO, "fd00:55::8001")
    engine.run("--name", "two", "--network", "lan", "web")
    assert engine.inspect("two")["NetworkSettings"]["Networks"]["lan"]["IPAddress"] == "10.211.55.130"


def test_detection_takes_no_time_to_speak_of_and_can_be_off(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "-o", "detect=false", "lan")
    with stranger(engine, ONE):
        engine.run("--name", "one", "--network", "lan", "web")
    assert engine.address("one") == ONE
    engine.docker("network", "create", *LAN[:4], "--subnet", "10.99.0.0/24", "other")
    engine.docker("create", "--name", "two", "--network", "other", "web")
    begun = time.monotonic()
    engine.docker("network", "connect", "other", "one")
    assert time.monotonic() - begun < 1.5  # of which 0.24 s of asking


def test_an_address_outlives_its_container(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "-o", "rest=1h", "lan")
    engine.run("--name", "web", "--network", "lan", "web")
    engine.run("--name", "db", "--network", "lan", "web")
    engine.docker("rm", "-f", "web")
    engine.run("--name", "other", "--network", "lan", "web")
    assert engine.address("other") == "10.211.55.130"
    engine.restart(signal.SIGKILL)
    engine.run("--name", "web", "--network", "lan", "web")
    assert engine.address("web") == ONE
    engine.docker("stop", "-t", "0", "db")
    engine.docker("start", "db")
    assert engine.address("db") == TWO
    engine.docker("rm", "-f", "db")
    engine.linkspan("network", "reserve", "lan", "next", "10.211.55.200")
    rows = [line.split() for line in engine.linkspan("network", "reservations", "lan").out.splitlines()]
    assert [row[:4] for row in rows] == [
        ["IDENTITY", "ADDRESS", "STATE", "CONTAINER"],
        ["db", TWO, "resting", "-"],
        ["next", "10.211.55.200", "reserved", "-"],
        ["other", "10.211.55.130", "in", "use"],
        ["web", ONE, "in", "use"],
    ]
    engine.linkspan("network", "release", "lan", "db")
    assert "has it" not in engine.linkspan("network", "release", "lan", "db", status=1).err
    engine.run("--name", "next", "--network", "lan", "web")
    assert engine.address("next") == "10.211.55.200"
    refused = engine.linkspan("network", "release", "lan", "next", status=1).err
    assert "10.211.55.200 is the address of container next: remove it first" in refused


def test_a_killed_daemon_finds_the_card_where_it_is(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "lan")
    engine.run("--name", "one", "--network", "lan", "web")
    engine.end(signal.SIGKILL)
    engine.docker("version", status=1)
    assert answers(engine.there, ONE, 80) == OUTSIDE
    engine.host.run(["ip", "link", "set", "eth0", "nomaster"])  # while nobody looks
    engine.start()
    assert answers(engine.there, ONE, 80) == OUTSIDE
    engine.host.run(["ip", "link", "set", "eth0", "nomaster"])
    until(lambda: engine.ip("link", "show", "eth0")[0].get("master") == "fl-eth0")
    engine.host.run(["ip", "address", "add", f"{HOST}/24", "dev", "eth0"])  # as a DHCP client would
    until(lambda: not addresses(engine.ip("-4", "address", "show", "eth0")))
    assert answers(engine.there, ONE, 80) == OUTSIDE


def test_the_hosts_own_sessions_go_on(engine: Place) -> None:
    with socket_in(engine.there) as listening:
        listening.bind((OUTSIDE, 7070))
        listening.listen()
        with socket_in(engine.here) as near:
            near.connect((OUTSIDE, 7070))
            far, _ = listening.accept()
            for command in (("network", "create", *LAN, "lan"), ("network", "rm", "lan")):
                engine.docker(*command)
                near.sendall(b"still there?")
                assert far.recv(100) == b"still there?"
            far.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-o", "parent=eth9"), "-o parent interface was not found on the host: eth9"),
        (("-o", "mode=magic"), "requested flat mode 'magic' is not valid"),
        (("--gateway", HOST), "is an address of this host (eth0)"),
        (("-o", "exclude=x"), "invalid value for exclude: 'x'"),
        (("--scope", "global"), "cluster is not active"),
    ],
)
def test_mistakes(engine: Place, options: tuple[str, ...], says: str) -> None:
    assert says in engine.docker("network", "create", *LAN, *options, "lan", status=1).err


def until(holds: Callable[[], bool], within: float = 5) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_at_once(engine: Place) -> None:
    """Each has an address of its own, and what is asked of the wire holds up nobody for long."""
    engine.docker("network", "create", *LAN[:4], "--subnet", "10.99.0.0/24", "--ip-range", "10.99.0.32/27", "lan")
    names = [f"c{number}" for number in range(32)]
    for name in names:
        engine.docker("create", "--name", name, "--network", "lan", "plain", "sleep", "1000")
    with concurrent.futures.ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: engine.docker("start", name), names))
    assert {engine.address(name) for name in names} == {f"10.99.0.{number}" for number in range(32, 64)}
    assert "no available IPv4 addresses" in engine.docker("run", "--network", "lan", "plain", status=125).err
