"""One whole host on a fake kernel: it has a container on every network, so that every other one is rendered.

Orders on standard input; a JSON line for each: `report` answers what it knows and what it costs, `forget` begins the
counts anew.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.scale.world import DRIVERS, ROOT, container, host, network
from linkspan.daemon.cluster.follower import Follower
from linkspan.daemon.cluster.publisher import Publisher
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.kernel.fake import FakeKernel
from linkspan.model.cluster import Remote
from linkspan.model.event import Event
from linkspan.model.snapshot import Write, put
from linkspan.state.objects import FdbEntry
from linkspan.store.etcd.address import parse_cluster
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.memory import MemoryStore


class Following:
    def __init__(self, url: str, number: int, networks: int, hosts: int) -> None:
        self.kernel = FakeKernel()
        self.ledger = Ledger(MemoryStore())
        self.programmer = Programmer(lambda: self.kernel)
        self.mutation = Mutation(self.ledger, self.programmer, DRIVERS, Events(), lambda *_: None)
        self.networks, self.number, self.hosts = networks, number, hosts
        client = EtcdClient(parse_cluster(url))
        self.publisher = Publisher(client, ROOT, host(number), lambda: self.ledger.now)
        self.follower = Follower(client, ROOT, self.publisher, lambda: self.ledger.now, self.follow)
        self.forget()

    def forget(self) -> None:
        self.delays: list[float] = []
        self.changes, self.last, self.busy = 0, 0.0, time.process_time()

    async def follow(self, writes: Sequence[Write], events: Sequence[Event]) -> None:
        await self.mutation.take_over(writes, events)
        now = time.monotonic_ns()
        made = [int(w.record.name.rpartition("-")[2]) for w in writes if isinstance(w.record, Remote)]
        self.delays += [(now - then) / 1e6 for then in made]
        self.changes += len(writes)
        self.last = now / 1e9

    async def ready(self) -> None:
        """Somebody is here on every network, once the networks are known."""
        for number in range(self.networks):
            if (
                network(number).id in self.ledger.now.networks
                and network(number).id not in self.ledger.now.endpoints_on
            ):
                at = (number - self.number) % self.networks
                await self.mutation.take_over(container(self.number, at, self.networks, self.hosts), ())

    async def report(self) -> dict[str, object]:
        found = sorted(self.delays)
        rows = await self.programmer.run(lambda _: sum(isinstance(o, FdbEntry) for o in self.kernel.state.values()))
        return {
            "remotes": len(self.ledger.now.remotes),
            "rows": rows // 2,
            "changes": self.changes,
            "last": self.last,
            "median": found[len(found) // 2] if found else 0.0,
            "99th": found[len(found) * 99 // 100] if found else 0.0,
            "most": found[-1] if found else 0.0,
            "read": self.follower.bytes_read,
            "pss": _pss(),
            "seconds": time.process_time() - self.busy,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def _pss() -> int:
    """Bytes of memory that are this process's share."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def _nothing() -> None:
    pass


async def main() -> None:
    url, number, networks, hosts = sys.argv[1], *map(int, sys.argv[2:5])
    one = Following(url, number, networks, hosts)
    one.ledger.commit([put(network(n)) for n in range(networks)])
    await one.ready()
    following = asyncio.create_task(one.follower.run(_nothing, one.ready, lambda why: print(why, file=sys.stderr)))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line.strip() == b"forget":
            one.forget()
        print(json.dumps(await one.report()), flush=True)
    following.cancel()
    one.programmer.close()


if __name__ == "__main__":
    asyncio.run(main())
