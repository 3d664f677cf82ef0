"""macvlan networks: containers with addresses on the hosts' own segment, and the host's way to them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import enter
from tests.product.network import Watch, answers, ask, silent
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

LAN = ("-d", "macvlan", "--subnet", "10.211.55.0/24", "--ip-range", "10.211.55.128/25", "--gateway", "10.211.55.9")
ONE, TWO = "10.211.55.128", "10.211.55.129"


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before = traces(ground)
    yield ground
    ground.clear()
    settles(ground, before)
    assert "Traceback" not in ground.log.read_text(), ground.log.read_text()[-4000:]


def inside(engine: Place, ref: str, *command: str) -> Any:
    """`ip -j …` in a container's sandbox."""
    pid = engine.inspect(ref)["State"]["Pid"]
    return json.loads(engine.host.run(["nsenter", "-t", str(pid), "-n", "ip", "-j", *command]).stdout or "[]")


@contextlib.contextmanager
def wire(space: str) -> Iterator[Callable[[], list[str]]]:
    """Addresses that were announced on the segment of the namespace at `space`, so far."""

    def listen() -> socket.socket:
        enter(space)
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
        made.setblocking(False)
        return made

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        listening = thread.submit(listen).result()
    found: list[str] = []

    def heard() -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = listening.recv(100)
                if packet[28:32] == packet[38:42]:  # ARP whose sender asks for itself
                    found.append(socket.inet_ntoa(packet[28:32]))
        return found

    with listening:
        yield heard


def until(holds: Callable[[], bool], within: float = 5) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_containers_are_on_the_hosts_segment(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "-o", "parent=eth0", "lan")
    engine.run("--name", "one", "--net", "lan", "-p", "8080:80", "web")
    engine.run("--name", "two", "--net", "lan", "web")
    assert (engine.address("one"), engine.address("two")) == (ONE, TWO)
    assert answers(engine.there, ONE, 80) == OUTSIDE and answers(engine.there, TWO, 80) == OUTSIDE
    assert ask(engine.sandbox("one"), TWO, 80) == ONE
    # And back: what it opens itself comes from its own address, over the gateway that is the network's, not the host.
    assert "0% packet loss" in engine.out("exec", "one", "ping", "-c", "1", "-W", "2", OUTSIDE)
    (route,) = [r for r in inside(engine, "one", "route") if r["dst"] == "default"]
    assert (route["gateway"], route["dev"]) == (OUTSIDE, "eth0")
    # The kernel lets a host not reach what stands on its own interface; and nothing is published.
    assert silent(engine.here, ONE, 80) and silent(engine.there, HOST, 8080)
    found = engine.inspect("one")["NetworkSettings"]
    assert found["Ports"] == {} and engine.out("port", "one") == ""
    (link,) = [i for i in inside(engine, "one", "-d", "link") if i["ifname"] == "eth0"]
    assert (link["linkinfo"]["info_kind"], link["linkinfo"]["info_data"]["mode"]) == ("macvlan", "bridge")
    assert (link["mtu"], link["address"]) == (1500, found["Networks"]["lan"]["MacAddress"])
    refused = engine.docker("run", "-d", "--net", "lan", "--ip", TWO, "plain", status=125).err
    assert "Address already in use" in refused
    shown = engine.inspect("lan")
    assert (shown["Driver"], shown["Options"], shown["Internal"]) == ("macvlan", {"parent": "eth0"}, False)
    assert {c["Name"] for c in shown["Containers"].values()} == {"one", "two"}


@pytest.mark.parametrize("mode", ["private", "vepa"])
def test_modes_that_keep_containers_apart(engine: Place, mode: str) -> None:
    """In vepa the switch would have to send packets back where they came from; the fabric does not."""
    engine.docker("network", "create", *LAN, "-o", "parent=eth0", "-o", f"macvlan_mode={mode}", "lan")
    for name in ("one", "two"):
        engine.run("--name", name, "--net", "lan", "web")
    assert answers(engine.there, ONE, 80) == answers(engine.there, TWO, 80) == OUTSIDE
    assert silent(engine.sandbox("one"), TWO, 80)


