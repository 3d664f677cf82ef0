"""This host's BGP as values: what it announces, to whom, and what it takes from whom.

Every network of the calico driver is a pool. What a host announces of it are its own blocks, and its own addresses that
lie outside of them: in others' blocks, for want of a free one, or because they came here with their container. The
others' are taken to where the packets are to go without a tunnel; where there is one, the driver has rendered the way.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.engine.bgp.neighbours import Neighbour, neighbours
from linkspan.engine.bgp.resources import Secrets, cluster_id, resources, router_id
from linkspan.errors import Unsupported
from linkspan.model.cluster import Host
from linkspan.model.network import Network
from linkspan.model.pages import numbers, place
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

DRIVER = "calico"


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """A subnet of a network. `routed`: its packets go plainly, as BGP says. `exported`: routers outside may know it."""

    subnet: str
    routed: bool
    exported: bool

    @property
    def version(self) -> int:
        return 6 if ":" in self.subnet else 4


@dataclasses.dataclass(frozen=True, slots=True)
class Announced:
    """Prefixes of this host; `blocks` are whole parts of a pool, `lone` single addresses outside of them."""

    blocks: tuple[str, ...] = ()
    lone: tuple[str, ...] = ()
    # Within the blocks, and yet on another host, by what the records say: its way is taken.
    elsewhere: tuple[str, ...] = ()

    def of(self, version: int) -> Announced:
        parts = (self.blocks, self.lone, self.elsewhere)
        return Announced(*(tuple(p for p in part if (":" in p) == (version == 6)) for part in parts))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    as_number: int
    router_id: str
    port: int
    sources: tuple[str, ...]  # addresses that this host itself sends from
    cluster_id: str = ""  # of a route reflector
    log_severity: str = "Info"
    pools: tuple[Pool, ...]
    announced: Announced
    communities: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = ()  # for each subnet, what they are
    neighbours: tuple[Neighbour, ...] = ()
    problems: tuple[str, ...] = ()  # why some of it cannot be

    @property
    def needed(self) -> bool:
        """Whether there is somebody to be told, or routes to be learned; else there are only problems."""
        return any(pool.routed for pool in self.pools) or any(n.kind == "router" for n in self.neighbours)

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(version for version in (4, 6) if any(pool.version == version for pool in self.pools))


def plan(snapshot: Snapshot, own: Host, secrets: Secrets) -> Plan | None:
    """None where nothing here needs BGP: no pool is routed, and no router outside is to know of one."""
    pools = tuple(_pools(snapshot))
    if not pools:
        return None
    said, hosts = resources(snapshot), tuple(snapshot.hosts.values())
    sessions, problems = neighbours(own, hosts, said, secrets)
    if not any(pool.routed for pool in pools) and not any(n.kind == "router" for n in sessions) and not problems:
        return None
    versions = {pool.version for pool in pools}
    return Plan(
        as_number=said.as_number(own),
        router_id=router_id(own),
        port=said.port(own),
        sources=tuple(filter(None, (own.address, own.address6))),
        cluster_id=cluster_id(own),
        log_severity=said.log_severity(own),
        pools=pools,
        announced=_announced(snapshot, own),
        communities=tuple(said.communities(own)),
        neighbours=tuple(n for n in sessions if n.version in versions),
        problems=(*problems, *_unreached(snapshot, own)),
    )


def check_routing(host: HostFacts) -> None:
    """Raises Unsupported where nobody would make the routes of a network without tunnels."""
    if host.bgp == "missing":
        raise Unsupported(
            "encapsulation=never leaves the routes between hosts to BGP, and there is no BIRD on this host: install "
            "bird2, or start linkspand with --bgp=external or --bgp=off"
        )


def networks(snapshot: Snapshot) -> Iterator[Network]:
    found = (network for network in snapshot.networks.values() if network.driver == DRIVER)
    yield from sorted(found, key=lambda network: network.id)


def routed(network: Network) -> bool:
    """Whether the packets of a network of the driver go between hosts without a tunnel, everywhere."""
    return network.encapsulation == "never"


def _pools(snapshot: Snapshot) -> Iterator[Pool]:
    specs = (found.spec for found in snapshot.ip_pools.values())
    kept = {ipaddress.ip_network(spec.cidr) for spec in specs if spec.disable_bgp_export}
    for network in networks(snapshot):
        for pool in network.pools:
            yield Pool(pool.subnet, routed(network), ipaddress.ip_network(pool.subnet) not in kept)


def _announced(snapshot: Snapshot, own: Host) -> Announced:
    blocks, lone, elsewhere = list[str](), list[str](), list[str]()
    for network in networks(snapshot):
        mine = [block.subnet for block in snapshot.blocks_of(network) if block.host_id == own.id]
        within = Within(mine)
        blocks += mine
        for endpoint in snapshot.endpoints_at(network):
            lone += (_single(a) for a in (endpoint.address, endpoint.address6) if a and a not in within)
        for subnet in mine:
            elsewhere += (_single(str(address)) for address in _away(snapshot, network, subnet))
    return Announced(*(tuple(sorted(set(part), key=_order)) for part in (blocks, lone, elsewhere)))


def _away(snapshot: Snapshot, network: Network, subnet: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses of a block that endpoints on other hosts have. There may be very many elsewhere: those are not seen."""
    block = ipaddress.ip_network(subnet)
    first, last = int(block[0]), int(block[-1])
    for page in range(place(first)[0], place(last)[0] + 1):
        for number in numbers(page, snapshot.elsewhere.held(network.id, page)):
            if first <= number <= last and snapshot.remote_holder(network.id, number):
                yield type(block[0])(number)


def _unreached(snapshot: Snapshot, own: Host) -> Iterator[str]:
    """IP versions in which this host is no place that packets could be sent to."""
    for network in networks(snapshot):
        for version in network.versions if routed(network) else ():
            if not (own.address6 if version == 6 else own.address):
                yield (
                    f"network {network.name}: its IPv{version} addresses are not reached from other hosts, as this one "
                    f"has no IPv{version} address in the cluster"
                )


class Within:
    """Whether an address lies in one of some blocks."""

    def __init__(self, blocks: Iterable[str]) -> None:
        self._networks: dict[tuple[int, int], set[int]] = {}
        for text in blocks:
            network = ipaddress.ip_network(text)
            shift = network.max_prefixlen - network.prefixlen
            self._networks.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)

    def __contains__(self, text: object) -> bool:
        address = ipaddress.ip_address(str(text))
        return any(
            version == address.version and int(address) >> shift in found
            for (version, shift), found in self._networks.items()
        )


def _single(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _order(subnet: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(subnet)
    return network.version, int(network.network_address), network.prefixlen
