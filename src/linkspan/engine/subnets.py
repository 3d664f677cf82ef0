"""A network's pools: what the user gave is checked, what is left open is chosen."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.ipam.addresses import default_gateway
from linkspan.ipam.pools import PoolSource, allocate_subnet, check_overlap
from linkspan.model.network import Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts


def choose_pools(
    asked: Sequence[Pool],
    versions: Iterable[int],
    snapshot: Snapshot,
    sources: Iterable[PoolSource],
    host: HostFacts,
    *,
    without_gateway: Iterable[int] = (),
) -> tuple[Pool, ...]:
    """The pools of a new network that has addresses of these versions; one is found for a version that none names.

    `0.0.0.0/24` and `::/80` are any subnet of that size. The versions in `without_gateway` get no gateway that the
    user has not named. Raises InvalidArgument, and Forbidden where subnets overlap.
    """
    check_pools(asked)
    taken = [pool.subnet for network in snapshot.networks.values() for pool in network.pools]
    avoided = tuple(real_routes(host))
    sources = tuple(sources)
    found: list[Pool] = []
    for version in versions:
        for pool in [p for p in asked if p.subnet and p.version == version] or [Pool(subnet="")]:
            subnet = ipaddress.ip_network(pool.subnet) if pool.subnet else None
            if subnet is None or (int(subnet[0]) == 0 and subnet.prefixlen):
                size = subnet.prefixlen if subnet else 0
                chosen = allocate_subnet(sources, (*taken, *avoided), version, size)
            else:
                chosen = str(subnet)
                check_overlap(chosen, taken)
            taken.append(chosen)
            pool = msgspec.structs.replace(pool, subnet=chosen, automatic=not pool.subnet)
            if version not in without_gateway:
                pool = msgspec.structs.replace(pool, gateway=default_gateway(pool))
            found.append(pool)
    return tuple(found)


def check_pools(pools: Iterable[Pool]) -> None:
    """Raises InvalidArgument with Docker's words, everything that is wrong in one."""
    wrong = [words for pool in pools for words in _faults(pool)]
    if wrong:
        raise InvalidArgument("invalid network config:\n" + "\n".join(wrong))


def real_routes(host: HostFacts) -> Iterable[str]:
    """A default route covers everything and reserves nothing."""
    return (route for route in host.routes if not route.endswith("/0"))


def _faults(pool: Pool) -> Iterable[str]:
    if not pool.subnet:
        if pool.ip_range or pool.gateway or pool.auxiliary:
            yield "invalid subnet : invalid CIDR block notation"
        return
    try:
        subnet = ipaddress.ip_network(pool.subnet, strict=False)
    except ValueError:
        yield f"invalid subnet {pool.subnet}: invalid CIDR block notation"
        return
    if str(subnet) != pool.subnet and subnet != _parsed(pool.subnet):
        yield f"invalid subnet {pool.subnet}: it should be {subnet}"
    if pool.ip_range:
        yield from _range_faults(pool.ip_range, subnet)
    given = (("gateway", pool.gateway), *(("auxiliary address", address) for address in pool.auxiliary.values()))
    for what, text in given:
        if text:
            yield from _address_faults(what, text, subnet)


def _parsed(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _range_faults(text: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterable[str]:
    try:
        inner = ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield f"invalid ip-range {text}: invalid CIDR block notation"
        return
    if inner.version != subnet.version:
        yield f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"
    elif inner.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
    elif _parsed(text) is None:
        yield f"invalid ip-range {text}: it should be {inner}"
    elif int(subnet[0]) and not inner.overlaps(subnet):
        yield f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"


def _address_faults(what: str, text: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterable[str]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        yield f"invalid {what} {text}: invalid address"
        return
    if address.version != subnet.version:
        yield f"invalid {what} {text}: parent subnet is an IPv{subnet.version} block"
    elif address not in subnet:
        yield f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address"