@pytest.mark.parametrize("times", ["", "2", "0"])
def test_who_comes_says_so(engine: Place, times: str) -> None:
    """Neighbours and switches learn at once where an address is now. Docker's options, and its default of three."""
    name = "com.docker.network.advertise_addr_"
    options = ("-o", "parent=eth0", "-o", f"{name}ms=100", *(("-o", f"{name}nmsgs={times}") if times else ()))
    engine.docker("network", "create", *LAN, *options, "lan")
    with wire(engine.there) as heard:
        engine.run("--name", "one", "--net", "lan", "plain", "sleep", "600")
        engine.run("--name", "two", "--net", "lan", "plain", "sleep", "600")
        expected = int(times or 3)
        until(lambda: [heard().count(address) for address in (ONE, TWO)] == [expected, expected])
        # The last of a fixed number: what would come after it would have come with the next container's.
        engine.docker("exec", "one", "sleep", "0.3")
        assert [heard().count(address) for address in (ONE, TWO)] == [expected, expected]


def test_passthru_is_one_containers_alone(engine: Place) -> None:
    engine.host.run(["ip", "link", "add", "spare", "type", "veth", "peer", "name", "wire"])
    try:
        engine.host.run(["ip", "link", "set", "spare", "up"])
        options = ("--subnet", "10.5.0.0/24", "-o", "parent=spare", "-o", "macvlan_mode=passthru")
        engine.docker("network", "create", "-d", "macvlan", *options, "through")
        engine.run("--name", "one", "--net", "through", "web")
        refused = engine.docker("run", "-d", "--net", "through", "web", status=125).err
        assert "room for one container in mode passthru, and one is connected to it" in refused
        more = ("network", "create", "-d", "macvlan", "--subnet", "10.6.0.0/24", "-o", "parent=spare", "more")
        assert "is already using parent interface spare in mode passthru" in engine.docker(*more, status=1).err
        (spare,) = engine.ip("link", "show", "spare")
        (own,) = [link for link in inside(engine, "one", "link") if link["ifname"] == "eth0"]
        assert own["address"] == spare["address"]
        engine.docker("restart", "-t", "0", "one")
        engine.docker("rm", "-f", "one")
        engine.run("--name", "two", "--net", "through", "web")
        engine.clear()
    finally:
        engine.host.run(["ip", "link", "del", "spare"])


def test_bad_options(engine: Place) -> None:
    def refused(*options: str) -> str:
        words = [word for option in options for word in ("-o", option)]
        return engine.docker("network", "create", "-d", "macvlan", *words, "bad", status=1).err

    assert "invalid subinterface vlan name nope, example formatting is eth0.10" in refused("parent=nope")
    assert "-o parent interface was not found on the host: nope" in refused("parent=nope.10")
    assert "loopback interface is not a valid macvlan parent link" in refused("parent=lo")
    assert "requested macvlan mode 'odd' is not valid" in refused("parent=eth0", "macvlan_mode=odd")
    assert "unknown option: nonesuch" in refused("parent=eth0", "nonesuch=1")


@pytest.mark.parametrize(
    ("driver", "options", "feature"),
    [
        ("macvlan", (), "dummy links (module dummy)"),
        ("macvlan", ("parent=eth0.10",), "802.1Q VLAN links (module 8021q)"),
        ("ipvlan", ("parent=eth0",), "ipvlan links (module ipvlan)"),
    ],
    ids=["no parent", "vlan", "ipvlan"],
)
def test_what_a_kernel_may_lack(engine: Place, driver: str, options: tuple[str, ...], feature: str) -> None:
    """Where the kernel has it, it works; where not, the error says what is missing, and nothing is left."""
    words = [word for option in options for word in ("-o", option)]
    done = engine.docker("network", "create", "-d", driver, *words, "--subnet", "10.7.0.0/24", "kind", status=None)
    if not done.status:
        done = engine.docker("run", "-d", "--name", "one", "--net", "kind", "web", status=None)
    if not done.status:
        engine.run("--name", "two", "--net", "kind", "web")
        assert answers(engine.sandbox("one"), engine.address("two"), 80) == engine.address("one")
        return
    assert f"the running kernel lacks {feature}" in done.err
    assert driver == "ipvlan" or "kind" not in engine.out("network", "ls", "--format", "{{.Name}}").split()
    assert not [link for link in engine.ip("link") if link["ifname"].startswith(("dm-", "eth0."))]


