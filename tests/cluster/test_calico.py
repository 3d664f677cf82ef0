"""calico networks on three hosts: every container is a route."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import subprocess

import pytest

from tests.cluster.carried import goes_on, impatient, taken
from tests.cluster.ear import Ear
from tests.cluster.place import ADDRESSES, OUTSIDE, Cluster, Member, kill_daemon, until
from tests.cluster.probes import carries
from tests.hosts import socket_in
from tests.product.dns_tools import addresses
from tests.product.network import answers

SUBNETS = ("--subnet", "10.92.0.0/16", "--ipv6", "--subnet", "fd00:92::/64")


_HELD = "tcp dport 7000 drop"


def serve(member: Member, name: str, *options: str) -> str:
    """A web server on the network; its address."""
    member.run("--name", name, "--network", "city", *options, "web")
    return member.address(name)


def way(member: Member, address: str) -> str:
    """The host that this one sends to for an address; "" for none."""
    said = member.host.run(["ip", "-j", "route", "get", address], check=False).stdout  # an error for a blackhole
    return str(json.loads(said)[0].get("gateway", "")) if said.strip() else ""


def reached(member: Member, name: str, address: str) -> bool:
    """Whether a container on the host gets an answer from there."""
    return member.docker("exec", name, "ping", "-c1", "-W1", address, status=None).status == 0


def address6(member: Member, name: str) -> str:
    return str(member.inspect(name)["NetworkSettings"]["Networks"]["city"]["GlobalIPv6Address"])


def routes(member: Member) -> dict[str, str]:
    """The host's routes of ours to containers: where to, and how."""
    found = {}
    for version in ("-4", "-6"):
        for line in member.host.run(["ip", version, "route", "show", "proto", "76"]).stdout.splitlines():
            kind, *rest = line.split()
            destination, way = (rest[0], kind) if kind == "blackhole" else (kind, " ".join(rest))
            found[destination] = way
    return found


def test_containers_are_routes(hosts: Cluster) -> None:
    hosts.network("calico", "city", *SUBNETS)
    h1, h2, h3 = hosts
    one, two = serve(h1, "one"), serve(h2, "two")
    (shown,) = json.loads(h1.out("network", "inspect", "city"))
    assert (shown["Driver"], shown["Scope"]) == ("calico", "global")
    assert shown["IPAM"]["Config"] == [{"Subnet": "10.92.0.0/16"}, {"Subnet": "fd00:92::/64"}]
    until(lambda: one in addresses(h2.sandbox("two"), "one"), "two hears the name of one")
    assert answers(h1.sandbox("one"), two, 80) == one
    assert answers(h2.sandbox("two"), one, 80) == two
    assert carries(h1.sandbox("one"), h2.sandbox("two"), address6(h2, "two"), "tcp", 300_000)
    # A host with no container on it reaches them too; as itself, at the address that the others know.
    assert answers(h3.here, one, 80) == ADDRESSES["h3"]
    assert h1.out("exec", "one", "cat", "/sys/class/net/eth0/mtu") == "1450"
    assert [way for way in routes(h1).values() if way == "blackhole"] == ["blackhole"] * 2
    assert not [link for link in h1.ip("link", "show", "type", "bridge") if link.get("ifname", "").startswith("br-")]


def test_what_another_program_takes_away_is_put_back(hosts: Cluster) -> None:
    hosts.network("calico", "city", *SUBNETS)
    h1, h2, _ = hosts
    one, two = serve(h1, "one"), serve(h2, "two")
    until(lambda: len(routes(h1)) == 6, "h1 knows the blocks")
    before = routes(h1)
    block = next(destination for destination, way in before.items() if way == "blackhole")
    for harm in (
        "ip link delete vx-4096",
        "ip link set vx-4096 down",
        f"ip route delete {one}/32",
        f"ip route delete blackhole {block}",
        "ip route flush proto 76",
        "ip neigh flush nud permanent",
        "ip address flush dev vx-4096",
    ):
        h1.host.run(harm.split())
        until(lambda: routes(h1) == before and reached(h1, "one", two), f"all is well after: {harm}")
    # And the next daemon knows all of it for ours.
    inside = h1.sandbox("one")
    kill_daemon(h1)
    assert answers(inside, two, 80) == one
    h1.start(*h1.flags)
    assert "the kernel is as the records say (0 steps)" in h1.log.read_text().splitlines()[-3:][0]


