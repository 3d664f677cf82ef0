"""What of the address space is used, and by whom: for `linkspan ipam`."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.engine.subnets import Use, uses
from linkspan.ipam.addresses import address_span
from linkspan.ipam.pools import PoolSource
from linkspan.ipam.usage import MOST
from linkspan.model.claims import given_addresses
from linkspan.model.cluster import GLOBAL
from linkspan.model.network import Network, Pool
from linkspan.model.pages import free_numbers
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

IN_USE, RESERVED, GATEWAY, AUXILIARY = "in use", "reserved", "gateway", "auxiliary"


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """An address that is not given out: `whose` is a container's name, or an auxiliary address's."""

    address: str
    state: str  # in use, reserved (given by hand to a container that does not hold it now, or kept), gateway, auxiliary
    whose: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class SubnetUse:
    """`free` addresses can still be given out; those `resting` are free too, and tried after all others.

    Resting ones are ranges: `10.0.0.3`, `10.0.0.5-10.0.0.9`.
    """

    pool: Pool
    free: int
    holdings: tuple[Holding, ...]
    resting: tuple[str, ...]

    @property
    def resting_count(self) -> int:
        return sum(_length(text) for text in self.resting)


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkUse:
    network: Network
    subnets: tuple[SubnetUse, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class SourceUse:
    """A prefix that networks are cut from: how many subnets there are in it, and what lies in its way."""

    source: PoolSource
    subnets: int
    free: int
    uses: tuple[Use, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AddressUse:
    sources: tuple[SourceUse, ...]
    networks: tuple[NetworkUse, ...]


def address_use(snapshot: Snapshot, sources: Iterable[PoolSource], host: HostFacts) -> AddressUse:
    networks = sorted(snapshot.networks.values(), key=lambda n: (not n.predefined, n.name))
    there = sorted(uses(networks, host), key=lambda use: use.order)
    return AddressUse(
        tuple(_source_use(source, there) for source in sources),
        tuple(
            NetworkUse(network, tuple(_subnet_use(snapshot, network, pool) for pool in network.pools))
            for network in networks
            if network.pools
        ),
    )


def _source_use(source: PoolSource, there: Iterable[Use]) -> SourceUse:
    base = source.base
    step = 1 << (base.max_prefixlen - max(source.size, base.prefixlen))
    found, blocked = [], set[tuple[int, int]]()
    for use in there:
        prefix = ipaddress.ip_network(use.subnet)
        if prefix.version != base.version or not prefix.overlaps(base):
            continue
        found.append(use)
        first, last = max(int(prefix[0]), int(base[0])), min(int(prefix[-1]), int(base[-1]))
        blocked.add(((first - int(base[0])) // step, (last - int(base[0])) // step))
    total = base.num_addresses // step
    return SourceUse(source, total, total - _covered(blocked), tuple(found))


def _covered(ranges: Iterable[tuple[int, int]]) -> int:
    count, end = 0, -1
    for first, last in sorted(ranges):
        count += max(0, last - max(first, end + 1) + 1)
        end = max(end, last)
    return count


def _subnet_use(snapshot: Snapshot, network: Network, pool: Pool) -> SubnetUse:
    subnet = ipaddress.ip_network(pool.subnet)
    found: dict[int, Holding] = {}

    def add(address: int, state: str, whose: str = "") -> None:
        if int(subnet[0]) <= address <= int(subnet[-1]):
            found.setdefault(address, Holding(_text(pool, address), state, whose))

    for endpoint in snapshot.endpoints_at(network):
        for text in (endpoint.address, endpoint.address6):
            if text and (":" in text) == (pool.version == 6):
                add(int(ipaddress.ip_address(text)), IN_USE, snapshot.containers[endpoint.container_id].name)
    for remote in snapshot.remotes_at(network):
        host = snapshot.hosts.get(remote.host_id)
        for text in (remote.address, remote.address6):
            if text and (":" in text) == (pool.version == 6):
                add(
                    int(ipaddress.ip_address(text)), IN_USE, f"{remote.name} on {host.name if host else remote.host_id}"
                )
    for kept in snapshot.reservations.values():
        for text in (kept.address, kept.address6) if kept.network_id == network.id else ():
            if text and (":" in text) == (pool.version == 6):
                add(int(ipaddress.ip_address(text)), RESERVED, kept.identity)
    for container in snapshot.containers.values():
        settings = container.networks.get(network.id)
        for address in given_addresses(settings) if settings else ():
            add(address, RESERVED, container.name)
        for plug in container.plugs:  # given by hand, on the network's bridge or parent
            if plug.network_id == network.id:
                state = IN_USE if snapshot.sandbox(container) else RESERVED
                add(int(ipaddress.ip_address(plug.address)), state, container.name)
    if pool.gateway:
        add(int(ipaddress.ip_address(pool.gateway)), GATEWAY)
    for name, text in pool.auxiliary.items():
        add(int(ipaddress.ip_address(text)), AUXILIARY, name)
    first, last = address_span(pool)
    free = last - first + 1 - sum(first <= address <= last for address in found)
    latest = min(snapshot.resting.latest_in(network.id, pool), last)
    passed = free_numbers(_searched_from(snapshot, network, first, latest), latest, lambda page: 0)
    return SubnetUse(
        pool,
        min(free, MOST),
        tuple(found[address] for address in sorted(found)),
        tuple(_ranges(pool, (number for number in passed if number not in found))),
    )


def _searched_from(snapshot: Snapshot, network: Network, first: int, latest: int) -> int:
    """Where the search began that came to `latest`: of a network in blocks at the block's first address."""
    if network.scope != GLOBAL:
        return first
    blocks = (ipaddress.ip_network(block.subnet) for block in snapshot.blocks_of(network))
    ends = ((int(block[0]), int(block[-1])) for block in blocks)
    return max(first, next((begin for begin, end in ends if begin <= latest <= end), latest + 1))


def _ranges(pool: Pool, numbers: Iterable[int]) -> Iterator[str]:
    first = last = None
    for number in numbers:
        if last is not None and first is not None and number != last + 1:
            yield _range(pool, first, last)
            first = None
        first, last = number if first is None else first, number
    if first is not None and last is not None:
        yield _range(pool, first, last)


def _range(pool: Pool, first: int, last: int) -> str:
    return _text(pool, first) if first == last else f"{_text(pool, first)}-{_text(pool, last)}"


def _length(text: str) -> int:
    first, _, last = text.partition("-")
    return int(ipaddress.ip_address(last or first)) - int(ipaddress.ip_address(first)) + 1


def _text(pool: Pool, number: int) -> str:
    return str(ipaddress.IPv6Address(number) if pool.version == 6 else ipaddress.IPv4Address(number))
