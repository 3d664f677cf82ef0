"""Which subnet a host takes of a flannel network: its own of before where it can, else a free one, at random."""

from __future__ import annotations

import bisect
import dataclasses
import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from linkspan.errors import Conflict
from linkspan.model.flannel import FlannelConfig, Lease, Range

CANDIDATES = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The subnets to have. `held` is the lease that is there and to be written anew; without it one is to be created.
    `unfit` are leases of ours that the configuration does not allow any more, or that overlap an earlier one of another
    host: to be deleted first."""

    subnet: str
    subnet6: str = ""
    held: Lease | None = None
    unfit: tuple[Lease, ...] = ()


def choose_subnet(
    config: FlannelConfig,
    leases: Collection[Lease],
    public_ip: str,
    previous: tuple[str, str],
    pick: Callable[[int], int],
) -> Choice:
    """`leases` come in the order in which they were made. `pick(n)` is a random number below n; `previous` are the
    subnets that this host had, "" where it had none.

    Raises Conflict where no subnet is left.
    """
    ours = [lease for lease in leases if lease.public_ip == public_ip]
    late = overlapping(leases)
    unfit = tuple(lease for lease in ours if lease in late or not _fits(config, lease.subnet, lease.subnet6))
    # Of several the one that we had: containers have addresses of it.
    fit = sorted((lease for lease in ours if lease not in unfit), key=lambda lease: lease.subnet != previous[0])
    if fit:
        return Choice(fit[0].subnet, fit[0].subnet6, fit[0], unfit)
    others = [lease for lease in leases if lease not in unfit]
    four = _spans(lease.subnet for lease in others)
    six = _spans(lease.subnet6 for lease in others if lease.subnet6)
    subnet, subnet6 = previous
    if subnet and _fits(config, subnet, subnet6) and _free(subnet, four) and (not subnet6 or _free(subnet6, six)):
        return Choice(subnet, subnet6, None, unfit)
    return Choice(_any(config.v4, four, pick), _any(config.v6, six, pick) if config.v6 else "", None, unfit)


def overlapping(leases: Iterable[Lease]) -> list[Lease]:
    """Those that overlap an earlier one: where a network has IPv6 too, the key of a lease is its pair of subnets, and
    etcd lets two hosts have one of the two in common if they ask for it at once. The earlier one holds."""
    found: list[Lease] = []
    earlier = _Taken()
    for lease in leases:
        if earlier.free(lease):
            earlier.take(lease)
        else:
            found.append(lease)
    return found


class _Taken:
    """The subnets of leases, of which none overlap."""

    def __init__(self) -> None:
        self._spans: dict[int, _Spans] = {4: [], 6: []}

    def free(self, lease: Lease) -> bool:
        return all(_free(subnet, self._spans[version]) for version, subnet in _subnets(lease))

    def take(self, lease: Lease) -> None:
        for version, subnet in _subnets(lease):
            found = ipaddress.ip_network(subnet)
            bisect.insort(self._spans[version], (int(found.network_address), int(found.broadcast_address)))


def _subnets(lease: Lease) -> Iterator[tuple[int, str]]:
    yield from ((version, subnet) for version, subnet in ((4, lease.subnet), (6, lease.subnet6)) if subnet)


def _fits(config: FlannelConfig, subnet: str, subnet6: str) -> bool:
    if not config.v4.fits(subnet):
        return False
    return config.v6.fits(subnet6) if config.v6 and subnet6 else not (config.v6 or subnet6)


_Spans = list[tuple[int, int]]  # first and last address of subnets, in order; they may overlap


def _spans(subnets: Iterable[str]) -> _Spans:
    found = map(ipaddress.ip_network, subnets)
    merged: _Spans = []
    for low, high in sorted((int(n.network_address), int(n.broadcast_address)) for n in found):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _covering(number: int, high: int, taken: _Spans) -> int | None:
    """The end of what overlaps number…high, None where nothing does."""
    at = bisect.bisect_right(taken, (high, high)) if taken else 0
    while at < len(taken) and taken[at][0] <= high:
        at += 1
    return taken[at - 1][1] if at and taken[at - 1][1] >= number else None


def _free(subnet: str, taken: _Spans) -> bool:
    found = ipaddress.ip_network(subnet)
    return _covering(int(found.network_address), int(found.broadcast_address), taken) is None


def _any(range_: Range, taken: _Spans, pick: Callable[[int], int]) -> str:
    found = []
    for subnet in _unused(range_, taken):
        found.append(subnet)
        if len(found) == CANDIDATES:
            break
    if not found:
        raise Conflict(f"out of subnets: every /{range_.length} from {range_.first} to {range_.last} has a lease")
    return found[pick(len(found))]


def _unused(range_: Range, taken: _Spans) -> Iterator[str]:
    first = ipaddress.ip_address(range_.first)
    number, last = int(first), int(ipaddress.ip_address(range_.last))
    size = 1 << (first.max_prefixlen - range_.length)
    make = type(first)
    while number <= last:
        end = _covering(number, number + size - 1, taken)
        if end is None:
            yield f"{make(number)}/{range_.length}"
            number += size
        else:
            number = (end // size + 1) * size


def reachable(config: FlannelConfig, own: Lease, leases: Iterable[Lease]) -> tuple[list[Lease], list[str]]:
    """The other hosts' leases that can be rendered beside ours, and what is wrong with the rest, in words.

    Somebody else's mistake must not become a route: a subnet outside the network, or one that overlaps ours or another
    one's; two hosts with one MAC address. The lease that comes first holds.
    """
    found: list[Lease] = []
    wrong: list[str] = []
    taken = _Taken()
    tunnels: dict[str, str] = {own.vtep: own.public_ip, own.vtep6: own.public_ip6}
    for lease in leases:
        if lease.public_ip == own.public_ip:
            continue
        if reason := _unusable(config, own, lease, tunnels):
            wrong.append(f"lease {lease.subnet} of {lease.public_ip}: {reason}")
            continue
        if not taken.free(lease):
            wrong.append(f"lease {lease.subnet} of {lease.public_ip}: it overlaps another host's")
            continue
        found.append(lease)
        taken.take(lease)
        tunnels |= {mac: ip for mac, ip in ((lease.vtep, lease.public_ip), (lease.vtep6, lease.public_ip6)) if mac}
    return found, wrong


def _unusable(config: FlannelConfig, own: Lease, lease: Lease, tunnels: Mapping[str, str]) -> str:
    wanted = {"udp": "", "alloc": ""}.get(config.backend.type, config.backend.type)
    if lease.backend != wanted:
        return f"its backend is {lease.backend or 'udp'}, and the network's is {config.backend.type}"
    if lease.backend == "vxlan" and lease.vni != config.backend.vni:
        return f"its VNI is {lease.vni}, and the network's is {config.backend.vni}"
    for subnet, range_, mine in ((lease.subnet, config.v4, own.subnet), (lease.subnet6, config.v6, own.subnet6)):
        if not subnet:
            continue
        if range_ is None or not _within(subnet, range_.network):
            return f"{subnet} is not in the network"
        if mine and not _free(subnet, _spans([mine])):
            return f"{subnet} overlaps this host's {mine}"
    for mac, ip in ((lease.vtep, lease.public_ip), (lease.vtep6, lease.public_ip6)):
        if mac and tunnels.get(mac, ip) != ip:
            return f"{mac} is the tunnel of {tunnels[mac]} already"
    return ""


def _within(subnet: str, network: str) -> bool:
    inner, outer = ipaddress.ip_network(subnet), ipaddress.ip_network(network)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
