"""Networks of the driver flannel: a subnet for each host, and containers that reach each other by name."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.cluster.place import ADDRESSES, Cluster, Member, kill_daemon, until
from tests.flannel.field import echoes, tcp, udp
from tests.hosts import socket_in
from tests.product.network import ask, silent, who_server

BACKENDS = {
    "vxlan": (("-o", "flannel.vni=7"), 1450),
    "host-gw": (("-o", "flannel.backend=host-gw"), 1500),
    "udp": (("-o", "flannel.backend=udp"), 1472),
}
NETWORK = "10.77.0.0/16"


def flannel(hosts: Cluster, *options: str) -> str:
    """A network with a configuration that nothing else has; the others have their subnets too."""
    made = hosts.network("flannel", "fl", "--subnet", NETWORK, *options)
    until(lambda: len(keys(hosts, prefix(options))) == len(list(hosts)), "a lease for each host")
    return made


def prefix(options: tuple[str, ...]) -> str:
    return next((o.partition("=")[2] for o in options if o.startswith("flannel.prefix")), "/coreos.com/network")


def keys(hosts: Cluster, where: str) -> list[str]:
    return hosts.etcd.ctl("get", "--prefix", f"{where}/subnets/", "--keys-only").split()


def run(member: Member, name: str) -> str:
    """A container; its address."""
    member.run("--name", name, "--network", "fl", "web")
    return member.address(name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_containers_on_three_hosts(hosts: Cluster, backend: str) -> None:
    options, mtu = BACKENDS[backend]
    where = f"/flannel-{backend}"
    flannel(hosts, "-o", f"flannel.prefix={where}", *options)
    addresses = {member.name: run(member, f"c-{member.name}") for member in hosts}
    assert len({address.rpartition(".")[0] for address in addresses.values()}) == 3
    spaces = {member.name: member.sandbox(f"c-{member.name}") for member in hosts}
    for one in hosts:
        for other in hosts:
            if one is other:
                continue
            with echoes(spaces[other.name], addresses[other.name]):
                assert udp(spaces[one.name], addresses[other.name], mtu, whole=True) == addresses[one.name]
                assert udp(spaces[one.name], addresses[other.name], 4000) == addresses[one.name]
                assert tcp(spaces[one.name], addresses[other.name])
    h1, h2 = hosts["h1"], hosts["h2"]
    until(lambda: addresses["h2"] in h1.docker("exec", "c-h1", "nslookup", "c-h2", status=None).both, "the name")
    seen = h1.out("exec", "c-h1", "timeout", "5", "wget", "-qO-", "http://c-h2/cgi-bin/who")
    assert seen == addresses["h1"]
    # What leaves the network is masqueraded.
    with who_server(hosts.there, "10.211.55.9", 8000):
        assert h1.out("exec", "c-h1", "timeout", "5", "wget", "-qO-", "http://10.211.55.9:8000/") == ADDRESSES["h1"]
    # The daemon dies: packets go on, and it comes back to the same.
    subnets = keys(hosts, where)
    kill_daemon(h2)
    assert h1.out("exec", "c-h1", "timeout", "5", "wget", "-qO-", f"http://{addresses['h2']}/cgi-bin/who") == seen
    h2.start(*h2.flags)
    assert h2.address("c-h2") == addresses["h2"] and keys(hosts, where) == subnets
    assert h1.out("exec", "c-h1", "timeout", "5", "wget", "-qO-", "http://c-h2/cgi-bin/who") == seen
    hosts.clear()
    until(lambda: not keys(hosts, where), "leases are given back")


def test_ipv6_beside_ipv4(hosts: Cluster) -> None:
    """A /64 for each host too, by the same way: names, packets of all sizes, and what leaves is masqueraded."""
    with ipv6_between(hosts):
        _with_ipv6(hosts, 1430, "-o", "flannel.prefix=/flannel-six-vxlan", "-o", "flannel.vni=13")
        _with_ipv6(hosts, 1500, "-o", "flannel.prefix=/flannel-six-gw", "-o", "flannel.backend=host-gw")


def _with_ipv6(hosts: Cluster, mtu: int, *options: str) -> None:
    flannel(hosts, "--subnet", "fd77::/56", "--ipv6", *options)
    addresses = {}
    for member in hosts:
        run(member, f"c-{member.name}")
        addresses[member.name] = address6(member, f"c-{member.name}")
    assert len({address.rpartition(":")[0] for address in addresses.values()}) == 3
    spaces = {member.name: member.sandbox(f"c-{member.name}") for member in hosts}
    for one in hosts:
        for other in hosts:
            if one is other:
                continue
            with echoes(spaces[other.name], addresses[other.name]):
                assert udp(spaces[one.name], addresses[other.name], mtu, whole=True) == addresses[one.name]
                assert udp(spaces[one.name], addresses[other.name], 4000) == addresses[one.name]
                assert tcp(spaces[one.name], addresses[other.name])
    h1, h2, h3 = hosts
    until(lambda: addresses["h2"] in h1.docker("exec", "c-h1", "nslookup", "c-h2", status=None).both, "the name")
    with who_server(hosts.there, "fd00:55::9", 8000):
        assert ask(spaces["h1"], "fd00:55::9", 8000) == "fd00:55::4"
    with echoes(spaces["h2"], addresses["h2"]):
        kill_daemon(h2)
        assert udp(spaces["h1"], addresses["h2"], mtu) == addresses["h1"]
        h2.start(*h2.flags)
        assert udp(spaces["h1"], addresses["h2"], mtu) == addresses["h1"]
        h3.host.run(["ip", "-6", "route", "flush", "proto", "76"])
        until(lambda: udp(spaces["h3"], addresses["h2"], tries=1) == addresses["h3"], "the routes are put back")
    hosts.clear()
    until(lambda: not keys(hosts, prefix(options)), "leases are given back")


@contextlib.contextmanager
def ipv6_between(hosts: Cluster) -> Iterator[None]:
    """fd00:55::N for 10.211.55.N."""
    machines = {**{member.at: member.host for member in hosts}, "10.211.55.9": hosts.outside}
    given = {f"fd00:55::{at.rpartition('.')[2]}/64": machine for at, machine in machines.items()}
    for address, machine in given.items():
        machine.run(["ip", "address", "add", address, "dev", "eth0", "nodad"])
    hosts.each(_restarted)  # where a host is reached is found out at the start
    try:
        yield
    finally:
        hosts.clear()
        for address, machine in given.items():
            machine.run(["ip", "address", "del", address, "dev", "eth0"])
        hosts.each(_restarted)


def _restarted(member: Member) -> None:
    kill_daemon(member)
    member.start(*member.flags)


def address6(member: Member, name: str) -> str:
    found = json.loads(member.out("inspect", name))[0]["NetworkSettings"]["Networks"]["fl"]
    return str(found["GlobalIPv6Address"])


def test_a_host_with_flanneld_on_the_same_network(hosts: Cluster) -> None:
    flannel(hosts, "-o", "flannel.prefix=/flannel-mixed", "-o", "flannel.vni=9")
    lease = (
        '{"PublicIP":"10.211.55.77","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":9,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
    )
    key = "/flannel-mixed/subnets/10.77.250.0-24"
    hosts.etcd.ctl("put", key, lease)
    for member in hosts:
        until(lambda member=member: "10.77.250.0/24" in routes(member), f"the route on {member.name}")  # type: ignore[misc]
    shown = {tuple(line.split()) for line in hosts["h3"].linkspan("cluster", "status").out.splitlines()}
    assert ("fl", "10.77.250.0/24", "10.211.55.77") in shown
    assert {row[2] for row in shown if row[:1] == ("fl",)} == {"h1", "h2", "h3", "10.211.55.77"}
    hosts.etcd.ctl("del", key)
    for member in hosts:
        until(lambda member=member: "10.77.250.0/24" not in routes(member), f"no route on {member.name}")  # type: ignore[misc]


def routes(member: Member) -> set[str]:
    return {route["dst"] for route in json.loads(member.host.run(["ip", "-j", "route"]).stdout)}


def test_other_networks_containers_stay_out(hosts: Cluster) -> None:
    flannel(hosts, "-o", "flannel.prefix=/flannel-apart", "-o", "flannel.backend=host-gw")
    h1, h2 = hosts["h1"], hosts["h2"]
    address = run(h2, "inside")
    h1.docker("network", "create", "own")
    h1.run("--name", "stranger", "--network", "own", "web")
    got = h1.docker("exec", "stranger", "timeout", "1", "wget", "-qO-", f"http://{address}/", status=None)
    assert got.status != 0
    h1.docker("network", "connect", "fl", "stranger")
    assert h1.out("exec", "stranger", "timeout", "5", "wget", "-qO-", f"http://{address}/") == "here"
    # Nor does anybody from outside come in, but through a published port.
    hosts.outside.run(["ip", "route", "add", NETWORK, "via", ADDRESSES["h2"]])
    try:
        assert silent(hosts.there, address, 80)
    finally:
        hosts.outside.run(["ip", "route", "del", NETWORK])
    h2.run("--name", "open", "--network", "fl", "-p", "8085:80", "web")
    assert ask(hosts.there, ADDRESSES["h2"], 8085) == "10.211.55.9"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--internal",), "cannot be internal"),
        (("-o", "flannel.backend=pigeon"), "unknown backend type: pigeon"),
        (("-o", "flannel.vni=many"), "is no number"),
        (("-o", "flannel.nothing=1"), "unknown option: flannel.nothing"),
        (("-o", "flannel.config={}"), "unknown option: flannel.config"),
        (("--gateway", "10.77.0.1"), "a gateway"),
        (("-o", "flannel.prefix=/flannel-taken"), "etcd holds another flannel config"),
    ],
)
def test_what_cannot_be(hosts: Cluster, options: tuple[str, ...], says: str) -> None:
    other = '{"Network": "10.99.0.0/16", "Backend": {"Type": "vxlan"}}'
    hosts.etcd.ctl("put", "/flannel-taken/config", other)
    command = ("network", "create", "-d", "flannel", "--subnet", NETWORK, "-o", "flannel.prefix=/flannel-not", *options)
    done = hosts["h1"].docker(*command, "fl", status=1)
    assert says in done.err
    assert "fl" not in hosts["h1"].networks()


def test_without_a_config_in_etcd_there_is_no_network(hosts: Cluster) -> None:
    command = ("network", "create", "-d", "flannel", "-o", "flannel.prefix=/flannel-nowhere", "fl")
    assert "there is no flannel config in etcd at /flannel-nowhere/config" in hosts["h1"].docker(*command, status=1).err


def test_the_interface_to_the_others_goes_down_and_comes_up(hosts: Cluster) -> None:
    flannel(hosts, "-o", "flannel.prefix=/flannel-nic", "-o", "flannel.backend=host-gw")
    h1 = hosts["h1"]
    one, other = run(h1, "one"), run(hosts["h2"], "other")
    space = h1.sandbox("one")
    with echoes(hosts["h2"].sandbox("other"), other):
        until(lambda: udp(space, other, tries=1) == one, "they reach each other")
        h1.host.run(["ip", "link", "set", "eth0", "down"])
        h1.docker("network", "create", "meanwhile")  # the rest of the host is not held up
        h1.host.run(["ip", "link", "set", "eth0", "up"])
        h1.host.run(["ip", "route", "replace", "default", "via", "10.211.55.9"])
        until(lambda: udp(space, other, tries=1) == one, "they reach each other again")


def test_a_daemon_that_starts_without_etcd_makes_what_it_knew(hosts: Cluster) -> None:
    flannel(hosts, "-o", "flannel.prefix=/flannel-away", "-o", "flannel.vni=11")
    h1 = hosts["h1"]
    one, other = run(h1, "one"), run(hosts["h2"], "other")
    space = h1.sandbox("one")
    with echoes(hosts["h2"].sandbox("other"), other):
        until(lambda: udp(space, other, tries=1) == one, "they reach each other")
        h1.parted_from_etcd(True)
        try:
            kill_daemon(h1)
            h1.host.run(["ip", "link", "del", "flannel.11"])
            h1.start(*h1.flags)
            until(lambda: udp(space, other, tries=1) == one, "the tunnel is made again")
        finally:
            h1.parted_from_etcd(False)
        until(lambda: h1.docker("run", "-d", "--network", "fl", "web", status=None).status == 0, "work goes on", 20)


def test_a_network_that_goes_while_a_host_s_daemon_is_away_leaves_no_lease(hosts: Cluster) -> None:
    flannel(hosts, "-o", "flannel.prefix=/flannel-gone", "-o", "flannel.vni=12")
    h3 = hosts["h3"]
    kill_daemon(h3)
    hosts["h1"].docker("network", "rm", "fl")
    until(lambda: len(keys(hosts, "/flannel-gone")) == 1, "the others have given theirs back")
    h3.start(*h3.flags)
    until(lambda: not keys(hosts, "/flannel-gone"), "the last one, too")
    assert not h3.host.run(["ip", "link", "show", "flannel.12"], check=False).stdout


def test_a_subnet_that_another_host_took(hosts: Cluster) -> None:
    flannel(hosts, "-o", "flannel.prefix=/flannel-stolen", "-o", "flannel.backend=host-gw")
    h1 = hosts["h1"]
    lost = run(h1, "one").rpartition(".")[0] + ".0"
    theirs = '{"PublicIP":"10.211.55.9","PublicIPv6":null,"BackendType":"host-gw"}'
    key = f"/flannel-stolen/subnets/{lost}-24"
    hosts.etcd.ctl("put", key, theirs)
    until(lambda: len(keys(hosts, "/flannel-stolen")) == 4, "another lease for h1")
    way = ["ip", "-j", "route", "show", f"{lost}/24", "via", "10.211.55.9"]
    until(lambda: json.loads(h1.host.run(way).stdout), "a way to the host that has it now")
    until(lambda: not run_at(h1).startswith(lost[:-1]), "addresses come from the new one")
    hosts.etcd.ctl("del", key)


def run_at(member: Member) -> str:
    """The address of a container that is there for a moment."""
    id_ = member.run("--network", "fl", "web")
    address = member.address(id_)
    member.docker("rm", "-f", id_)
    return address


@pytest.mark.parametrize("backend", ["vxlan", "udp"])
def test_nobody_else_puts_packets_into_a_network(hosts: Cluster, backend: str) -> None:
    """Not a machine beside the hosts, nor a container on another network; the other hosts do."""
    vni = ("-o", "flannel.vni=13") if backend == "vxlan" else ()
    flannel(hosts, "-o", f"flannel.prefix=/flannel-ends-{backend}", "-o", f"flannel.backend={backend}", *vni)
    h1 = hosts["h1"]
    address = run(h1, "victim")
    h1.docker("network", "create", "own")
    h1.run("--name", "stranger", "--network", "own", "web")
    mac = json.loads(h1.host.run(["ip", "-j", "link", "show", "flannel.13"]).stdout)[0]["address"] if vni else ""
    with socket_in(h1.sandbox("victim"), socket.SOCK_DGRAM) as hears:
        hears.bind(("", 7))
        senders = {"outside": hosts.there, "beside": h1.sandbox("stranger"), "h2": hosts["h2"].here}
        for name, space in senders.items():
            with socket_in(space, socket.SOCK_DGRAM) as says:
                datagram = smuggled(address, name.encode(), mac, 13)
                says.sendto(datagram, (ADDRESSES["h1"], 8472 if vni else 8285))
        assert hears.recv(100) == b"h2"
        hears.settimeout(0.3)
        with pytest.raises(TimeoutError):
            hears.recv(100)


def smuggled(to: str, data: bytes, mac: str, vni: int) -> bytes:
    """A datagram to an address's port 7, as flannel's tunnels carry it: as it is, or to a MAC in a frame."""
    body = struct.pack(">HHHH", 7, 7, 8 + len(data), 0) + data
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0)
    head += socket.inet_aton("10.77.251.9") + socket.inet_aton(to)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    packet = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + body
    frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0200000000fa0800") + packet
    return struct.pack(">II", 0x08000000, vni << 8) + frame if mac else packet
