"""IPv6 beside IPv4: networks with both, and with IPv6 alone; published ports, ways out, and nothing left behind."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import socket_in
from tests.product.network import answers, ask, ask_udp, silent, udp_echo, who_server
from tests.product.place import HOST, OUTSIDE, Place

HOST6, OUTSIDE6 = "fd00:55::4", "fd00:55::9"
SERVER = ("httpd", "-f", "-p", "[::]:80", "-h", "/www")


@pytest.fixture
def six(engine: Place) -> Iterator[Place]:
    """The hosts have IPv6 addresses too."""
    for host, address in ((engine.host, HOST6), (engine.outside, OUTSIDE6)):
        host.run(["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
    yield engine
    for host, address in ((engine.host, HOST6), (engine.outside, OUTSIDE6)):
        host.run(["ip", "address", "del", f"{address}/64", "dev", "eth0"])


def plain(address: str) -> str:
    """The client's address as busybox's web server writes it."""
    return address.removeprefix("[").removesuffix("]")


def test_a_network_with_both(six: Place) -> None:
    six.docker("network", "create", "--ipv6", "both")
    (network,) = json.loads(six.out("network", "inspect", "both"))
    four, ula = (pool["Subnet"] for pool in network["IPAM"]["Config"])
    assert network["EnableIPv4"] and network["EnableIPv6"] and "." in four
    assert ula.startswith("fd") and ula.endswith("/64")
    six.run("--name", "web", "--network", "both", "-p", "8080:80", "web", *SERVER)
    six.run("--name", "other", "--network", "both", "web", *SERVER)
    inspected = six.inspect("web")["NetworkSettings"]
    mine = inspected["Networks"]["both"]
    own = mine["GlobalIPv6Address"]
    assert mine["IPv6Gateway"] == f"{ula[:-4]}:1" and own == f"{ula[:-4]}:2" and mine["GlobalIPv6PrefixLen"] == 64
    assert inspected["Ports"]["80/tcp"] == [
        {"HostIp": "0.0.0.0", "HostPort": "8080"},
        {"HostIp": "::", "HostPort": "8080"},
    ]
    assert six.out("port", "web", "80").splitlines() == ["0.0.0.0:8080", "[::]:8080"]
    assert "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp" in six.out("ps", "-f", "name=web", "--format", "{{.Ports}}")
    # From everywhere, by both families; from outside under the client's own address.
    assert plain(answers(six.there, HOST6, 8080)) == OUTSIDE6
    assert OUTSIDE in ask(six.there, HOST, 8080)
    for address in (HOST6, "::1", "127.0.0.1", mine["IPv6Gateway"]):
        assert ask(six.here, address, 8080), address
    inside, neighbour = six.sandbox("web"), six.sandbox("other")
    for space in (inside, neighbour):
        assert ask(space, HOST6, 8080) and ask(space, own, 80)
    assert ask(six.here, own, 80)
    # Out under the host's address.
    with who_server(six.there, OUTSIDE6, 9000):
        assert plain(ask(neighbour, OUTSIDE6, 9000)) == HOST6
    links = six.ip("-6", "address", "show", "dev", network["Id"] and f"br-{network['Id'][:12]}")
    assert {a["local"] for a in links[0]["addr_info"]} >= {"fe80::1", mine["IPv6Gateway"]}


def test_ipv6_alone(six: Place) -> None:
    six.newest("network", "create", "--ipv6", "--ipv4=false", "--subnet", "fd00:66::/64", "alone")
    asked = ("--network", "alone", "--ip6", "fd00:66::5", "-p", "8080:80", "-p", "8053:53/udp")
    six.run("--name", "web", *asked, "web", *SERVER)
    settings = six.inspect("web")["NetworkSettings"]
    mine = settings["Networks"]["alone"]
    assert (mine["IPAddress"], mine["Gateway"], mine["GlobalIPv6Address"]) == ("", "", "fd00:66::5")
    assert settings["Ports"]["80/tcp"] == [{"HostIp": "::", "HostPort": "8080"}]
    assert plain(answers(six.there, HOST6, 8080)) == OUTSIDE6
    assert silent(six.there, HOST, 8080)
    with udp_echo(six.sandbox("web"), 53, "::"):
        assert ask_udp(six.there, HOST6, 8053) == OUTSIDE6


def test_what_is_not_published_is_closed(six: Place) -> None:
    six.docker("network", "create", "--ipv6", "--subnet", "fd00:66::/64", "one")
    six.docker("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "two")
    six.run("--name", "web", "--network", "one", "-p", f"[{HOST6}]:8080:80", "web", *SERVER)
    six.run("--name", "stranger", "--network", "two", "plain", "sleep", "60")
    six.outside.run(["ip", "route", "add", "fd00:66::/64", "via", HOST6])
    try:
        assert answers(six.there, HOST6, 8080) and ask(six.here, HOST6, 8080) and ask(six.here, "fd00:66::2", 80)
        assert ask(six.sandbox("stranger"), HOST6, 8080)
        assert silent(six.here, "fd00:66::1", 8080) and silent(six.there, HOST, 8080)
        assert silent(six.there, "fd00:66::2", 80)
        assert silent(six.sandbox("stranger"), "fd00:66::2", 80)
    finally:
        six.outside.run(["ip", "route", "del", "fd00:66::/64"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ipv4=false"], "IPv4 or IPv6 must be enabled"),
        (["--ipv6", "--subnet", "fd00::/129"], "invalid"),
        (["--opt", "com.docker.network.bridge.gateway_mode_ipv6=open"], "unknown gateway mode open"),
        (["--opt", "com.docker.network.bridge.gateway_mode_ipv4=isolated"], "can only be used for an internal network"),
        (["--ipam-driver", "null"], "ipv4 pool is empty"),
    ],
)
def test_what_cannot_be(engine: Place, arguments: list[str], words: str) -> None:
    assert words in engine.newest("network", "create", *arguments, "bad", status=1).both
    assert "bad" not in engine.out("network", "ls")


def test_subnets_of_a_size_and_several(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "0.0.0.0/24", "small")
    (network,) = json.loads(engine.out("network", "inspect", "small"))
    assert ipaddress.ip_network(network["IPAM"]["Config"][0]["Subnet"]).prefixlen == 24
    engine.docker("network", "create", "--subnet", "10.77.0.0/30", "--subnet", "10.78.0.0/30", "several")
    for name in ("one", "two"):
        engine.run("--name", name, "--network", "several", "web")
    one, two = engine.address("one"), engine.address("two")
    assert {one, two} == {"10.77.0.2", "10.78.0.2"}  # each pool has one to give; docker sends them in no order
    assert answers(engine.sandbox("one"), two, 80)


def test_the_hosts_ipv6_leads_to_containers_with_ipv4_alone(six: Place) -> None:
    """By one process for all ports. What it cannot tell the container is the client's address."""
    ports = ("8080:80", "8053:53/udp", f"[{HOST6}]:9090:80", "[::1]:7070:80")
    six.run("--name", "web", *(word for port in ports for word in ("-p", port)), "web")
    listed = {"0.0.0.0:8080", "[::]:8080", f"[{HOST6}]:9090", "[::1]:7070"}
    assert set(six.out("port", "web", "80").splitlines()) == listed
    assert answers(six.there, HOST6, 8080) == "172.17.0.1"
    for space, address, port in ((six.there, HOST6, 9090), (six.here, "::1", 8080), (six.here, "::1", 7070)):
        assert ask(space, address, port) == "172.17.0.1"
    assert ask(six.here, HOST6, 8080) and ask(six.sandbox("web"), "172.17.0.1", 8080)
    assert silent(six.there, HOST6, 7070) and silent(six.here, "::1", 9090)
    with udp_echo(six.sandbox("web"), 53):
        assert ask_udp(six.there, HOST6, 8053) == ask_udp(six.here, "::1", 8053) == "172.17.0.1"


