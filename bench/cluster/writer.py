"""worker: writes what the hosts of a large cluster publish."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from bench.cluster.population import Population
from bench.cluster.watchers import END
from bench.worker import serve
from linkspan.store.etcd.address import parse_cluster
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.values import Put


def main() -> None:
    population = Population(int(sys.argv[1]), int(sys.argv[2]))
    cluster = parse_cluster(sys.argv[3])

    async def write() -> dict[str, float]:
        etcd = EtcdClient(cluster)
        began = time.perf_counter()
        await population.write(etcd)
        await etcd.close()
        return {"seconds": time.perf_counter() - began}

    async def move(count: int) -> dict[str, float]:
        etcd = EtcdClient(cluster)
        began = time.time()
        await population.move(etcd, count)
        last = await etcd.txn([], [Put(END, b"end")])
        at = time.time()
        await etcd.close()
        return {"seconds": at - began, "began": began, "at": at, "revision": last.revision}

    async def revision() -> int:
        etcd = EtcdClient(cluster)
        found = max(member.revision for member in await etcd.status())
        await etcd.close()
        return found

    def verb(work: Any) -> Any:
        return lambda **arguments: asyncio.run(work(**arguments))

    serve({"write": verb(write), "move": verb(move), "revision": verb(revision)})


if __name__ == "__main__":
    main()
