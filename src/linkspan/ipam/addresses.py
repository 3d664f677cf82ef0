"""Addresses from a network's pools: the lowest free one, so that they come in order."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from linkspan.errors import Conflict, Forbidden, InvalidArgument
from linkspan.model.network import Pool
from linkspan.model.pages import free_numbers, place


def default_gateway(pool: Pool) -> str:
    """The pool's own gateway, or the first address of its range."""
    if pool.gateway:
        return pool.gateway
    subnet = ipaddress.ip_network(pool.subnet)
    if not pool.ip_range:
        return str(subnet[1])
    first = ipaddress.ip_network(pool.ip_range)[0]
    return str(first if first != subnet[0] else subnet[1])


def allocate_address(pool: Pool, held: Callable[[int], int], wanted: str = "") -> str:
    """An address of the pool that is not `held`, not the gateway's, nor an auxiliary one.

    `held(page)` are the bits of the addresses held, as `model/pages.py` has them.

    `wanted` is a user's own choice. Raises InvalidArgument where it lies outside the subnet, Forbidden where it is
    taken ("Address already in use"), Conflict where none is left.
    """
    subnet = ipaddress.ip_network(pool.subnet)
    reserved = {int(ipaddress.ip_address(a)) for a in (pool.gateway, *pool.auxiliary.values()) if a}
    if wanted:
        try:
            address = ipaddress.ip_address(wanted)
        except ValueError:
            raise InvalidArgument(f"invalid IPv4 address: {wanted}") from None
        if address not in subnet:
            raise InvalidArgument(f"no configured subnet or ip-range contain the IP address {wanted}")
        page, bit = place(int(address))
        if int(address) in reserved or held(page) & bit:
            raise Forbidden("Address already in use")
        return str(address)
    window = ipaddress.ip_network(pool.ip_range) if pool.ip_range else subnet
    first, last = int(window[0]), int(window[-1])
    if subnet.version == 4:  # the subnet's own address and its broadcast address belong to nobody
        first, last = max(first, int(subnet[0]) + 1), min(last, int(subnet[-1]) - 1)
    number = next((n for n in free_numbers(first, last, held) if n not in reserved), None)
    if number is not None:
        return str(type(subnet[0])(number))
    raise Conflict(f"no available IPv4 addresses on this network's address pools: {pool.subnet} is used up")
