"""Packets through the ruleset: from outside, from the host, from containers. Both ends are sockets of this process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.kernel.linux import LinuxKernel
from linkspan.state.objects import (
    HOST,
    Address,
    Bridge,
    KernelObject,
    Namespace,
    NftElement,
    Route,
    Sysctl,
    Veth,
    state_of,
)
from linkspan.state.plan import diff
from tests.hosts import Host, hosts, socket_in

pytestmark = pytest.mark.root

HOST_ADDRESS, OUTSIDE = "10.211.55.4", "10.211.55.9"
ONE, TWO, OTHER, INNER = "172.17.0.2", "172.17.0.3", "172.18.0.2", "172.19.0.2"


class Net:
    """The host with docker0 (two containers), br-other (one) and br-inner (one, internal), and a neighbour outside."""

    def __init__(self, host: Host, outside: Host, folder: Path) -> None:
        self.paths = {HOST_ADDRESS: host.path, OUTSIDE: outside.path}
        self.host, self.outside = host, outside
        self.kernel: LinuxKernel
        objects: list[KernelObject] = [Sysctl(HOST, "net/ipv4/ip_forward", "1")]
        for number, name in ((17, "docker0"), (18, "br-other"), (19, "br-inner")):
            objects += [
                Bridge(name, f"linkspan:{name}"),
                Address(HOST, name, f"172.{number}.0.1/16"),
                Sysctl(HOST, f"net/ipv4/conf/{name}/route_localnet", "1"),
                NftElement("bridges", f'ipv4 . "{name}"'),
                NftElement("closed", f'ipv4 . "{name}"'),
                NftElement("same_bridge", f'ipv4 . "{name}" . "{name}"'),
                NftElement("icc", f'ipv4 . "{name}" . "{name}"'),
            ]
            if number == 19:
                objects.append(NftElement("internal", f'ipv4 . "{name}"'))
            else:
                objects.append(NftElement("masqueraded", f"172.{number}.0.0/16"))
        for number, address in enumerate((ONE, TWO, OTHER, INNER)):
            path = self.paths[address] = str(folder / f"c{number}")
            bridge = {"17": "docker0", "18": "br-other", "19": "br-inner"}[address.split(".")[1]]
            objects += [
                Namespace(path),
                Veth(f"veth{number}", f"linkspan:{number}", path, "eth0", f"02:42:00:00:01:{number:02x}", bridge),
                Address(path, "eth0", f"{address}/16"),
                Route(path, "0.0.0.0/0", "eth0", address[: -len("0.2")] + "0.1"),
            ]
        objects += [
            NftElement("published", "tcp . 8080", f"{ONE} . 80"),
            NftElement("published", "udp . 8053", f"{ONE} . 53"),
            NftElement("published_at", "127.0.0.1 . tcp . 8081", f"{ONE} . 80"),
            NftElement("published_at", f"{HOST_ADDRESS} . tcp . 8082", f"{ONE} . 80"),
        ]
        self.desired = state_of(objects)

    def tcp(self, client: str, address: str, port: int, server: str, server_port: int = 80) -> str:
        """The client's address as the server sees it; "" where no connection comes about."""
        with socket_in(self.paths[server]) as listener, socket_in(self.paths[client]) as connection:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", server_port))
            listener.listen()
            try:
                connection.connect((address, port))
            except OSError:
                return ""
            accepted, peer = listener.accept()
            with accepted:
                accepted.settimeout(1)
                connection.sendall(b"ping")
                assert accepted.recv(4) == b"ping"
                accepted.sendall(b"pong")
                assert connection.recv(4) == b"pong"
            return str(peer[0])

    def udp(self, client: str, address: str, port: int, server: str, server_port: int = 53) -> str:
        kind = socket.SOCK_DGRAM
        with socket_in(self.paths[server], kind) as listener, socket_in(self.paths[client], kind) as connection:
            listener.bind(("0.0.0.0", server_port))
            with contextlib.suppress(OSError):
                connection.connect((address, port))
                connection.send(b"ping")
                _, peer = listener.recvfrom(4)
                listener.sendto(b"pong", peer)
                assert connection.recv(4) == b"pong"
                return str(peer[0])
        return ""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    folder = tmp_path_factory.mktemp("netns")
    with hosts(main=f"{HOST_ADDRESS}/24", outside=f"{OUTSIDE}/24") as made:
        host, outside = made["main"], made["outside"]
        net = Net(host, outside, folder)
        kernel = net.kernel = host.call(LinuxKernel, folder)
        try:
            host.call(kernel.apply, diff({}, net.desired))
            # A neighbour who knows where the containers are, and routes the host's loopback to it.
            outside.run("ip", "route", "add", "172.16.0.0/12", "via", HOST_ADDRESS)
            outside.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
            yield net
        finally:
            host.call(kernel.apply, diff(host.call(kernel.read), {}))
            host.call(kernel.close)


def test_published_from_outside_with_the_clients_own_address(net: Net) -> None:
    assert net.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == OUTSIDE
    assert net.udp(OUTSIDE, HOST_ADDRESS, 8053, ONE) == OUTSIDE
    assert net.tcp(OUTSIDE, HOST_ADDRESS, 8082, ONE) == OUTSIDE