def test_the_host_has_a_way_to_its_containers(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "-o", "parent=eth0", "-o", "host_access=true", "lan")
    own = engine.inspect("lan")["IPAM"]["Config"][0]["AuxiliaryAddresses"]["host"]
    before = traces(engine)
    engine.run("--name", "one", "--net", "lan", "web")
    engine.run("--name", "two", "--net", "lan", "web")
    assert answers(engine.here, ONE, 80) == answers(engine.here, TWO, 80) == own
    # And back, to every address that the host has.
    engine.run("--name", "web", "--net", "host", "web")
    for address in (own, HOST):
        answers(engine.sandbox("one"), address, 80)
        assert "0% packet loss" in engine.out("exec", "two", "ping", "-c", "1", "-W", "2", address)
    # Neighbours on the wire find the host at its own interface, as before.
    (eth0,) = engine.ip("link", "show", "eth0")
    engine.outside.run(["ip", "neighbour", "flush", "all"])
    assert answers(engine.there, HOST, 80) == OUTSIDE
    neighbours = json.loads(engine.outside.run(["ip", "-j", "neighbour"]).stdout)
    assert {n["lladdr"] for n in neighbours if n["dst"] == HOST} == {eth0["address"]}
    assert answers(engine.there, ONE, 80) == OUTSIDE
    engine.docker("rm", "-f", "web", "two")
    assert answers(engine.here, ONE, 80) == own
    engine.docker("rm", "-f", "one")
    settles(engine, before)  # it goes with the last


def test_ipv6_beside_ipv4(engine: Place) -> None:
    """Reached from the wire and from the host, and back, in both families."""
    ends = ((engine.outside, "fd55::9/64"), (engine.host, "fd55::4/64"))
    for host, address in ends:
        host.run(["ip", "address", "add", address, "dev", "eth0", "nodad"])
    try:
        pool6 = ("--ipv6", "--subnet", "fd55::/64", "--ip-range", "fd55::8000/113", "--gateway", "fd55::9")
        engine.docker("network", "create", *LAN, *pool6, "-o", "parent=eth0", "-o", "host_access=true", "lan")
        engine.run("--name", "one", "--net", "lan", "plain", "sleep", "600")
        (place_,) = engine.inspect("one")["NetworkSettings"]["Networks"].values()
        (default,) = [r for r in inside(engine, "one", "-6", "route") if r["dst"] == "default"]
        assert default["gateway"] == "fd55::9"
        for address in ("fd55::9", "fd55::4", OUTSIDE, HOST):
            assert "0% packet loss" in engine.out("exec", "one", "ping", "-c", "1", "-W", "2", address), address
        for space in (engine.there, engine.here):
            assert talks(space, engine.sandbox("one"), place_["GlobalIPv6Address"])
    finally:
        engine.clear()
        for host, address in ends:
            host.run(["ip", "address", "del", address, "dev", "eth0"])


def talks(source: str, sink: str, address: str) -> bool:
    """Whether a TCP connection from one namespace reaches an IPv6 address in another."""

    def opened(space: str) -> socket.socket:
        def make() -> socket.socket:
            enter(space)
            made = socket.socket(socket.AF_INET6)
            made.settimeout(3)
            return made

        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(make).result()

    with opened(sink) as server, opened(source) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 7778))
        server.listen()
        client.connect((address, 7778))
        there, _ = server.accept()
        with there:
            client.sendall(b"hello")
            return there.recv(5) == b"hello"


