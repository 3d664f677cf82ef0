"""All hosts' publishers in one process. Orders on standard input, one a line; a JSON line for each when it is done.

join HOSTS NETWORKS      the networks, and every host's own record
fill CONTAINERS          so many on each host, as fast as etcd takes them
churn RATE SECONDS       so many changes a second: a container goes, another comes in its place
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine, Iterable
from typing import Any

import msgspec

from bench.scale.world import ROOT, container, host, network
from linkspan.daemon.cluster.publisher import Publisher
from linkspan.engine.publication import RECORDS
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.store.etcd.address import parse_cluster
from linkspan.store.etcd.client import EtcdClient

_CLIENTS = 50  # connections that all hosts share
_AT_ONCE = 64


class Publishing:
    """One host, as far as it publishes."""

    def __init__(self, client: EtcdClient, number: int, networks: int) -> None:
        self.number, self.networks = number, networks
        self.now = Snapshot().after(put(network(one)) for one in range(networks))
        self.publisher = Publisher(client, ROOT, host(number), lambda: self.now)
        self.publisher.refusal = ""
        self.first, self.next = 0, 0  # containers that there are: first to next

    async def change(self, writes: Iterable[Write]) -> None:
        before, self.now = self.now, self.now.after(writes)
        await self.publisher.publish(before, self.now, tuple(writes))


class Hosts:
    def __init__(self, url: str) -> None:
        self.clients = [EtcdClient(parse_cluster(url)) for _ in range(_CLIENTS)]
        self.hosts: list[Publishing] = []

    async def join(self, hosts: int, networks: int) -> None:
        for number in range(networks):
            one = network(number)
            await self.clients[0].put(f"{ROOT}{RECORDS}networks/{one.id}", msgspec.json.encode(one))
        self.hosts = [Publishing(self.clients[n % _CLIENTS], n, networks) for n in range(hosts)]
        await _all(one.publisher.join() for one in self.hosts)

    async def fill(self, containers: int) -> None:
        await _all(self._come(one) for _ in range(containers) for one in self.hosts)

    async def churn(self, rate: int, seconds: int) -> None:
        began, tasks = time.monotonic(), []
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(self._replace(self.hosts[number % len(self.hosts)])))
        await asyncio.gather(*tasks)

    async def _come(self, one: Publishing) -> None:
        number, one.next = one.next, one.next + 1
        await one.change(container(one.number, number, one.networks, len(self.hosts)))

    async def _replace(self, one: Publishing) -> None:
        number, one.first = one.first, one.first + 1
        old = container(one.number, number, one.networks, len(self.hosts))
        await one.change([drop(write.record) for write in reversed(old) if write.record])
        await self._come(one)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(coroutine: Coroutine[Any, Any, None]) -> None:
        async with room:
            await coroutine

    await asyncio.gather(*map(one, work))


async def main() -> None:
    hosts = Hosts(sys.argv[1])
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        verb, *numbers = line.decode().split()
        began = time.monotonic()
        await getattr(hosts, verb)(*map(int, numbers))
        print(json.dumps({"seconds": time.monotonic() - began, "ended": time.monotonic()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
