"""The run, and what it found: `.venv/bin/python -m bench.scale --help`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.alone import alone
from demo.console import Console
from demo.etcd import Members, place

from bench.place import FOLDER, Place

ADDRESS = "127.0.0.1"


class Worker:
    """A module of this package in a process of its own, in a host: orders in, JSON lines out."""

    def __init__(self, enter: tuple[str, ...], module: str, *arguments: object) -> None:
        command = [*enter, sys.executable, "-m", f"bench.scale.{module}", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, order: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a worker of the simulation has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.scale", description="A large cluster on real etcd and fake kernels.")
    parser.add_argument("--hosts", type=int, default=1000, metavar="N")
    parser.add_argument("--containers", type=int, default=50, metavar="N", help="of each host (50)")
    parser.add_argument("--networks", type=int, default=20, metavar="N", help="they are spread over (20)")
    parser.add_argument("--watchers", type=int, default=0, metavar="N", help="other hosts that only read (0)")
    parser.add_argument("--rate", type=int, default=50, metavar="N", help="containers replaced a second (50)")
    arguments = parser.parse_args()
    return alone("bench", FOLDER, lambda console: _run(arguments, console))


def _run(arguments: argparse.Namespace, console: Console) -> int:
    run = Place()
    workers: list[Worker] = []
    try:
        host = run.host("etcd")
        where = place(host, ADDRESS)
        members = Members([where], Path("/dev/shm") / "linkspan-scale", flags=("--quota-backend-bytes", "8589934592"))
        run.ends_with(members.end)
        members.start()

        def worker(module: str, *more: object) -> Worker:
            workers.append(Worker(where.enter, module, members.url, *more))
            return workers[-1]

        _measure(arguments, console, worker, members)
    finally:
        for one in workers:
            one.end()
        left = run.end()
        subprocess.run(["rm", "-rf", "/dev/shm/linkspan-scale"], check=True)
    for what in left:
        console.line(f"left behind: {what}")
    return 1 if left else 0


def _measure(arguments: argparse.Namespace, console: Console, worker: Any, members: Members) -> None:
    say = console.line
    count = arguments.hosts * arguments.containers
    publishers = worker("publishers")
    joined = publishers.ask(f"join {arguments.hosts} {arguments.networks}")
    say(f"{arguments.hosts:,} hosts have joined: {joined['seconds']:.1f} s")
    follower = worker("follower", arguments.hosts, arguments.networks, arguments.hosts + 1)
    empty = _settled(follower, 0)
    say(f"a host that knows the others and no containers: {empty['pss'] / 1e6:.1f} MB")
    if arguments.watchers:
        worker("watchers", arguments.watchers).hear()
    filled = publishers.ask(f"fill {arguments.containers}")
    say(f"{count:,} containers published: {filled['seconds']:.1f} s, {count / filled['seconds']:,.0f} a second")
    full = _settled(follower, count)
    say(f"the last of them is in the kernel {1000 * (full['last'] - filled['ended']):.0f} ms after it was published")
    say(
        f"that host: {full['seconds']:.1f} s of processor, {full['pss'] / 1e6:.0f} MB, {full['rows']:,} containers'"
        f" rows, {full['read'] / count:,.0f} bytes of keys and values for each"
    )
    began = time.monotonic()
    fresh = worker("follower", arguments.hosts + 1, arguments.networks, arguments.hosts + 2)
    read = _settled(fresh, count)
    say(
        f"a host that starts reads them and has them all in its kernel: {read['last'] - began:.1f} s, "
        f"{read['pss'] / 1e6:.0f} MB (peak {read['peak'] / 1e6:.0f} MB)"
    )
    fresh.end()
    follower.ask("forget")
    churned = publishers.ask(f"churn {arguments.rate} 20")
    time.sleep(1)
    after = follower.ask("report")
    say(
        f"{arguments.rate} containers replaced a second, for 20 s ({churned['seconds']:.1f} s): in another host's "
        f"kernel {after['median']:.1f} ms after they began to be published (median), 99th percentile "
        f"{after['99th']:.1f} ms, {100 * after['seconds'] / churned['seconds']:.0f} % of a processor there"
    )
    say(f"etcd: {_rss(members):.0f} MB")


def _rss(members: Members) -> float:
    pid = members.pid(members.running[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{children[0] if children else pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def _settled(follower: Worker, remotes: int) -> dict[str, Any]:
    """Once it knows so many containers of other hosts."""
    deadline = time.monotonic() + 300
    while (found := follower.ask("report"))["remotes"] != remotes or found["rows"] != remotes:
        if time.monotonic() > deadline:
            raise RuntimeError(f"a host does not come to know {remotes:,} containers: {found}")
        time.sleep(0.2)
    return found


if __name__ == "__main__":
    sys.exit(main())
