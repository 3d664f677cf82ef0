"""A network's pools: what the user gave is checked, what is left open is chosen."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.ipam.addresses import default_gateway
from linkspan.ipam.pools import PoolSource, Prefix, allocate_subnet, check_overlap
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

_SHOWN = 40  # of those who use a pool, in an error


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
    there = list(uses(snapshot.networks.values(), host))
    taken = [pool.subnet for network in snapshot.networks.values() for pool in network.pools]
    sources = tuple(sources)
    found: list[Pool] = []
    for version in versions:
        for pool in [p for p in asked if p.subnet and p.version == version] or [Pool(subnet="")]:
            subnet = ipaddress.ip_network(pool.subnet) if pool.subnet else None
            if subnet is None or (int(subnet[0]) == 0 and subnet.prefixlen):
                size = subnet.prefixlen if subnet else 0
                chosen = free_subnet(sources, there, version, size)
            else:
                chosen = str(subnet)
                check_overlap(chosen, taken)
            taken.append(chosen)
            there.append(Use(chosen, "this network"))
            pool = msgspec.structs.replace(pool, subnet=chosen, automatic=not pool.subnet, block=0)
            if version not in without_gateway:
                pool = msgspec.structs.replace(pool, gateway=default_gateway(pool))
            found.append(pool)
    return tuple(found)


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """A prefix that no new network may lie in, and whose it is: `network back`, `a route of the host`."""

    subnet: str
    who: str

    @property
    def order(self) -> tuple[int, int]:
        """By address."""
        prefix = ipaddress.ip_network(self.subnet)
        return prefix.version, int(prefix[0])


def uses(networks: Iterable[Network], host: HostFacts) -> Iterator[Use]:
    for network in networks:
        for pool in network.pools:
            yield Use(pool.subnet, f"network {network.name}")
    for route in real_routes(host):
        yield Use(route, "a route of the host")


def free_subnet(sources: Sequence[PoolSource], there: Iterable[Use], version: int, size: int = 0) -> str:
    """A subnet for a network that names none. Raises InvalidArgument, which says what is used by whom."""
    try:
        return allocate_subnet(sources, (use.subnet for use in there), version, size)
    except InvalidArgument as error:
        bases = [source.base for source in sources if source.base.version == version]
        named = [
            f"{use.subnet} by {use.who}"
            for use in sorted(there, key=lambda use: use.order)
            if any(_overlap(ipaddress.ip_network(use.subnet), base) for base in bases)
        ]
        shown = ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")
        pools = ", ".join(map(str, bases)) or f"none for IPv{version}"
        asked = f" (asked for: a /{size})" if size else ""
        raise InvalidArgument(
            f"{error}{asked}: of the pools {pools}, these are used: {shown or 'none'}. Name a subnet, remove a network "
            "that is not needed (`linkspan ipam` shows them), or start linkspand with --default-subnet-size=24 or more "
            "--default-address-pool"
        ) from None


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


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
        subnet = None
    if subnet is None or "/" not in pool.subnet:
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
