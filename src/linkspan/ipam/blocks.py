"""Parts of a subnet that the hosts of a cluster take addresses from, each from its own.

They keep hosts from choosing the same address at the same time. That no two hold one is made sure elsewhere: by the
key that every address has in the cluster's store. So whoever finds no block left takes addresses out of others'.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.model.network import Pool

_LARGEST = {4: 26, 6: 122}  # 64 addresses
_PARTS = 4  # bits: a small subnet is cut into sixteen
_SMALLEST = {4: 29, 6: 125}  # eight addresses: smaller ones are not worth a host's while
MOST = 20  # blocks of one network that one host keeps at most


def block_length(pool: Pool) -> int:
    """The prefix length of a pool's blocks; 0 where it is too small to be cut."""
    if pool.block:
        return pool.block
    window = ipaddress.ip_network(pool.ip_range or pool.subnet)
    length = max(window.prefixlen + _PARTS, _LARGEST[window.version])
    if length <= _SMALLEST[window.version]:
        return length
    return _SMALLEST[window.version] if window.prefixlen < _SMALLEST[window.version] else 0


def free_block(pool: Pool, taken: Iterable[str], host_id: str) -> str:
    """A block of the pool that nobody has, "" where there is none.

    Hosts begin to look at different places, so that those that start together do not all want the same.
    """
    length = block_length(pool)
    if not length:
        return ""
    window = ipaddress.ip_network(pool.ip_range or pool.subnet)
    count = 1 << (length - window.prefixlen)
    size = 1 << (window.max_prefixlen - length)
    indices = (_index(int(window[0]), size, subnet) for subnet in taken if _version(subnet) == window.version)
    held = {index for index in indices if 0 <= index < count}
    if len(held) == count:
        return ""
    index = next(index for index in _from(start(host_id, count), count) if index not in held)
    return str(ipaddress.ip_network((int(window[0]) + index * size, length)))


def start(host_id: str, count: int) -> int:
    """Where a host begins among so many."""
    return int.from_bytes(hashlib.sha256(host_id.encode()).digest()[:8], "big") % count


def _from(first: int, count: int) -> Iterator[int]:
    yield from range(first, count)
    yield from range(first)


def _index(base: int, size: int, subnet: str) -> int:
    return (int(ipaddress.ip_network(subnet)[0]) - base) // size


def _version(subnet: str) -> int:
    return 6 if ":" in subnet else 4
