"""1,000 hosts and 50,000 endpoints against a real etcd: `.venv/bin/python -m bench.cluster.simulation` (root).

All hosts publish, and all watch. Some are whole ones, each in a process of its own: records, follower, publisher and
drivers, on a fake kernel. Of the others there are the keys that they would have written, and their watches.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from demo.alone import alone
from demo.console import Console
from demo.etcd import CLIENTS, Members
from demo.etcd import Place as MemberPlace

from bench.cluster.population import NETWORK_HOSTS, Population
from bench.place import FOLDER, Place
from bench.worker import Worker

MEMBERS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
WHOLE, WATCHERS = 6, 2  # processes: of one whole host each, of the others' watches
T = TypeVar("T")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.cluster.simulation", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000, metavar="N")
    parser.add_argument("--endpoints", type=int, default=50_000, metavar="N")
    parser.add_argument("--moves", type=int, default=500, metavar="N", help="containers that move while all watch")
    parser.add_argument("--everything", action="store_true", help="every host follows every network, as until 0.1.0")
    arguments = parser.parse_args()
    return alone("bench", FOLDER, lambda console: _run(arguments, console))


def _run(arguments: argparse.Namespace, console: Console) -> int:
    place = Place()
    try:
        how = "everything" if arguments.everything else "own"
        Simulation(place, arguments.hosts, arguments.endpoints, how, console).run(arguments.moves)
    finally:
        left = place.end()
        for what in left:
            console.line(f"left behind: {what}")
    return 1 if left else 0


class Simulation:
    def __init__(self, place: Place, hosts: int, endpoints: int, how: str, console: Console) -> None:
        self._console, self._how = console, how
        self._host = place.host("many")
        enter = ("nsenter", f"--target={self._host.pid}", "--net", "--")
        members = [MemberPlace(f"m{n}", address, enter) for n, address in enumerate(MEMBERS)]
        self._etcd = Members(members, place.folder / "etcd", flags=("--quota-backend-bytes", "4294967296"))
        place.ends_with(self._etcd.end)
        with console.working("starting etcd"):
            self._etcd.start()
        self._population = Population(hosts, endpoints)
        self._writer = Worker(self._host, "bench.cluster.writer", str(hosts), str(endpoints), self._etcd.url)

    def run(self, moves: int) -> None:
        tell = self._console.line
        population, number = self._population, self._population.hosts
        with self._console.working("writing what all hosts publish"):
            wrote = self._writer.call("write")
        tell(f"  {number:,} hosts with {population.endpoints:,} endpoints written in {wrote['seconds']:.0f} s")
        whole = [
            Worker(self._host, "bench.cluster.simulated", str(number + n), self._etcd.url, self._how)
            for n in range(WHOLE)
        ]
        empty = [worker.call("memory") for worker in whole]
        with self._console.working("one host reads what it follows"):
            alone_ = whole[0].call("start")
        tell(f"  one host alone reads what it follows in {alone_:.1f} s")
        with self._console.working(f"{WHOLE - 1} more at once"):
            together = _at_once(whole[1:], lambda worker: worker.call("start"))
        tell(f"  {WHOLE - 1} more at once: {max(together):.1f} s until the last one has")
        joining = [whole[0].call("join", name=network.name) for network in population.networks]
        for worker in whole[1:]:
            for name in population.networks_of(0):
                worker.call("join", name=name)
        tell(f"  the first one joins all {len(joining)} networks: {statistics.median(joining):.2f} s each (median)")
        of = (str(number), str(population.endpoints), self._how)
        watchers = [Worker(self._host, "bench.cluster.watchers", self._members(), *of) for _ in range(WATCHERS)]
        revision = self._writer.call("revision")
        with self._console.working(f"{number - WHOLE} more watches"):
            count = (number - WHOLE) // WATCHERS
            _at_once(
                watchers,
                lambda worker: worker.call(
                    "open", first=watchers.index(worker), step=WATCHERS, count=count, revision=revision
                ),
            )
        before = [worker.call("seen") for worker in whole]
        with self._console.working(f"{moves} containers move"):
            moved = self._writer.call("move", count=moves)
            caught = _at_once(whole, lambda worker: worker.call("caught_up", revision=moved["revision"]))
            watched = self._watched(watchers)
        after = [worker.call("seen") for worker in whole]
        events = 2 * moves
        tell(f"  {moves} moves written in {moved['seconds']:.1f} s: {moves / moved['seconds']:.0f} a second")
        late = ", ".join(f"{at - moved['at']:.2f}" for at in caught)
        tell(f"  the whole hosts have rendered {late} s after the last write")
        tell(f"  the last of {number - WHOLE} watches has heard {watched['last'] - moved['at']:.2f} s after it")
        heard_by = number if self._how == "everything" else NETWORK_HOSTS
        rate = events * heard_by / (max(watched["last"], max(caught)) - moved["began"])
        tell(f"  {rate:,.0f} events a second delivered, over all hosts")
        tell(f"  {watched['read'] / (number - WHOLE) / moves:,.0f} bytes a move on each watch")
        for n, (bare, one, then) in enumerate(zip(empty, before, after, strict=True)):
            spent = (then["worked"] - one["worked"]) / moves * 1000
            tell(
                f"  host {n}: {then['remotes']:,} endpoints known, {then['objects']:,} kernel objects, "
                f"{then['memory'] / 1e6:.0f} MB (of which {bare / 1e6:.0f} MB before it joined), {spent:.2f} ms a move"
            )
        tell(self._etcd_memory())

    def _watched(self, watchers: list[Worker]) -> dict[str, float]:
        deadline = time.monotonic() + 300
        while True:
            seen = [worker.call("seen") for worker in watchers]
            if sum(one["ended"] for one in seen) == (self._population.hosts - WHOLE) // WATCHERS * WATCHERS:
                return {"read": sum(one["read"] for one in seen), "last": max(one["last"] for one in seen)}
            if time.monotonic() > deadline:
                raise RuntimeError(f"not every watch has heard of everything: {seen}")
            time.sleep(0.1)

    def _members(self) -> str:
        return ",".join(f"{address}:{CLIENTS}" for address in MEMBERS)

    def _etcd_memory(self) -> str:
        sizes = []
        for name in self._etcd.places:
            pages = int(Path(f"/proc/{self._etcd.pid(name)}/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize() / 1e6)
        return f"  etcd's members: {', '.join(f'{size:.0f} MB' for size in sizes)}"


def _at_once(workers: list[Worker], work: Callable[[Worker], T]) -> list[T]:
    with ThreadPoolExecutor(len(workers)) as threads:
        return list(threads.map(work, workers))


if __name__ == "__main__":
    sys.exit(main())
