"""worker: the watches of many hosts, each on a connection of its own. What comes is counted, and not looked into."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import sys
import threading
import time
from typing import Any

from bench.cluster.population import ROOT, Population
from bench.worker import serve
from linkspan.engine.publication import ENDPOINTS, RECORDS, SERIAL, endpoints_of
from linkspan.store.etcd.watch import together

END = f"{ROOT}{SERIAL}"  # written last: whoever has heard of it has heard of everything
_END = base64.b64encode(END.encode())


class Watchers:
    def __init__(self, members: list[str], population: Population, *, everything: bool) -> None:
        self._members, self._population, self._everything = members, population, everything
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.read = 0
        self.ended: list[float] = []  # when each heard of the end
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, first: int, step: int, count: int, revision: int) -> None:
        """The watches of every `step`th host, so many of them."""
        asyncio.run_coroutine_threadsafe(
            self._open(range(first, first + step * count, step), revision), self._loop
        ).result(300)

    async def _open(self, hosts: range, revision: int) -> None:
        for number in hosts:
            body = together(_asked(prefix, revision) for prefix in self._followed(number))
            host, _, port = self._members[number % len(self._members)].partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            head = f"POST /v3/watch HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            for _ in self._followed(number):
                await reader.readuntil(b'"created":true')
            self._tasks.append(asyncio.create_task(self._follow(reader, writer)))

    def _followed(self, host: int) -> list[str]:
        if self._everything:
            return [RECORDS, ENDPOINTS]
        return [RECORDS, *map(endpoints_of, self._population.ids_of(host))]

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail = b""
        while piece := await reader.read(1 << 18):
            self.read += len(piece)
            tail += piece
            if _END in tail:
                self.ended.append(time.time())
            tail = tail[-len(_END) :]
        raise RuntimeError("etcd has ended a watch")


def _asked(prefix: str, revision: int) -> bytes:
    begin, end = ROOT + prefix, (ROOT + prefix)[:-1] + chr(ord("/") + 1)
    wanted = {"key": _text(begin), "range_end": _text(end), "start_revision": revision + 1, "fragment": True}
    return json.dumps({"create_request": wanted}).encode()


def _text(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    population = Population(int(sys.argv[2]), int(sys.argv[3]))
    watchers = Watchers(sys.argv[1].split(","), population, everything=sys.argv[4] == "everything")

    def seen() -> dict[str, Any]:
        return {"read": watchers.read, "ended": len(watchers.ended), "last": max(watchers.ended, default=0.0)}

    serve({"open": watchers.open, "seen": seen})


if __name__ == "__main__":
    main()
