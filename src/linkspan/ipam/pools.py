"""Subnets for networks that name none, and the check that two networks do not overlap."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from linkspan.errors import Forbidden, InvalidArgument

Prefix: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_LEAST = {4: 30, 6: 126}  # the smallest subnet that has an address beside the gateway's


@dataclasses.dataclass(frozen=True, slots=True)
class PoolSource:
    """A prefix that networks are cut from, `size` being the prefix length of each: dockerd's default-address-pool."""

    base: Prefix
    size: int

    def subnets(self) -> Iterator[Prefix]:
        return iter((self.base,)) if self.size <= self.base.prefixlen else self.base.subnets(new_prefix=self.size)


def parse_source(base: str, size: int) -> PoolSource:
    """Raises InvalidArgument: a malformed base, or a size that the base cannot be cut into."""
    try:
        prefix = ipaddress.ip_network(base, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid default-address-pool: invalid CIDR address: {base}") from None
    if not prefix.prefixlen <= size <= _LEAST[prefix.version]:
        raise InvalidArgument(
            f"invalid default-address-pool: size {size} for base {base}:"
            f" use {max(prefix.prefixlen, 1)} to {_LEAST[prefix.version]}"
        )
    return PoolSource(prefix, size)


# Docker's, so that a machine that moves keeps its addresses.
DEFAULT_SOURCES = tuple(
    PoolSource(ipaddress.IPv4Network(base), size)
    for base, size in (
        ("172.17.0.0/16", 16),
        ("172.18.0.0/16", 16),
        ("172.19.0.0/16", 16),
        ("172.20.0.0/14", 16),
        ("172.24.0.0/14", 16),
        ("172.28.0.0/14", 16),
        ("192.168.0.0/16", 20),
    )
)


def ula_source(host_id: str) -> PoolSource:
    """IPv6 subnets that this host makes up for itself (RFC 4193): the same for as long as its id is, and no other's.

    The derivation is Docker's: fd00::/8, and 40 bits of the hash of the id.
    """
    global_id = int.from_bytes(hashlib.sha256(host_id.encode()).digest()[3:8], "big")
    return PoolSource(ipaddress.IPv6Network((0xFD << 120 | global_id << 80, 48)), 64)


def allocate_subnet(sources: Iterable[PoolSource], taken: Iterable[str], version: int = 4, size: int = 0) -> str:
    """The first subnet of the sources that overlaps none of `taken` (other networks' subnets, the host's routes).

    `size` is a prefix length asked for, instead of the sources' own. Raises InvalidArgument where none is left.
    """
    held = [(int(p[0]), int(p[-1])) for p in map(ipaddress.ip_network, taken) if p.version == version]
    for source in sources:
        if source.base.version == version and (size == 0 or size >= source.base.prefixlen):
            length = size or max(source.size, source.base.prefixlen)
            first = _first_free(int(source.base[0]), int(source.base[-1]), source.base.max_prefixlen - length, held)
            if first is not None:
                return str(ipaddress.ip_network((first, length)))
    raise InvalidArgument("all predefined address pools have been fully subnetted")


def _first_free(first: int, last: int, bits: int, held: list[tuple[int, int]]) -> int | None:
    """The first multiple of 2**bits in first..last with nothing held behind it. Costs steps over what is held only."""
    step = 1 << bits
    while first + step - 1 <= last:
        behind = [high for low, high in held if low <= first + step - 1 and high >= first]
        if not behind:
            return first
        first = (max(behind) // step + 1) * step
    return None


def check_overlap(subnet: str, taken: Iterable[str]) -> None:
    """Raises Forbidden with Docker's words when `subnet` overlaps another network's."""
    wanted = ipaddress.ip_network(subnet)
    for other in map(ipaddress.ip_network, taken):
        if wanted.version == other.version and wanted.overlaps(other):
            raise Forbidden(
                f"invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other}"
            )
