"""weave in a mesh that encrypts, and what goes plainly in one: three hosts, of which two hear each other only through
the third."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linkspan.state.guard import TABLE
from tests.cluster.place import Member, until
from tests.cluster.probes import carries, full_datagram, heard_by_many
from tests.mesh.place import Mesh, mesh
from tests.traffic import Traffic, Way

VNI = "com.docker.network.driver.overlay.vxlanid_list"
SUBNETS = ("--subnet", "10.93.0.0/24", "--ipv6", "--subnet", "fd00:93::/64")
CALICO = ("--subnet", "10.94.0.0/16", "--ipv6", "--subnet", "fd00:94::/64")


@pytest.fixture(scope="module")
def hosts(new_folder: Callable[[], Path]) -> Iterator[Mesh]:
    with mesh(new_folder(), 4, ("--mesh",)) as made:
        made.fabric.part(("h1", "h3"))
        made.begin()
        made.join(2)
        made.join(3, at=2)
        for number in (1, 2, 3):
            made[number].import_images()
        yield made


def within(sandbox: str, *command: str) -> bool:
    """Whether a command succeeds in the sandbox."""
    return subprocess.run(["nsenter", f"--net={sandbox}", *command], capture_output=True, check=False).returncode == 0


def test_packets_of_every_size_by_way_of_another_host(hosts: Mesh) -> None:
    one, _, three, _ = hosts
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


def test_what_is_for_many_goes_to_whoever_is_on_the_network_and_nowhere_else(hosts: Mesh) -> None:
    one, two, three, _ = hosts
    here, there = one.sandbox("server"), three.sandbox("client")
    vni = json.loads(one.out("network", "inspect", "city"))[0]["Options"][VNI]
    entries = one.host.run(["bridge", "fdb", "show", "dev", f"vx-{vni}"]).stdout.splitlines()
    copies = [line.split()[2] for line in entries if line.startswith("00:00:00:00:00:00")]
    addresses = {host["Name"]: host["Address"] for host in one.request("GET", "/hosts")[1]}
    assert copies == [addresses["h3"]]
    for group in ("224.1.2.3", "255.255.255.255", "10.93.0.255"):
        assert heard_by_many(here, there, group), group
    assert "vx-" not in two.host.run(["ip", "link", "show", "type", "vxlan"]).stdout


def test_an_address_that_moves_is_announced(hosts: Mesh) -> None:
    """As programs do that watch over each other: who has it now says so, and all send there."""
    one, _, three, _ = hosts
    one.run("--name", "spare", "--net", "city", "plain", "sleep", "1000")
    asking, floating = three.sandbox("client"), "10.93.0.200"
    for name in ("server", "spare"):
        there = one.sandbox(name)
        assert within(there, "ip", "address", "add", f"{floating}/24", "dev", "eth0")
        assert within(there, "busybox", "arping", "-U", "-c1", "-I", "eth0", floating)
        assert within(asking, "busybox", "ping", "-c1", "-W1", floating), name
        assert within(there, "ip", "address", "delete", f"{floating}/24", "dev", "eth0")
    one.docker("rm", "-f", "spare")


def test_a_policy_tells_two_containers_of_another_host_apart(hosts: Mesh) -> None:
    """By their labels: one is answered, the other is cut off, and who applied it was a third host."""
    one, two, three, _ = hosts
    three.run("--name", "stranger", "--net", "city", "plain", "sleep", "1000")
    client, stranger, there = three.sandbox("client"), three.sandbox("stranger"), one.sandbox("server")
    four, six = (
        one.address("server"),
        str(one.inspect("server")["NetworkSettings"]["Networks"]["city"]["GlobalIPv6Address"]),
    )
    policy = (
        "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: served, namespace: city}\n"
        "spec: {selector: projectcalico.org/name == 'server', "
        "ingress: [{action: Allow, source: {selector: projectcalico.org/name == 'client'}}]}\n"
    )
    for address in (four, six):
        until(lambda address=address: carries(stranger, there, address, "udp", 100, within=1), "it is heard")
    two.linkspan("policy", "apply", "-f", "-", stdin=policy)
    try:
        until(lambda: TABLE in _tables(there), "it holds")
        for address in (four, six):
            assert not carries(stranger, there, address, "udp", 100, within=0.3)
            assert carries(client, there, address, "udp", 100)
            assert carries(client, there, address, "tcp", 100)
        assert three.linkspan("policy", "check", "client", "server:80").out.startswith("allow: ")
        denied = two.linkspan("policy", "check", "stranger", "server:80", status=3).out
        assert "no rule of NetworkPolicy city/served matches" in denied
    finally:
        two.linkspan("policy", "delete", "np", "city/served")
    until(lambda: carries(stranger, there, six, "udp", 100, within=1), "it is heard again")
    three.docker("rm", "-f", "stranger")


def _tables(sandbox: str) -> str:
    return subprocess.run(
        ["nsenter", f"--net={sandbox}", "nft", "list", "tables"], capture_output=True, text=True
    ).stdout


def test_how_the_hosts_are_reached(hosts: Mesh) -> None:
    one = hosts[1]
    shown = json.loads(one.linkspan("mesh", "status", "--json").out)
    assert (shown["Encryption"], shown["MTU"]) == ("WireGuard (wireguard-go)", 1390)
    two, three = shown["Peers"]
    assert (two["Name"], two["Way"], two["Through"], two["Endpoint"]) == ("h2", "direct", "", "10.211.55.2:6784")
    assert two["LatencyMilliseconds"] > 0 and two["HandshakeSeconds"] >= 0 and two["Since"]
    assert (three["Name"], three["Way"], three["Through"]) == ("h3", "through", "h2")
    assert three["LatencyMilliseconds"] is None and three["HandshakeSeconds"] is None
    lines = one.linkspan("mesh", "status").out.splitlines()
    assert lines[1].split() == ["Encryption:", "WireGuard", "(wireguard-go)"]
    assert any(line.startswith("h3") and " through h2 " in line for line in lines)


def test_routes_without_tunnels_lead_through_a_third_host(hosts: Mesh) -> None:
    """calico's, by BGP: every host of the mesh knows the way. And where it would not, that is said."""
    one, two, three, _ = hosts
    made = one.out("network", "create", "-d", "calico", "-o", "encapsulation=never", *CALICO, "plainly")
    until(lambda: three.request("GET", f"/networks/{made}")[0] == 200, "the network is there")
    for member, name in ((one, "first"), (two, "second"), (three, "last")):
        member.run("--name", name, "--net", "plainly", "plain", "sleep", "1000")
    first, last = one.sandbox("first"), three.sandbox("last")
    for here, there, address in (
        (last, first, one.address("first")),
        (first, last, three.address("last")),
        (first, two.sandbox("second"), two.address("second")),
        (last, first, _address6(one, "first")),
    ):
        until(lambda h=here, t=there, a=address: carries(h, t, a, "tcp", 100, within=1), "they reach each other", 20)
    assert one.out("exec", "first", "cat", "/sys/class/net/eth0/mtu") == "1390"  # without tunnels in the tunnels
    assert carries(last, first, one.address("first"), "tcp", 1_000_000)
    assert carries(last, first, one.address("first"), "udp", 9000)
    addresses = {host["Name"]: host["Address"] for host in one.request("GET", "/hosts")[1]}
    assert _next(one, three.address("last")) == addresses["h2"]
    options = ("-d", "flannel", "--subnet", "10.95.0.0/16", "-o", "flannel.backend=host-gw")
    refused = one.docker("network", "create", *options, "gw", status=1)
    assert "in a mesh the way to a host may lead through another one: use flannel.backend=vxlan" in refused.err
    for member, name in ((one, "first"), (two, "second"), (three, "last")):
        member.docker("rm", "-f", name)
    until(lambda: one.docker("network", "rm", "plainly", status=None).status == 0, "nobody is on it any more")