def test_published_from_the_host(net: Net) -> None:
    assert net.tcp(HOST_ADDRESS, HOST_ADDRESS, 8080, ONE)
    assert net.tcp(HOST_ADDRESS, "127.0.0.1", 8080, ONE) == "172.17.0.1"
    assert net.tcp(HOST_ADDRESS, "127.0.0.1", 8081, ONE) == "172.17.0.1"
    assert net.udp(HOST_ADDRESS, "127.0.0.1", 8053, ONE) == "172.17.0.1"
    assert net.tcp(HOST_ADDRESS, "127.0.0.1", 8082, ONE) == ""


@pytest.mark.parametrize("client", [ONE, TWO, OTHER])
def test_published_from_containers(net: Net, client: str) -> None:
    seen = client if client == OTHER else "172.17.0.1"  # answers within one bridge have to come back this way
    assert net.tcp(client, HOST_ADDRESS, 8080, ONE) == seen
    assert net.tcp(client, "172.17.0.1", 8080, ONE) == seen
    assert net.udp(client, HOST_ADDRESS, 8053, ONE) == seen
    assert net.tcp(client, "172.17.0.1", 8082, ONE) == ""


def test_the_hosts_loopback_is_closed_to_others(net: Net) -> None:
    mac = net.host.json("ip", "-j", "link", "show", "eth0")[0]["address"]
    net.outside.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    try:
        net.outside.run("ip", "route", "add", "127.0.0.1", "via", HOST_ADDRESS, "dev", "eth0", "src", OUTSIDE)
        net.outside.run("ip", "neighbour", "replace", HOST_ADDRESS, "lladdr", mac, "dev", "eth0")
        net.host.run("nft", "add", "table", "ip", "seen")
        net.host.run(
            "nft",
            "-f",
            "-",
            stdin="table ip seen { chain in { type filter hook prerouting priority -400; "
            "iifname eth0 ip daddr 127.0.0.1 tcp dport 8081 counter; }; }",
        )
        assert net.tcp(OUTSIDE, "127.0.0.1", 8081, ONE) == ""
        assert "counter packets 0" not in net.host.run("nft", "list", "table", "ip", "seen")  # they did arrive
    finally:
        net.host.run("nft", "delete", "table", "ip", "seen", check=False)
        net.outside.run("ip", "route", "del", "127.0.0.1", check=False)
        net.outside.run("ip", "address", "add", "127.0.0.1/8", "dev", "lo")
    # And to containers, although their bridge lets packets to it through (route_localnet).
    net.host.run("nsenter", f"--net={net.paths[ONE]}", "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    net.host.run("nsenter", f"--net={net.paths[ONE]}", "ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    net.host.run(
        "nsenter", f"--net={net.paths[ONE]}", "ip", "route", "add", "127.0.0.1", "via", "172.17.0.1", "src", ONE
    )
    assert net.tcp(ONE, "127.0.0.1", 2375, HOST_ADDRESS, 2375) == ""
    net.host.run("nsenter", f"--net={net.paths[ONE]}", "ip", "route", "del", "127.0.0.1")
    net.host.run("nsenter", f"--net={net.paths[ONE]}", "ip", "address", "add", "127.0.0.1/8", "dev", "lo")


def test_unpublished_is_closed_from_outside(net: Net) -> None:
    assert net.tcp(OUTSIDE, ONE, 80, ONE) == ""
    assert net.tcp(OUTSIDE, ONE, 81, ONE, 81) == ""
    assert net.tcp(OUTSIDE, HOST_ADDRESS, 81, ONE, 81) == ""


def test_between_containers(net: Net) -> None:
    assert net.tcp(TWO, ONE, 81, ONE, 81) == TWO
    assert net.tcp(OTHER, ONE, 81, ONE, 81) == ""
    assert net.tcp(HOST_ADDRESS, ONE, 81, ONE, 81) == "172.17.0.1"


def test_out_under_the_hosts_address(net: Net) -> None:
    assert net.tcp(ONE, OUTSIDE, 81, OUTSIDE, 81) == HOST_ADDRESS
    assert net.udp(OTHER, OUTSIDE, 53, OUTSIDE, 53) == HOST_ADDRESS
    assert net.tcp(INNER, OUTSIDE, 81, OUTSIDE, 81) == ""


def test_a_udp_client_that_goes_on_sending_follows_the_port(net: Net) -> None:
    kind = socket.SOCK_DGRAM
    first, second = (state_of([NftElement("published", "udp . 9053", f"{address} . 53")]) for address in (ONE, TWO))
    with (
        socket_in(net.paths[OUTSIDE], kind) as client,
        socket_in(net.paths[ONE], kind) as one,
        socket_in(net.paths[TWO], kind) as two,
    ):
        one.bind(("0.0.0.0", 53))
        two.bind(("0.0.0.0", 53))
        for before, after, server in (({}, first, one), (first, second, two), (second, {}, None)):
            client.sendto(b"before", (HOST_ADDRESS, 9053))
            net.host.call(net.kernel.apply, diff(before, after))
            client.sendto(b"after", (HOST_ADDRESS, 9053))
            if server:
                assert server.recvfrom(16)[0] == b"after"
        with pytest.raises(TimeoutError):
            while True:
                assert two.recvfrom(16)[0] == b"before"


def test_a_flush_by_others_stops_nothing(net: Net) -> None:
    net.host.run("nft", "flush", "ruleset")
    assert net.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == OUTSIDE
    assert net.tcp(OUTSIDE, ONE, 81, ONE, 81) == ""
