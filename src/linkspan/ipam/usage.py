"""How much of a pool is used: the numbers of `Status.IPAM` in a network's inspect."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable

from linkspan.model.network import Pool

MOST = 2**64 - 1  # what fits Docker's numbers


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """`used` counts what nobody can have: endpoints' addresses, the gateway's, auxiliary ones, those of no host.

    `available` is what may still be given out by itself: of the range where there is one, else of the subnet.
    """

    used: int
    available: int


def usage(pool: Pool, held: Iterable[str]) -> Usage:
    """`held` are addresses of endpoints, of any pool and family."""
    subnet = ipaddress.ip_network(pool.subnet)
    window = ipaddress.ip_network(pool.ip_range) if pool.ip_range else subnet
    addresses = {ipaddress.ip_address(text) for text in (*held, pool.gateway, *pool.auxiliary.values()) if text}
    if subnet.prefixlen < subnet.max_prefixlen - 1:
        addresses.add(subnet[0])
        if subnet.version == 4:
            addresses.add(subnet[-1])
    used = sum(address in subnet for address in addresses)
    available = window.num_addresses - sum(address in window for address in addresses)
    return Usage(min(used, MOST), min(available, MOST))