def _next(member: Member, address: str) -> str:
    """The mesh address of the host that this one sends to for an address."""
    return str(json.loads(member.host.run(["ip", "-j", "route", "get", address]).stdout)[0]["gateway"])


def _address6(member: Member, name: str) -> str:
    return str(member.inspect(name)["NetworkSettings"]["Networks"]["plainly"]["GlobalIPv6Address"])


def test_a_host_that_does_not_encrypt_is_not_let_in(hosts: Mesh) -> None:
    token = hosts[1].linkspan("mesh", "token").out.strip()
    flags = ("--mesh", "--mesh-encryption=off", "--join", hosts[1].at, "--token", token)
    assert "the mesh has --mesh-encryption=on, and so must every host of it" in hosts[4].refuses(*flags)
    assert len(hosts[1].request("GET", "/hosts")[1]) == 3


def test_a_firewall_on_the_way_that_drops_what_is_forwarded(hosts: Mesh) -> None:
    one, two, three, _ = hosts
    asking, address = three.sandbox("client"), one.address("server")
    chain = "chain forward { type filter hook forward priority 0; policy drop; }"
    two.host.run(["nft", f"table ip other {{ {chain}; }}"])
    try:
        until(lambda: "linkspan" in two.host.run(["nft", "list", "table", "ip", "other"]).stdout, "our rule is there")
        assert within(asking, "busybox", "ping", "-c1", "-W2", address)
    finally:
        two.host.run(["nft", "delete table ip other"])


def test_a_rolling_restart_of_all_daemons_fails_no_request(hosts: Mesh) -> None:
    """Neither at an end nor on the way: they end as they should, and then all are killed."""
    one, two, three, _ = hosts
    way = Way("weave", three.sandbox("client"), one.sandbox("server"), one.address("server"), host="server")
    with Traffic([way]) as traffic:
        traffic.go_on()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for member in (one, two, three):
                member.end(number)
                traffic.go_on()
                member.start("--mesh")
                until(member.usable, f"{member.name} can use the store again", 30)
                traffic.go_on()
    assert not traffic.failures
