"""An overlay network's truth table over three hosts, by real connections; and packets of any size in its tunnels."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.state.host import Underlay
from tests.cluster.probes import carries, full_datagram
from tests.hosts import Host, hosts, socket_in
from tests.truth.place import KIND, OUTSIDE, PUBLISHED, UNPUBLISHED, Labs, Probe, Servers, attempt, labs
from tests.truth.reaches import DESTINATIONS, Destination, Net, Source, reaches

pytestmark = pytest.mark.root

HOSTS = {name: {4: f"10.211.55.{number}", 6: f"fd00:55::{number}"} for number, name in enumerate(("h1", "h2", "h3"), 4)}
NETWORKS = (Net("nat", False, True), Net("nat", False, False), Net("nat", True, True), Net("nat", True, False))
Place = tuple[Source, str]  # and the host that it is on
Row = tuple[Place, tuple[Net, str], Destination, int, str]  # … IP version, protocol


def spans(source: Place, there: tuple[Net, str], destination: Destination, *, br_netfilter: bool) -> bool:
    """Whether a connection comes about: within a host as on a bridge network, between hosts as is said here."""
    (who, here), (net, host) = source, there
    if here == host:
        return reaches(who, net, destination, br_netfilter=br_netfilter)
    match destination:
        case "the host's address, published port":
            # One host is to another what any neighbour is; and so are its containers, who leave it under its address.
            return reaches("outside", net, destination, br_netfilter=br_netfilter) and not (
                isinstance(who, Net) and who.internal
            )
        case "the container's address, published port" | "the container's address, unpublished port":
            return who == net and net.icc
        case _:
            # Loopback addresses are each host's own, and so is a network's gateway.
            return False


class Table:
    """What was observed."""

    def __init__(
        self, rows: dict[Row, bool], outward: dict[tuple[Net, str, int, str], str], br_netfilter: bool
    ) -> None:
        self.rows, self.outward, self.br_netfilter = rows, outward, br_netfilter


@pytest.fixture(scope="module", params=[False, True], ids=["", "br_netfilter"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tmp_path_factory.mktemp("overlay")
    with hosts(**{name: f"{own[4]}/24" for name, own in HOSTS.items()}, outside=f"{OUTSIDE[4]}/24") as made:
        for name, host in made.items():
            own = HOSTS[name][6] if name in HOSTS else OUTSIDE[6]
            host.run("ip", "address", "add", f"{own}/64", "dev", "eth0", "nodad")
            for family in ("ip", "ip6"):
                # Where the kernel has no br_netfilter there is no such setting, and both tables are the same.
                setting = f"net.bridge.bridge-nf-call-{family}tables={int(request.param)}"
                host.run("sysctl", "-qw", setting, check=False)
        br_netfilter = made["h1"].run("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False).strip() == "1"
        with labs(made, folder, {name: Underlay("eth0", own[4], own[6]) for name, own in HOSTS.items()}) as there:
            networks = {net: overlay(there, number, net) for number, net in enumerate(NETWORKS)}
            ports = {
                (net, host): 8000 + number for number, (net, host) in enumerate((n, h) for n in NETWORKS for h in HOSTS)
            }
            servers = {
                (net, host): there.container(host, f"server-{net.name}-{host}", networks[net], port)
                for (net, host), port in ports.items()
            }
            peers = {
                (net, host): there.container(host, f"peer-{net.name}-{host}", networks[net]) for net, host in ports
            }
            there.apply()
            assert not [lab.drift() for lab in there.labs.values() if lab.drift()]
            spaces: dict[Place, str] = {("outside", ""): made["outside"].path}
            spaces |= {("host", host): made[host].path for host in HOSTS}
            spaces |= {(net, host): there[host].space(peer) for (net, host), peer in peers.items()}
            with Servers() as running:
                running.listen(made["outside"].path, "outside", (PUBLISHED,))
                for (net, host), server in servers.items():
                    running.listen(there[host].space(server), f"{net.name}-{host}", (PUBLISHED, UNPUBLISHED))
                yield Table(
                    _observe(spaces, servers, ports, br_netfilter=br_netfilter), _ways_out(peers, there), br_netfilter
                )
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def overlay(there: Labs, number: int, net: Net) -> Network:
    return there.network(
        net.name,
        f"10.{100 + number}.0.0/24",
        f"fd00:{100 + number}::/64",
        driver="overlay",
        internal=net.internal,
        bridge__enable_icc=str(net.icc).lower(),
    )


def _observe(
    spaces: dict[Place, str],
    servers: dict[tuple[Net, str], Endpoint],
    ports: dict[tuple[Net, str], int],
    *,
    br_netfilter: bool,
) -> dict[Row, bool]:
    probes: dict[Row, Probe] = {}
    for source, space in spaces.items():
        for (net, host), endpoint in servers.items():
            for version in (4, 6):
                for destination in DESTINATIONS:
                    own = endpoint.address6 if version == 6 else endpoint.address
                    gateway = f"{own.rpartition('::')[0]}::1" if version == 6 else f"{own.rpartition('.')[0]}.1"
                    address, port = {
                        "the host's address, published port": (HOSTS[host][version], ports[net, host]),
                        "the host's loopback address, published port": (
                            "::1" if version == 6 else "127.0.0.1",
                            ports[net, host],
                        ),
                        "the gateway's address, published port": (gateway, ports[net, host]),
                        "the container's address, published port": (own, PUBLISHED),
                        "the container's address, unpublished port": (own, UNPUBLISHED),
                    }[destination]
                    for protocol in KIND:
                        row = (source, (net, host), destination, version, protocol)
                        probes[row] = Probe(space, address, port, protocol, f"{net.name}-{host}")
    wanted = [probe for row, probe in probes.items() if spans(*row[:3], br_netfilter=br_netfilter)]
    found = attempt(probes.values(), wanted)
    return {row: probe in found for row, probe in probes.items()}


def _ways_out(peers: dict[tuple[Net, str], Endpoint], there: Labs) -> dict[tuple[Net, str, int, str], str]:
    probes = {
        (net, host, version, protocol): Probe(
            there[host].space(endpoint), OUTSIDE[version], PUBLISHED, protocol, "outside"
        )
        for (net, host), endpoint in peers.items()
        for version in (4, 6)
        for protocol in KIND
    }
    found = attempt(probes.values(), [probe for (net, *_), probe in probes.items() if not net.internal])
    return {key: found.get(probe, "") for key, probe in probes.items()}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_who_reaches_a_container_on(table: Table, net: Net, version: int) -> None:
    wrong = [
        f"{getattr(source[0], 'name', source[0])} on {source[1]} to {destination} on {there[1]} by {protocol}: "
        f"{'' if seen else 'not '}reached"
        for (source, there, destination, of, protocol), seen in table.rows.items()
        if (there[0], of) == (net, version)
        and seen != spans(source, there, destination, br_netfilter=table.br_netfilter)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_each_host_leads_its_own_containers_out(table: Table, net: Net) -> None:
    for host, addresses in HOSTS.items():
        for version, own in addresses.items():
            seen = {table.outward[net, host, version, protocol] for protocol in KIND}
            assert seen == {"" if net.internal else own}


def test_the_table_is_whole(table: Table) -> None:
    sources = 1 + len(HOSTS) + len(NETWORKS) * len(HOSTS)
    assert len(table.rows) == sources * len(NETWORKS) * len(HOSTS) * len(DESTINATIONS) * 2 * 2


@pytest.mark.parametrize("version", [4, 6], ids=["over IPv4", "over IPv6"])
@pytest.mark.parametrize("mtu", [1500, 1400])
def test_packets_of_any_size(tmp_path: Path, mtu: int, version: int) -> None:
    names = ("h1", "h2")
    with hosts(**{name: f"{HOSTS[name][4]}/24" for name in names}) as made:
        for name, host in made.items():
            host.run("ip", "address", "add", f"{HOSTS[name][6]}/64", "dev", "eth0", "nodad")
            host.run("ip", "link", "set", "eth0", "mtu", str(mtu))
            bridged_as_is(host)
        underlays = {
            name: Underlay("eth0", HOSTS[name][4] if version == 4 else "", HOSTS[name][6], mtu) for name in names
        }
        with labs(made, tmp_path, underlays) as there:
            network = overlay(there, 0, NETWORKS[0])
            assert network.mtu == mtu - (50 if version == 4 else 70)
            one, other = (there.container(name, name, network) for name in names)
            there.apply()
            spaces = there["h1"].space(one), there["h2"].space(other)
            for address in (other.address, other.address6):
                full = full_datagram(network.mtu, address)
                for protocol, sizes in (("udp", (1, full, full + 1, 20_000)), ("tcp", (1, full, 1_000_000))):
                    for size in sizes:
                        assert carries(*spaces, address, protocol, size), f"{size} bytes of {protocol} to {address}"
            # Not one of them was cut in two between the hosts: the containers knew what fits.
            assert [cut(host) for host in made.values()] == [0, 0]


@pytest.mark.parametrize("net", NETWORKS[:2], ids=lambda net: net.name)
def test_further_bridges_of_one_host_are_on_the_segment_too(tmp_path: Path, net: Net) -> None:
    """As a network has where it has more endpoints on a host than a bridge has ports."""
    underlays = {name: Underlay("eth0", HOSTS[name][4]) for name in ("h1", "h2")}
    with (
        hosts(**{name: f"{underlay.address}/24" for name, underlay in underlays.items()}) as made,
        labs(made, tmp_path, underlays) as there,
    ):
        network = overlay(there, 0, net)
        ends = [
            (host, there.container(host, f"{host}-{segment}", network), segment)
            for host in underlays
            for segment in (0, 2)
        ]
        for host, end, segment in ends:
            there[host].change(end, segment=segment)
        there.apply()
        for here, one, _ in ends:
            for at, other, _ in ends:
                if one is not other:
                    spaces = there[here].space(one), there[at].space(other)
                    for address in (other.address, other.address6):
                        assert carries(*spaces, address, "tcp", 5000, within=5 if net.icc else 0.2) == net.icc


def test_nobody_else_puts_frames_into_a_network(tmp_path: Path) -> None:
    """A host takes what comes for a network from the other hosts; not from a machine beside them, nor from a container
    on another network, whatever address that says it has."""
    with (
        hosts(h1="10.211.55.4/24", h2="10.211.55.5/24", outside=f"{OUTSIDE[4]}/24") as made,
        labs(made, tmp_path, {name: Underlay("eth0", HOSTS[name][4]) for name in ("h1", "h2")}) as there,
    ):
        network, other = overlay(there, 0, NETWORKS[0]), overlay(there, 1, NETWORKS[1])
        victim = there.container("h1", "victim", network)
        neighbour = there.container("h1", "neighbour", other)
        there.container("h2", "far", network)
        there.apply()
        beside = there["h1"].space(neighbour)
        with socket_in(there["h1"].space(victim), socket.SOCK_DGRAM) as hears:
            hears.bind(("", 7))
            for name, space in (("outside", made["outside"].path), ("beside", beside), ("h2", made["h2"].path)):
                with socket_in(space, socket.SOCK_DGRAM) as says:
                    says.sendto(smuggled(network, victim, name.encode()), (HOSTS["h1"][4], 4789))
            made["h1"].run("nsenter", f"--net={beside}", "ip", "address", "add", "10.211.55.5/32", "dev", "lo")
            with socket_in(beside, socket.SOCK_DGRAM) as says:
                says.bind(("10.211.55.5", 0))
                says.sendto(smuggled(network, victim, b"liar"), (HOSTS["h1"][4], 4789))
            assert hears.recv(100) == b"h2"
            with pytest.raises(TimeoutError):
                hears.recv(100)


def smuggled(network: Network, to: Endpoint, data: bytes) -> bytes:
    """A datagram to an endpoint's port 7, as VXLAN has it: a frame with its header before it."""
    udp = struct.pack(">HHHH", 7, 7, 8 + len(data), 0) + data
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    head += socket.inet_aton("10.100.0.250") + socket.inet_aton(to.address)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    frame = bytes.fromhex(to.mac.replace(":", "")) + bytes.fromhex("0200000000fa0800") + head + udp
    return struct.pack(">II", 0x08000000, network.vni << 8) + frame


