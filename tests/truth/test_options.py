"""What options and the daemon's flags open and close, by real connections."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from linkspan.model.endpoint import Endpoint, LinkedPort
from linkspan.model.network import Network
from tests.hosts import Host, hosts, socket_in
from tests.truth.place import FAMILY, HOST, OUTSIDE, PUBLISHED, UNPUBLISHED, Lab, Probe, Servers, attempt

pytestmark = pytest.mark.root
SUBNET, SUBNET6 = "10.100.0.0/24", "fd00:100::/64"
ANOTHER = {4: "10.211.55.44", 6: "fd00:55::44"}  # of the host


class Ground:
    """A lab with a neighbour outside that has a route to the first network, and servers in the endpoints named."""

    def __init__(self, lab: Lab, host: Host, outside: Host) -> None:
        self.lab, self.host, self.outside = lab, host, outside
        self._servers = contextlib.ExitStack()

    def network(self, **options: str) -> Network:
        return self.lab.network("n", SUBNET, SUBNET6, **options)

    def ready(self, *endpoints: Endpoint) -> None:
        self.lab.apply()
        servers = Servers()
        servers.listen(self.outside.path, "outside", (PUBLISHED,))
        for endpoint in endpoints:
            servers.listen(self.lab.space(endpoint), endpoint.id, (PUBLISHED, UNPUBLISHED))
        self._servers.enter_context(servers)

    def seen(self, source: Endpoint | str, server: Endpoint, place: dict[int, str], port: int) -> list[str]:
        """How a client is seen, by TCP and UDP of each IP version; "" where it does not get there."""
        space = source if isinstance(source, str) else self.lab.space(source)
        probes = [Probe(space, place[v], port, protocol, server.id) for v in place for protocol in ("tcp", "udp")]
        found = attempt(probes, ())
        if len(found) < len(probes):  # not for want of time
            found |= attempt([probe for probe in probes if probe not in found], ())
        return [found.get(probe, "") for probe in probes]

    def reaches(self, source: Endpoint | str, server: Endpoint, place: dict[int, str], port: int) -> list[bool]:
        return [bool(address) for address in self.seen(source, server, place, port)]

    def way_out(self, source: Endpoint) -> list[str]:
        probes = [
            Probe(self.lab.space(source), OUTSIDE[version], PUBLISHED, protocol, "outside")
            for version in (4, 6)
            for protocol in ("tcp", "udp")
        ]
        found = attempt(probes, probes)
        return [found.get(probe, "") for probe in probes]

    def close(self) -> None:
        self._servers.close()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Callable[..., AbstractContextManager[Ground]]]:
    """Makes one, with the daemon's flags."""

    @contextlib.contextmanager
    def make(**flags: object) -> Iterator[Ground]:
        with hosts(main=f"{HOST[4]}/24", outside=f"{OUTSIDE[4]}/24") as made:
            host, outside = made["main"], made["outside"]
            for each, address in ((host, HOST[6]), (outside, OUTSIDE[6])):
                each.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
            for version, subnet in ((4, SUBNET), (6, SUBNET6)):
                outside.run("ip", "route", "add", subnet, "via", HOST[version])
            lab = Lab(host, tmp_path / "netns", **flags)  # type: ignore[arg-type]
            ground = Ground(lab, host, outside)
            try:
                yield ground
            finally:
                ground.close()
                lab.close()

    yield make


def own(endpoint: Endpoint) -> dict[int, str]:
    return {4: endpoint.address, 6: endpoint.address6}


def test_trusted_interfaces(ground: Callable[..., AbstractContextManager[Ground]]) -> None:
    with ground() as g:
        server = g.lab.container("server", g.network(bridge__trusted_host_interfaces="eth0:wg0"), 8000)
        stranger = g.lab.container("stranger", g.lab.network("other", "10.101.0.0/24", "fd00:101::/64"))
        g.ready(server)
        assert g.seen(g.outside.path, server, own(server), PUBLISHED) == [OUTSIDE[4]] * 2 + [OUTSIDE[6]] * 2
        assert not any(g.reaches(g.outside.path, server, own(server), UNPUBLISHED))
        assert not any(g.reaches(stranger, server, own(server), PUBLISHED))


def test_direct_routing(ground: Callable[..., AbstractContextManager[Ground]]) -> None:
    with ground(direct_routing=True) as g:
        server = g.lab.container("server", g.network(), 8000)
        g.ready(server)
        assert all(g.reaches(g.outside.path, server, own(server), PUBLISHED))
        assert not any(g.reaches(g.outside.path, server, own(server), UNPUBLISHED))


def test_a_mark_lets_in(ground: Callable[..., AbstractContextManager[Ground]]) -> None:
    with ground(accept_mark="0x10/0x10") as g:
        server = g.lab.container("server", g.network(), 8000)
        g.ready(server)
        assert not any(g.reaches(g.outside.path, server, own(server), UNPUBLISHED))
        hook = "type filter hook prerouting priority -200;"
        rules = f"table inet marks {{ chain c {{ {hook} iifname eth0 meta mark set %s; }}; }}"
        g.host.run("nft", "-f", "-", stdin=rules % "0x20")
        assert not any(g.reaches(g.outside.path, server, own(server), UNPUBLISHED))
        g.host.run("nft", "-f", "-", stdin=rules % "0x31")
        assert all(g.reaches(g.outside.path, server, own(server), UNPUBLISHED))


