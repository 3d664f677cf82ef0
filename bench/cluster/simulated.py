"""worker: a whole host of a cluster without its containers: records, follower, publisher, and a fake kernel."""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bench.cluster.population import ROOT, host_address, host_id
from bench.worker import serve
from linkspan.daemon.cluster.cluster import Cluster, own_host
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.drivers.available import DRIVERS
from linkspan.drivers.overlay import OverlayDriver
from linkspan.engine.change import Change
from linkspan.engine.join import Surroundings, join
from linkspan.ipam.ports import PortSpace
from linkspan.kernel.fake import FakeKernel
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig
from linkspan.model.endpoint import Endpoint
from linkspan.model.snapshot import put
from linkspan.state.host import Underlay
from linkspan.store.etcd.address import parse_cluster
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.memory import MemoryStore


class Simulated:
    """Its event loop runs in a thread of its own."""

    def __init__(self, number: int, url: str, *, everything: bool) -> None:
        self._number, self._url, self._everything = number, url, everything
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._ids = (f"{number:x}f{next_:07x}".ljust(64, "0") for next_ in itertools.count(1))
        self._kernel = FakeKernel()
        self._ledger = Ledger(MemoryStore())
        underlay = Underlay("eth0", host_address(number))
        self._drivers = {**DRIVERS, "overlay": OverlayDriver(underlay=underlay)}
        self._mutation = Mutation(
            self._ledger, Programmer(lambda: self._kernel), self._drivers, Events(), lambda *_: None
        )
        self._cluster: Cluster | None = None
        self._own = own_host(host_id(number), f"host{number}", underlay, "2026-01-01T00:00:00Z")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(600)

    async def start(self) -> None:
        self._cluster = Cluster(
            EtcdClient(parse_cluster(self._url)),
            self._url,
            ROOT,
            self._own,
            now=lambda: self._ledger.now,
            follow=self._mutation.take_over,
            change=lambda writes: self._mutation.carry_out(Change(tuple(writes))),
            evict=self._evict,
            everything=self._everything,
        )
        self._mutation.cluster = self._cluster
        await self._cluster.start()
        while (await self._cluster.view()).trouble:  # noqa: ASYNC110 - as a user would look
            await asyncio.sleep(0.1)

    async def _evict(self, endpoint: Endpoint, address: str) -> None:
        raise AssertionError(f"{address} is somebody else's, too")

    async def join(self, name: str) -> None:
        network = self._ledger.now.network(name)
        container = Container(
            id=next(self._ids),
            name=f"here-{self._number}-{name}",
            created="",
            image_id="",
            config=Config(),
            host_config=HostConfig(network_mode=name),
            networks={network.id: EndpointSettings()},
        )
        self._ledger.commit([put(container)])
        around = Surroundings(self._drivers, "/run/netns", PortSpace(), self.ids(2), self._own.id)
        await self._mutation.decide(lambda: join(self._ledger.now, container, around))

    def ids(self, count: int) -> tuple[str, ...]:
        return tuple(itertools.islice(self._ids, count))

    async def caught_up(self, revision: int) -> float:
        """When it has rendered what the store said at a revision, of what it follows."""
        assert self._cluster is not None
        while self._cluster.revision < revision:
            await self._cluster.caught_up(revision)
        return time.time()

    async def seen(self) -> dict[str, Any]:
        assert self._cluster is not None
        view = await self._cluster.view()
        now = self._ledger.now
        # Of the loop's own thread: what the fake kernel takes in its own is not a kernel's.
        worked = time.thread_time()
        return {
            "remotes": len(now.remotes),
            "objects": len(self._kernel.state),
            "read": view.bytes_read,
            "worked": worked,
        }


def main() -> None:
    host = Simulated(int(sys.argv[1]), sys.argv[2], everything=sys.argv[3] == "everything")

    def timed(work: Coroutine[Any, Any, Any]) -> float:
        began = time.perf_counter()
        host.run(work)
        return time.perf_counter() - began

    serve(
        {
            "start": lambda: timed(host.start()),
            "join": lambda name: timed(host.join(name)),
            "caught_up": lambda revision: host.run(host.caught_up(revision)),
            "memory": _memory,
            "seen": lambda: {**host.run(host.seen()), "memory": _memory()},
        }
    )


def _memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
