"""What a large cluster publishes, written into its store as its hosts would: hosts, networks, endpoints, claims."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from linkspan.engine.publication import RECORDS, keys_of
from linkspan.errors import Unavailable
from linkspan.model.cluster import Host, Remote
from linkspan.model.network import Network, Pool
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.contract import OutcomeUnknown
from linkspan.store.etcd.values import Compare, Delete, Operation, Put, absent, holds

ROOT = "/linkspan/v1/"
FORMAT = b"linkspan 2"
NETWORK_HOSTS = 40  # hosts that each network is on
_AT_ONCE = 60  # keys in one transaction
_WRITERS = 16
_MOVERS = 4  # while all watch, each change is told a thousand times: more at once only wait


def host_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def host_address(number: int) -> str:
    return f"10.200.{number >> 8}.{number & 255}"


class Population:
    """`hosts` hosts (numbers from 0) with `endpoints` endpoints among them, on networks of 1,000 endpoints each."""

    def __init__(self, hosts: int, endpoints: int) -> None:
        self.hosts, self.endpoints = hosts, endpoints
        self.networks = [_network(number) for number in range(max(1, endpoints // 1000))]
        self._chance = random.Random(1)
        self._ids = itertools.count(1)
        # Each network is on as many hosts, one after the other around the circle.
        self._on = [
            [(first * hosts // len(self.networks) + n) % hosts for n in range(min(NETWORK_HOSTS, hosts))]
            for first in range(len(self.networks))
        ]
        self._there: list[Remote] = []

    def networks_of(self, host: int) -> list[str]:
        """Names of the networks that a host has endpoints on."""
        return [network.name for network in self._networks_of(host)]

    def ids_of(self, host: int) -> list[str]:
        """Ids of the same."""
        return [network.id for network in self._networks_of(host)]

    def _networks_of(self, host: int) -> list[Network]:
        return [network for network, on in zip(self.networks, self._on, strict=True) if host in on]

    async def write(self, etcd: EtcdClient) -> None:
        """All of it."""
        await etcd.txn([], [Put(f"{ROOT}schema", FORMAT)])
        await _together(etcd, self._everything())

    def _everything(self) -> Iterator[Put]:
        for network in self.networks:
            yield Put(f"{ROOT}{RECORDS}networks/{network.id}", msgspec.json.encode(network))
        for number in range(self.hosts):
            host = Host(id=host_id(number), name=f"host{number}", address=host_address(number))
            yield from _puts(host, host.id.encode())
        for number in range(self.endpoints):
            where = number % len(self.networks)
            remote = self._remote(where, self._on[where][number // len(self.networks) % len(self._on[where])], number)
            self._there.append(remote)
            yield from _puts(remote, _holder(remote))

    def _remote(self, network: int, host: int, number: int) -> Remote:
        """Its address is of the number, so that whoever moves keeps it."""
        id_ = f"{next(self._ids):08x}".ljust(64, "e")
        place = number // len(self.networks) + 4096  # beyond the blocks that simulated hosts take
        return Remote(
            id=id_,
            network_id=self.networks[network].id,
            host_id=host_id(host),
            container_id=f"{number:08x}".ljust(64, "c"),
            name=f"container{number}",
            names=(f"container{number}", f"{number:08x}cccc"),
            mac=f"02:42:0a:{network:02x}:{place >> 8:02x}:{place & 255:02x}",
            address=f"10.{network + 1}.{place >> 8}.{place & 255}",
            prefix_length=16,
        )

    async def move(self, etcd: EtcdClient, count: int) -> None:
        """So many containers go to another host, with their addresses: removed on one, then started on the other."""
        chosen = self._chance.sample(range(len(self._there)), count)
        waiting = iter(chosen)

        async def writer() -> None:
            for number in waiting:
                old = self._there[number]
                where = next(n for n, network in enumerate(self.networks) if network.id == old.network_id)
                new = self._remote(where, self._chance.choice(self._on[where]), number)
                keys = [ROOT + key for key in keys_of(old)]
                claim = keys[1]
                await _surely(etcd, [holds(claim, _holder(old))], [Delete(key) for key in keys])
                await _surely(etcd, [absent(claim)], list(_puts(new, _holder(new))))
                self._there[number] = new

        await asyncio.gather(*(writer() for _ in range(_MOVERS)))


async def _surely(etcd: EtcdClient, guards: Sequence[Compare], then: Sequence[Operation]) -> None:
    """Under this load an answer may be lost. Written again, it finds that it was carried out already."""
    lost = False
    while True:
        try:
            done = await etcd.txn(guards, then)
        except (OutcomeUnknown, Unavailable):
            lost = True
            continue
        assert done.succeeded or lost
        return


def _network(number: int) -> Network:
    return Network(
        id=f"{number:08x}".ljust(64, "a"),
        name=f"net{number}",
        driver="overlay",
        created="2026-01-01T00:00:00Z",
        scope="global",
        bridge=f"br-{number:08x}"[:15],
        mtu=1450,
        vni=4096 + number,
        pools=(Pool(subnet=f"10.{number + 1}.0.0/16", gateway=f"10.{number + 1}.0.1"),),
    )


def _holder(remote: Remote) -> bytes:
    return f"{remote.host_id}/{remote.container_id}".encode()


def _puts(record: Host | Remote, holder: bytes) -> Iterator[Put]:
    first, *claims = keys_of(record)
    yield Put(ROOT + first, msgspec.json.encode(record))
    for claim in claims:
        yield Put(ROOT + claim, holder)


async def _together(etcd: EtcdClient, puts: Iterable[Put]) -> None:
    waiting = iter(puts)

    async def writer() -> None:
        while part := list[Operation](itertools.islice(waiting, _AT_ONCE)):
            await etcd.txn([], part)

    await asyncio.gather(*(writer() for _ in range(_WRITERS)))
