"""Addresses from a network's pools: in order, and those that were given back after all others."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from linkspan.errors import Conflict, Forbidden, InvalidArgument
from linkspan.model.network import Pool, Range
from linkspan.model.pages import PAGE, free_numbers, place


class UsedUp(Conflict):
    """No address is left."""


def default_gateway(pool: Pool) -> str:
    """The pool's own gateway, or the first address of its range that is no auxiliary one. Raises InvalidArgument."""
    if pool.gateway:
        return pool.gateway
    found = next(free_numbers(*address_span(pool), lambda page: _bits(page, _numbers(pool.auxiliary.values()))), None)
    if found is None:
        raise InvalidArgument(f"no available IPv{pool.version} address for a gateway in {pool.subnet}")
    return _text(pool, found)


def allocate_address(
    pools: Sequence[Pool],
    held: Callable[[int], int],
    wanted: str = "",
    *,
    preferred: Sequence[int] = (),
    behind: Callable[[Pool], int] = lambda pool: 0,
) -> tuple[str, Pool]:
    """An address of the pools that is not `held`, not a gateway's, nor an auxiliary one; and the pool that it is of.

    `pools` are a network's of one family, at least one, used up one after the other. `held(page)` are the bits of the
    addresses held, as `model/pages.py` has them. The addresses `preferred` come first, then in each pool those behind
    the address `behind(pool)`, then those before it.

    `wanted` is a user's own choice. Raises InvalidArgument where it lies in no subnet, Forbidden where it is taken
    ("Address already in use"), UsedUp where none is left.
    """
    reserved = _numbers(a for pool in pools for a in (pool.gateway, *pool.auxiliary.values()) if a)
    version = pools[0].version
    if wanted:
        address = _parse(wanted, version)
        pool = next((p for p in pools if address in ipaddress.ip_network(p.subnet)), None)
        if pool is None:
            raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {wanted}")
        page, bit = place(int(address))
        if int(address) in reserved or address in _of_no_host(pool) or held(page) & bit:
            raise Forbidden("Address already in use")
        return str(address), pool
    for pool in pools:
        number = next((n for n in _in_order(pool, held, preferred, behind(pool)) if n not in reserved), None)
        if number is not None:
            return _text(pool, number), pool
    subnets = ", ".join(pool.subnet for pool in pools)
    raise UsedUp(f"no available IPv{version} addresses on this network's address pools: {subnets}: used up")


def range_bits(ranges: Iterable[Range], page: int) -> int:
    """Bits of the addresses of one page that lie in the ranges."""
    bits, low = 0, page * PAGE
    for one in ranges:
        first = max(int(ipaddress.ip_address(one.first)), low) - low
        last = min(int(ipaddress.ip_address(one.last)), low + PAGE - 1) - low
        if first <= last:
            bits |= (2 << last) - (1 << first)
    return bits


def _of_no_host(pool: Pool) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    """The subnet's own address, and of IPv4 the one that all of its hosts listen to; small subnets have neither."""
    subnet = ipaddress.ip_network(pool.subnet)
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return ()
    return (subnet[0], subnet[-1]) if subnet.version == 4 else (subnet[0],)


def _in_order(pool: Pool, held: Callable[[int], int], preferred: Iterable[int], latest: int) -> Iterator[int]:
    first, last = address_span(pool)
    return chain(
        *(free_numbers(number, number, held) for number in preferred if first <= number <= last),
        free_numbers(max(first, latest + 1), last, held),
        free_numbers(first, min(latest, last), held),
    )


def address_span(pool: Pool) -> tuple[int, int]:
    """The first and the last address to choose from."""
    subnet = ipaddress.ip_network(pool.subnet)
    window = ipaddress.ip_network(pool.ip_range) if pool.ip_range else subnet
    first, last = int(window[0]), int(window[-1])
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return first, last
    # The subnet's own address belongs to nobody (in IPv6 it is any router's), nor does IPv4's broadcast address.
    first = max(first, int(subnet[0]) + 1)
    return first, min(last, int(subnet[-1]) - 1) if subnet.version == 4 else last


def _parse(text: str, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text) if version == 6 else ipaddress.IPv4Address(text)
    except ValueError:
        raise InvalidArgument(f"invalid IPv{version} address: {text}") from None


def _numbers(addresses: Iterable[str]) -> frozenset[int]:
    return frozenset(int(ipaddress.ip_address(address)) for address in addresses)


def _bits(page: int, numbers: frozenset[int]) -> int:
    return sum(bit for at, bit in map(place, numbers) if at == page)


def _text(pool: Pool, number: int) -> str:
    return str(ipaddress.IPv6Address(number) if pool.version == 6 else ipaddress.IPv4Address(number))