def bridged_as_is(host: Host) -> None:
    """Without br_netfilter, which puts datagrams together on a bridge, and cuts them again as they were."""
    for family in ("ip", "ip6"):
        host.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}tables=0", check=False)


def cut(host: Host) -> int:
    """How many fragments the host itself has made, of both IP versions."""
    names, numbers = (line.split() for line in host.run("grep", "^Ip:", "/proc/net/snmp").splitlines())
    version6 = dict(line.split() for line in host.run("cat", "/proc/net/snmp6").splitlines())
    return int(numbers[names.index("FragCreates")]) + int(version6["Ip6FragCreates"])


def test_moves_leave_nothing_stale(tmp_path: Path) -> None:
    """Addresses that are one container's here and soon another's there, on real kernels: in the end every host has the
    rows of who is where, and no other; and whoever is there is reached."""
    random = Random(1)
    underlays = {name: Underlay("eth0", HOSTS[name][4]) for name in ("h1", "h2", "h3")}
    with (
        hosts(**{name: f"{underlay.address}/24" for name, underlay in underlays.items()}) as made,
        labs(made, tmp_path, underlays) as there,
    ):
        network = overlay(there, 0, NETWORKS[0])
        still = {name: there.container(name, f"still-{name}", network) for name in underlays}
        there.apply()
        held: dict[str, tuple[str, Endpoint]] = {}
        for move in range(100):
            address = f"10.100.0.{200 + random.randrange(8)}"
            if old := held.pop(address, None):
                there.end(*old)
            at = random.choice(list(underlays))
            # Now and then with a MAC of its own, which does not follow from the address.
            mac = random.choice(("", f"02:00:00:00:00:{move:02x}"))
            held[address] = at, there.container(at, f"moving-{move}", network, address=address, mac=mac)
            there.follow()
        assert [list(lab.drift()) for lab in there.labs.values()] == [[], [], []]
        for name, one in still.items():
            here = there[name].space(one)
            for at, other in held.values():
                assert carries(here, there[at].space(other), other.address, "tcp", 100), f"{name} to {other.address}"