def test_the_daemon_killed_and_back(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "-o", "parent=eth0", "-o", "host_access=true", "lan")
    engine.run("--name", "one", "--net", "lan", "web")
    engine.run("--name", "two", "--net", "lan", "web")
    answers(engine.there, ONE, 80), answers(engine.here, ONE, 80)
    seen = {key: value for key, value in traces(engine).items() if key not in ("daemon's files", "nft")}
    with Watch(engine.there, ONE, 80) as outside, Watch(engine.here, ONE, 80) as here:
        engine.end(signal.SIGKILL)
        assert ask(engine.there, TWO, 80) == OUTSIDE
        engine.start()
    assert outside.failures == here.failures == []
    assert {key: value for key, value in traces(engine).items() if key in seen} == seen
    started = [line for line in engine.log.read_text().splitlines() if "the kernel is as the records say" in line]
    assert "(0 steps)" in started[-1]
    # And what somebody else takes away is put back.
    (way,) = [i["ifname"] for i in engine.ip("link") if i["ifname"].startswith("mv-")]
    engine.host.run(["ip", "link", "del", way])
    until(lambda: len([r for r in engine.ip("route") if r["dev"] == way]) == 2)
    answers(engine.here, TWO, 80)
    engine.docker("rm", "-f", "one", "two")


def test_the_parent_goes_and_comes_back(engine: Place) -> None:
    """As a card does whose driver is loaded anew, or a VPN's interface."""

    def plug() -> None:
        engine.host.run(["ip", "link", "add", "spare", "type", "veth", "peer", "name", "wire"])
        engine.host.run(["ip", "address", "add", "10.5.0.200/24", "dev", "wire"])
        for name in ("spare", "wire"):
            engine.host.run(["ip", "link", "set", name, "up"])

    plug()
    try:
        wide = ("--subnet", "10.5.0.0/24", "-o", "parent=spare", "-o", "host_access=true")
        engine.docker("network", "create", "-d", "macvlan", *wide, "lan")
        engine.run("--name", "one", "--net", "lan", "web")
        engine.run("--name", "apart", "-p", "8080:80", "web")
        address = engine.inspect("one")["NetworkSettings"]["Networks"]["lan"]["IPAddress"]
        mac = engine.inspect("one")["NetworkSettings"]["Networks"]["lan"]["MacAddress"]
        # Down and up: nothing has to be made anew.
        engine.host.run(["ip", "link", "set", "spare", "down"])
        engine.run("--name", "late", "--net", "lan", "plain", "sleep", "600")
        engine.host.run(["ip", "link", "set", "spare", "up"])
        answers(engine.here, address, 80)
        assert "0% packet loss" in engine.out("exec", "late", "ping", "-c", "1", "-W", "2", "10.5.0.200")
        # Gone: the rest of the host goes on, also with a daemon that starts meanwhile.
        engine.host.run(["ip", "link", "del", "spare"])
        until(lambda: "interface spare of this host is not there" in engine.log.read_text())
        engine.restart(signal.SIGKILL)
        assert answers(engine.there, HOST, 8080) == OUTSIDE
        refused = engine.docker("run", "-d", "--net", "lan", "plain", status=125).err
        assert "on spare: no such device" in refused
        plug()
        until(lambda: any(i["ifname"] == "eth0" for i in inside(engine, "one", "link")))
        answers(engine.here, address, 80)
        (link,) = [i for i in inside(engine, "one", "link") if i["ifname"] == "eth0"]
        assert (link["address"], link["mtu"]) == (mac, 1500)
        assert "0% packet loss" in engine.out("exec", "late", "ping", "-c", "1", "-W", "2", "10.5.0.200")
        engine.clear()
    finally:
        subprocess.run([*engine.host.enter(), "ip", "link", "del", "spare"])
