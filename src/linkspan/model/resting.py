"""Addresses that were given back: how long they rest, and whose they were.

A memory, not a record: what this daemon has seen. It decides nothing but the order in which free addresses are tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from immutables import Map

from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Pool

Subnet = tuple[str, int, int]  # network id, prefix length, the prefix as an integer


@dataclasses.dataclass(frozen=True, slots=True)
class Resting:
    # The address given out last in each subnet: the search for the next one begins behind it, so that one that was
    # given back is tried again only after all others.
    latest: Map[Subnet, int] = dataclasses.field(default_factory=Map)
    # container id → network id → the addresses that it had when it stopped, which it gets again while they are free
    had: Map[str, Map[str, tuple[int, ...]]] = dataclasses.field(default_factory=Map)

    def given_out(self, endpoint: Endpoint, *, by_hand: tuple[int, ...]) -> Resting:
        """An endpoint has come. What was given by hand says nothing about the order of the others."""
        latest = self.latest
        for subnet, address in _addresses(endpoint):
            if address not in by_hand:
                latest = latest.set(subnet, address)
        return dataclasses.replace(self, latest=latest)

    def given_back(self, endpoint: Endpoint, *, by_hand: tuple[int, ...], nobody_left: bool) -> Resting:
        """An endpoint has gone. Where nobody is left on the network, nobody there knows what address was whose."""
        latest, had = self.latest, self.had
        if nobody_left:
            for subnet in [subnet for subnet in latest if subnet[0] == endpoint.network_id]:
                latest = latest.delete(subnet)
        if addresses := tuple(address for _, address in _addresses(endpoint) if address not in by_hand):
            mine = had.get(endpoint.container_id, Map()).set(endpoint.network_id, addresses)
            had = had.set(endpoint.container_id, mine)
        return Resting(latest, had)

    def latest_in(self, network_id: str, pool: Pool) -> int:
        """The address of the pool that was given out last, as an integer; 0 where none was."""
        subnet = ip_network(pool.subnet)
        return self.latest.get(subnet_of(network_id, subnet.prefixlen, subnet.network_address), 0)

    def had_by(self, container_id: str, network_id: str) -> tuple[int, ...]:
        """The addresses that a container last had on a network, as integers."""
        return self.had.get(container_id, Map()).get(network_id, ())

    def forgotten(self, container_id: str) -> Resting:
        """A container is no more."""
        return dataclasses.replace(self, had=self.had.delete(container_id)) if container_id in self.had else self


def subnet_of(network_id: str, prefix_length: int, address: IPv4Address | IPv6Address) -> Subnet:
    return network_id, prefix_length, int(address) >> (address.max_prefixlen - prefix_length)


def _addresses(endpoint: Endpoint) -> Iterator[tuple[Subnet, int]]:
    for text, length in ((endpoint.address, endpoint.prefix_length), (endpoint.address6, endpoint.prefix_length6)):
        if text:
            address = ip_address(text)
            yield subnet_of(endpoint.network_id, length, address), int(address)