def test_what_is_for_nobody_ends_at_the_host_that_has_the_block(hosts: Cluster) -> None:
    """And what a container sends under another address, nowhere."""
    hosts.network("calico", "city", *SUBNETS)
    h1, h2, _ = hosts
    one, _ = serve(h1, "one"), serve(h2, "two")
    until(lambda: reached(h2, "two", one), "two reaches one")
    unused = str(ipaddress.ip_address(one) + 7)
    with Ear(hosts.there, "eth0") as beyond:
        assert not reached(h2, "two", unused)
        inside = ["nsenter", f"--net={h2.sandbox('two')}"]
        subprocess.run([*inside, "ip", "address", "add", "10.92.7.7/32", "dev", "eth0"], check=True)
        with socket_in(h2.sandbox("two")) as liar, pytest.raises(TimeoutError):
            liar.bind(("10.92.7.7", 0))
            liar.connect((one, 80))
        assert not [packet for packet in beyond.heard() if packet[1].startswith("10.92.")]


def test_nothing_is_passed_on_that_is_not_of_the_hosts_own_blocks(hosts: Cluster) -> None:
    """Or it could circle, while an address moves and two hosts take each other for its place."""
    hosts.network("calico", "city", "--subnet", "10.92.0.0/16")
    h1, h2, h3 = hosts
    two = serve(h2, "two")
    serve(h1, "one")
    serve(h3, "three")
    until(lambda: reached(h3, "three", two), "three reaches two")
    h3.host.run(["ip", "route", "add", two, "via", ADDRESSES["h1"], "dev", "vx-4096", "onlink"])
    with Ear(h1.here, "vx-4096") as wrong, Ear(h2.here, "vx-4096") as right:
        assert not reached(h3, "three", two)
        assert two in {recipient for _, recipient in wrong.heard()}
        assert two not in {recipient for _, recipient in right.heard()}
    h3.host.run(["ip", "route", "delete", two])
    assert reached(h3, "three", two)


def test_an_internal_network_leads_to_its_own(hosts: Cluster) -> None:
    hosts.network("calico", "city", "--internal", *SUBNETS)
    hosts.network("calico", "town", "--subnet", "10.93.0.0/16")
    h1, h2, _ = hosts
    one, uno, two = serve(h1, "one"), serve(h1, "uno"), serve(h2, "two")
    h1.run("--name", "other", "--network", "town", "web")
    until(lambda: reached(h1, "one", two), "one reaches two")
    assert reached(h1, "one", uno) and reached(h2, "two", one)
    for outside in (OUTSIDE, h1.address("other"), ADDRESSES["h2"]):
        assert not reached(h1, "one", outside), outside
    assert not reached(h1, "other", one) and not reached(h1, "other", two)


def test_published_ports(hosts: Cluster) -> None:
    hosts.network("calico", "city", *SUBNETS)
    h1, h2, _ = hosts
    one, uno = serve(h1, "one", "-p", "8080:80", "-p", "127.0.0.1:8081:80"), serve(h1, "uno")
    serve(h2, "two")
    place = ADDRESSES["h1"]
    assert answers(hosts.there, place, 8080) == OUTSIDE
    assert answers(h1.sandbox("uno"), place, 8080) == uno
    assert answers(h1.sandbox("one"), place, 8080) == place  # itself: or the answer would not come back
    assert answers(h2.sandbox("two"), place, 8080) == ADDRESSES["h2"]
    assert answers(h1.here, "127.0.0.1", 8081) == place
    h1.linkspan("publish", "one", "-p", "8082:80")
    h1.docker("network", "disconnect", "city", "uno")
    h1.docker("network", "connect", "city", "uno")
    assert answers(hosts.there, place, 8082) == OUTSIDE
    assert answers(h1.sandbox("uno"), one, 80) == h1.address("uno")