def test_the_relay_outlives_the_daemon_and_is_replaced_when_it_dies(six: Place) -> None:
    six.run("--name", "web", "-p", "8080:80", "web")
    assert answers(six.there, HOST6, 8080)
    (before,) = relays(six)
    six.end(signal.SIGKILL)
    assert ask(six.there, HOST6, 8080) and relays(six) == [before]
    six.start()
    assert ask(six.there, HOST6, 8080) and relays(six) == [before]
    os.kill(before, signal.SIGKILL)
    assert answers(six.there, HOST6, 8080)
    assert relays(six) != [before]


def test_a_long_answer_and_a_half_closed_connection_through_the_relay(six: Place) -> None:
    def serve(client: socket.socket) -> None:
        client.sendall(b"x" * 3_000_000)
        client.sendall(read_all(client))

    with serving(six, serve), socket_in(six.there, family=socket.AF_INET6) as client:
        client.settimeout(10)
        client.connect((HOST6, 8080))
        received = bytearray()
        reader = threading.Thread(target=lambda: received.extend(read_all(client)))
        reader.start()
        client.sendall(b"y" * 1_000_000)
        client.shutdown(socket.SHUT_WR)
        reader.join(10)
        assert received == b"x" * 3_000_000 + b"y" * 1_000_000


@contextlib.contextmanager
def serving(place: Place, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """A server of one connection in a container with IPv4 alone, published at 8080."""
    place.run("--name", "server", "-p", "8080:80", "plain", "sleep", "60")
    with socket_in(place.sandbox("server")) as listener:
        listener.bind(("0.0.0.0", 80))
        listener.listen()
        listener.settimeout(10)

        def accept() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(10)
                serve(client)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        thread.join(10)


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def relays(place: Place) -> list[int]:
    """Process ids, on this machine, of the relays in the host."""
    there = Path(f"/proc/{place.host.pid}/ns/pid").readlink()
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
            if b"relay/process.py" in command and (folder / "ns/pid").readlink() == there:
                found.append(int(folder.name))
    return found