def test_what_is_not_ours_to_filter(ground: Callable[..., AbstractContextManager[Ground]]) -> None:
    """--ip6tables=false: of IPv6 nothing is closed, and nothing translated."""
    with ground(rules=frozenset({4})) as g:
        server = g.lab.container("server", g.network(), 8000)
        g.ready(server)
        assert g.reaches(g.outside.path, server, own(server), UNPUBLISHED) == [False, False, True, True]
        assert g.reaches(g.outside.path, server, HOST, 8000) == [True, True, False, False]
        assert g.way_out(server) == [HOST[4]] * 2 + [server.address6] * 2


@pytest.mark.parametrize("masquerade", ["true", "false"])
def test_the_address_that_containers_leave_under(
    ground: Callable[..., AbstractContextManager[Ground]], masquerade: str
) -> None:
    with ground() as g:
        for address in (f"{ANOTHER[4]}/24", f"{ANOTHER[6]}/64"):
            g.host.run("ip", "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        network = g.network(host_ipv4=ANOTHER[4], host_ipv6=ANOTHER[6], bridge__enable_ip_masquerade=masquerade)
        client = g.lab.container("client", network)
        g.ready(client)
        seen = (ANOTHER[4], ANOTHER[6]) if masquerade == "true" else (client.address, client.address6)
        assert g.way_out(client) == [seen[0]] * 2 + [seen[1]] * 2


@pytest.mark.parametrize("filtered", [0, 1])
def test_a_link_opens_a_port_where_containers_may_not_talk(
    ground: Callable[..., AbstractContextManager[Ground]], filtered: int
) -> None:
    with ground() as g:
        g.host.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={filtered}", check=False)
        network = g.network(bridge__enable_icc="false")
        server, friend, other = (g.lab.container(name, network) for name in ("server", "friend", "other"))
        linked = tuple(LinkedPort(protocol=p, address=server.address, port=PUBLISHED) for p in ("tcp", "udp"))
        g.lab.change(friend, linked=linked)
        g.ready(server, friend)
        there = {4: server.address}
        assert g.seen(friend, server, there, PUBLISHED) == [friend.address] * 2
        assert not any(g.reaches(friend, server, there, UNPUBLISHED))
        assert not any(g.reaches(other, server, own(server), PUBLISHED))
        assert not any(g.reaches(server, friend, {4: friend.address}, PUBLISHED))


def test_where_the_bridge_has_no_address(ground: Callable[..., AbstractContextManager[Ground]]) -> None:
    with ground() as g:
        network = g.network(bridge__inhibit_ipv4="true")
        server, client = g.lab.container("server", network), g.lab.container("client", network)
        g.ready(server)
        found = json.loads(g.host.run("ip", "-j", "address", "show", "dev", network.bridge))[0]["addr_info"]
        assert {entry["local"] for entry in found if entry["family"] == "inet"} == set()
        assert "fd00:100::1" in {entry["local"] for entry in found}
        assert all(g.reaches(client, server, own(server), UNPUBLISHED))
        assert client.gateway == "10.100.0.1"  # somebody else has it


def test_from_the_link_alone(ground: Callable[..., AbstractContextManager[Ground]]) -> None:
    """A neighbour that has no IPv6 address but its interface's own reaches published ports at the host's."""
    with ground() as g:
        server = g.lab.container("server", g.network(), 8000)
        g.ready(server)
        (mine,) = (
            a
            for a in json.loads(g.host.run("ip", "-j", "-6", "address", "show", "dev", "eth0"))[0]["addr_info"]
            if a["scope"] == "link"
        )
        assert g.reaches(g.outside.path, server, {6: f"{mine['local']}%eth0"}, 8000) == [True, True]


@pytest.mark.parametrize("closed", [False, True])
def test_who_is_relayed_to_a_container_with_ipv4_alone(
    ground: Callable[..., AbstractContextManager[Ground]], closed: bool
) -> None:
    """From nowhere inside an internal network; with --publish-policy=closed, from nowhere outside."""
    with ground(closed=closed) as g:
        server = g.lab.container("server", g.lab.network("four", "10.101.0.0/24"), 8000)
        insider = g.lab.container("insider", g.network(internal=True))
        client = g.lab.container("client", g.lab.network("six", "10.102.0.0/24", "fd00:102::/64"))
        g.ready(server)
        # With br_netfilter the relay does not see what containers send (docs/guide/isolation.md).
        g.host.run("sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0", check=False)
        assert g.reaches(g.outside.path, server, {6: HOST[6]}, 8000) == [not closed] * 2
        assert g.reaches(g.host.path, server, {6: HOST[6]}, 8000) == [True, True]
        assert g.reaches(g.host.path, server, {6: "::1"}, 8000) == [True, True]
        assert g.reaches(client, server, {6: HOST[6]}, 8000) == [True, True]
        assert g.reaches(insider, server, {6: insider.gateway6}, 8000) == [False, False]


@pytest.mark.parametrize("version", [4, 6])
def test_a_udp_client_that_goes_on_sending_follows_the_port(
    ground: Callable[..., AbstractContextManager[Ground]], version: int
) -> None:
    with ground() as g:
        network = g.network()
        one, two = g.lab.container("one", network, 8000), g.lab.container("two", network)
        g.ready(one, two)
        with socket_in(g.outside.path, socket.SOCK_DGRAM, FAMILY[version]) as client:
            client.settimeout(10)
            for server in (one, two):
                g.lab.change(one, bindings=one.bindings if server is one else ())
                g.lab.change(two, bindings=one.bindings if server is two else ())
                g.lab.apply()
                client.sendto(b"who is there?", (HOST[version], 8000))
                assert json.loads(client.recv(200))[0] == server.id
