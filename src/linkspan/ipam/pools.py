"""Subnets for networks that name none, and the check that two networks do not overlap."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.errors import Forbidden, InvalidArgument

IPv4 = ipaddress.IPv4Network


@dataclasses.dataclass(frozen=True, slots=True)
class PoolSource:
    """A prefix that networks are cut from, `size` being the prefix length of each: dockerd's default-address-pool."""

    base: IPv4
    size: int

    def subnets(self) -> Iterator[IPv4]:
        return iter((self.base,)) if self.size <= self.base.prefixlen else self.base.subnets(new_prefix=self.size)


def parse_source(base: str, size: int) -> PoolSource:
    """Raises InvalidArgument: a malformed base, or a size that the base cannot be cut into."""
    try:
        prefix = ipaddress.IPv4Network(base, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid default-address-pool: invalid CIDR address: {base}") from None
    if not prefix.prefixlen <= size <= 30:
        raise InvalidArgument(
            f"invalid default-address-pool: size {size} for base {base}: use {max(prefix.prefixlen, 1)} to 30"
        )
    return PoolSource(prefix, size)


# Docker's, so that a machine that moves keeps its addresses.
DEFAULT_SOURCES = tuple(
    PoolSource(IPv4(base), size)
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


def allocate_subnet(sources: Iterable[PoolSource], taken: Iterable[str]) -> str:
    """The first subnet of the sources that overlaps none of `taken` (other networks' subnets, the host's routes)."""
    held = [ipaddress.IPv4Network(prefix) for prefix in taken if ":" not in prefix]
    for source in sources:
        for subnet in source.subnets():
            if not any(subnet.overlaps(other) for other in held):
                return str(subnet)
    raise InvalidArgument("all predefined address pools have been fully subnetted")


def check_overlap(subnet: str, taken: Iterable[str]) -> None:
    """Raises Forbidden with Docker's words when `subnet` overlaps another network's."""
    wanted = ipaddress.ip_network(subnet)
    for other in map(ipaddress.ip_network, taken):
        if wanted.version == other.version and wanted.overlaps(other):
            raise Forbidden(
                f"invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other}"
            )
