"""The truth tables: every source to every destination, by real connections, against `reaches`."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from linkspan.model.endpoint import Endpoint
from tests.hosts import hosts
from tests.truth.place import HOST, KIND, OUTSIDE, PUBLISHED, UNPUBLISHED, Lab, Probe, Servers, attempt
from tests.truth.reaches import DESTINATIONS, NETWORKS, Destination, Net, Source, reaches

pytestmark = pytest.mark.root

SOURCES: tuple[Source, ...] = ("outside", "host", *NETWORKS)
Row = tuple[Source, Net, Destination, int, str]  # … IP version, protocol


class Table:
    """What was observed."""

    def __init__(self, rows: dict[Row, bool], outward: dict[tuple[Net, int, str], str], *, br_netfilter: bool) -> None:
        self.rows, self.outward, self.br_netfilter = rows, outward, br_netfilter


@pytest.fixture(scope="module", params=[False, True], ids=["", "br_netfilter"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tmp_path_factory.mktemp("truth")
    with hosts(main=f"{HOST[4]}/24", outside=f"{OUTSIDE[4]}/24") as made:
        host, outside = made["main"], made["outside"]
        for each, address in ((host, HOST[6]), (outside, OUTSIDE[6])):
            each.run("ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
        for family in ("ip", "ip6"):
            # Where the kernel has no br_netfilter there is no such setting, and both tables are the same.
            host.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}tables={int(request.param)}", check=False)
        br_netfilter = host.run("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False).strip() == "1"
        lab = Lab(host, folder)
        try:
            servers: dict[Net, Endpoint] = {}
            peers: dict[Net, Endpoint] = {}
            ports = {net: 8000 + number for number, net in enumerate(NETWORKS)}
            for number, net in enumerate(NETWORKS):
                network = lab.network(
                    net.name,
                    f"10.{100 + number}.0.0/24",
                    f"fd00:{100 + number}::/64",
                    internal=net.internal,
                    bridge__enable_icc=str(net.icc).lower(),
                    bridge__gateway_mode_ipv4=net.mode,
                    bridge__gateway_mode_ipv6=net.mode,
                )
                servers[net] = lab.container(f"server-{net.name}", network, ports[net])
                peers[net] = lab.container(f"peer-{net.name}", network)
                for pool in network.pools:
                    outside.run("ip", "route", "add", pool.subnet, "via", HOST[pool.version])
            lab.apply()
            spaces: dict[Source, str] = {"outside": outside.path, "host": host.path}
            spaces |= {net: lab.space(endpoint) for net, endpoint in peers.items()}
            with Servers() as running:
                running.listen(outside.path, "outside", (PUBLISHED,))
                for net, endpoint in servers.items():
                    running.listen(lab.space(endpoint), net.name, (PUBLISHED, UNPUBLISHED))
                rows = _observe(spaces, servers, ports, br_netfilter=br_netfilter)
                outward = _ways_out(peers, lab)
                yield Table(rows, outward, br_netfilter=br_netfilter)
        finally:
            lab.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _observe(
    spaces: dict[Source, str], servers: dict[Net, Endpoint], ports: dict[Net, int], *, br_netfilter: bool
) -> dict[Row, bool]:
    probes: dict[Row, Probe] = {}
    for source, space in spaces.items():
        for net, endpoint in servers.items():
            for version in (4, 6):
                for destination in DESTINATIONS:
                    address, port = _place(destination, endpoint, ports[net], version)
                    for protocol in KIND:
                        row = (source, net, destination, version, protocol)
                        probes[row] = Probe(space, address, port, protocol, net.name)
    found = attempt(probes.values(), [p for row, p in probes.items() if reaches(*row[:3], br_netfilter=br_netfilter)])
    return {row: probe in found for row, probe in probes.items()}


def _place(destination: Destination, endpoint: Endpoint, port: int, version: int) -> tuple[str, int]:
    own = endpoint.address6 if version == 6 else endpoint.address
    match destination:
        case "the host's address, published port":
            return HOST[version], port
        case "the host's loopback address, published port":
            return "::1" if version == 6 else "127.0.0.1", port
        case "the gateway's address, published port":
            # Of an isolated network there is none; where it would be, is the first address.
            return own.replace("::2", "::1") if version == 6 else own.rpartition(".")[0] + ".1", port
        case "the container's address, published port":
            return own, PUBLISHED
        case "the container's address, unpublished port":
            return own, UNPUBLISHED


def _name(source: Source) -> str:
    return source if isinstance(source, str) else source.name


def _ways_out(peers: dict[Net, Endpoint], lab: Lab) -> dict[tuple[Net, int, str], str]:
    probes = {
        (net, version, protocol): Probe(lab.space(endpoint), OUTSIDE[version], PUBLISHED, protocol, "outside")
        for net, endpoint in peers.items()
        for version in (4, 6)
        for protocol in KIND
    }
    found = attempt(probes.values(), [probe for (net, _, _), probe in probes.items() if not net.internal])
    return {key: found.get(probe, "") for key, probe in probes.items()}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("there", NETWORKS, ids=lambda net: net.name)
def test_who_reaches_a_container_on(table: Table, there: Net, version: int) -> None:
    wrong = [
        f"{_name(source)} to {destination} by {protocol}: {'' if seen else 'not '}reached"
        for (source, net, destination, of, protocol), seen in table.rows.items()
        if (net, of) == (there, version)
        and seen != reaches(source, there, destination, br_netfilter=table.br_netfilter)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_table_is_whole(table: Table) -> None:
    assert len(table.rows) == len(SOURCES) * len(NETWORKS) * len(DESTINATIONS) * 2 * 2
    assert set(table.rows.values()) == {True, False}


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_the_way_out_of(table: Table, net: Net) -> None:
    """Nothing leaves an internal network.

    Outside, the containers of a routed one are seen as themselves, those of others as the host.
    """
    seen = {table.outward[net, version, protocol] for version in (4, 6) for protocol in KIND}
    if net.internal:
        assert seen == {""}
    elif net.mode == "routed":
        assert "" not in seen and not seen & set(HOST.values())
    else:
        assert seen == set(HOST.values())