def test_without_nat_containers_leave_as_themselves(hosts: Cluster) -> None:
    hosts.network("calico", "city", "-o", "nat_outgoing=false", *SUBNETS)
    one = serve(hosts["h1"], "one")
    with Ear(hosts.there, "eth0") as beyond:
        assert not reached(hosts["h1"], "one", OUTSIDE)  # which knows no way back
        until(lambda: (one, OUTSIDE) in beyond.heard(), "the machine outside hears it")


@pytest.mark.parametrize("encapsulation", ["vxlan", "never"])
def test_a_connection_follows_an_address_to_another_host(hosts: Cluster, encapsulation: str) -> None:
    """From a container on a third host, while its other end is stopped on one and started on another."""
    hosts.network("calico", "city", "-o", f"encapsulation={encapsulation}", "--subnet", "10.92.0.0/16")
    h1, h2, h3 = hosts
    for member, name in ((h1, "web"), (h1, "stays"), (h3, "client")):
        member.run("--name", name, "--network", "city", "plain", "sleep", "1000")
    address, stays = h1.address("web"), h1.address("stays")
    until(lambda: reached(h3, "client", address), "the client reaches it", 20)
    with (
        contextlib.ExitStack() as left,
        socket_in(h1.sandbox("web")) as listening,
        socket_in(h3.sandbox("client")) as client,
    ):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, 7000))
        listening.listen()
        client.settimeout(20)
        impatient(client)
        client.connect((address, 7000))
        server, _ = listening.accept()
        listening.close()
        client.sendall(b"before")
        assert server.recv(100) == b"before"
        connection = taken(server)
        h1.docker("stop", "-t", "0", "web")
        client.sendall(b" meanwhile")  # and again and again, until somebody is there
        h1.linkspan("move", "web", "h2")
        left.callback(h2.host.run, ["nft", "table ip hold; delete table ip hold"])
        # It is there before its end of the connection is, about which the kernel would say that it knows none.
        h2.host.run(["nft", f"table ip hold {{ chain f {{ type filter hook forward priority -500; {_HELD}; }}; }}"])
        h2.docker("start", "web")
        assert h2.address("web") == address
        for member in (h1, h3):
            until(lambda member=member: way(member, address) == ADDRESSES["h2"], f"{member.name} knows where it is")
        with (
            Ear(h1.here, "eth0" if encapsulation == "never" else "vx-4096") as old,
            goes_on(h2.sandbox("web"), connection) as server,
        ):
            h2.host.run(["nft", "delete table ip hold"])
            server.settimeout(20)
            assert server.recv(100) == b" meanwhile"
            server.sendall(b"after")
            assert client.recv(100) == b"after"
            assert reached(h3, "client", stays)
            heard = old.heard()
            assert not [packet for packet in heard if packet[1] == address]
            assert [packet for packet in heard if packet[1] == stays]
    h2.docker("rm", "-f", "web")
    until(lambda: way(h3, address) == ADDRESSES["h1"], "h3 knows that it has gone")


def test_addresses_by_hand_and_borrowed_ones_are_routes_of_their_own(hosts: Cluster) -> None:
    hosts.network("calico", "city", "--subnet", "10.92.0.0/26", "-o", "blocksize=28", "-o", "identity=none")
    h1, h2, h3 = hosts
    one, two = serve(h1, "one"), serve(h2, "two")
    borrowed = str(ipaddress.ip_address(one) + 3)
    serve(h2, "guest", "--ip", borrowed)
    until(lambda: borrowed in routes(h1), "h1 knows where it is")
    assert reached(h1, "one", borrowed) and reached(h2, "guest", one)
    assert answers(h3.here, borrowed, 80) == ADDRESSES["h3"]  # by way of the host that has the block
    assert answers(h3.here, two, 80) == ADDRESSES["h3"]


def test_ip_in_ip_needs_a_kernel_that_has_it(hosts: Cluster) -> None:
    refused = hosts["h1"].docker(
        "network", "create", "-d", "calico", "-o", "encapsulation=ipip", "--subnet", "10.92.0.0/16", "city", status=None
    )
    if refused.status == 0:
        pytest.skip("this kernel has IP-in-IP")
    assert "the running kernel lacks IP-in-IP links (module ipip): use vxlan, or load it" in refused.err
