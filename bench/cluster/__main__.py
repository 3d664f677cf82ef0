"""The measurements: `sudo make bench-cluster`, or `.venv/bin/python -m bench.cluster --help`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections import defaultdict
from pathlib import Path

from demo.alone import alone
from demo.console import Console

from bench import peers
from bench.cluster import addresses, policy
from bench.cluster.measure import round_trip, throughput
from bench.cluster.results import RESULTS, Measured, text
from bench.cluster.ways import WAYS, Cluster, Way
from bench.place import FOLDER, Place
from bench.rows import Samples

_SHOWN = ("iperf3", "sockperf", "etcd-server", "openvswitch-switch")


def main() -> int:
    arguments = _arguments()
    return alone("bench", FOLDER, lambda console: _run(arguments, console))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.cluster", description="Ways between containers, side by side.")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each measurement (5)")
    parser.add_argument("--way", action="append", default=[], metavar="NAME", help="only this way; nothing is written")
    parser.add_argument("--policy", action="store_true", help="only policy; nothing is written")
    parser.add_argument(
        "--addresses", type=int, default=1000, metavar="N", help="containers into as many addresses (1000)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of RESULTS-CLUSTER.md")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, console: Console) -> int:
    docker = peers.docker(console)
    place = Place()
    try:
        with console.working("starting three hosts with etcd and linkspand"):
            cluster = Cluster(place, docker)
        wanted = [way for way in WAYS if not arguments.way or way.name in arguments.way]
        ways = [] if arguments.policy else wanted
        measured = _measure(cluster, ways, arguments.runs, console)
        more: list[str] = []
        if not arguments.way:
            more += policy.measure(cluster, arguments.runs, console)
        if arguments.addresses and not (arguments.way or arguments.policy):
            more += addresses.fill(cluster, arguments.addresses, console)
    finally:
        left = place.end()
        for what in left:
            console.line(f"left behind: {what}")
    if arguments.output or not (arguments.way or arguments.policy):
        versions = {"python": platform.python_version(), **peers.versions(_SHOWN)}
        (arguments.output or RESULTS).write_text(text(measured, more, arguments.runs, versions))
    return 1 if left else 0


def _measure(cluster: Cluster, ways: list[Way], runs: int, console: Console) -> list[Measured]:
    """In turns, so that whatever else the machine does meets them alike."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    lacking: dict[str, str] = {}
    for number in range(runs):
        for way in ways:
            if way.name in lacking:
                continue
            with console.working(f"{way.name} ({number + 1} of {runs})"):
                try:
                    with way.make(cluster) as ends:
                        found[way.name].append((*throughput(ends), round_trip(ends)))
                except RuntimeError as error:
                    lacking[way.name] = str(error).splitlines()[0]
                    console.line(f"  {way.name}: {lacking[way.name]}")
                    continue
            rate, cost, trip = found[way.name][-1]
            console.line(f"  {way.name}: {rate:.2f} Gbit/s, {trip:.1f} µs, {cost:.2f} ns a byte")
    return [
        Measured(way.name, lacking=lacking[way.name])
        if way.name in lacking
        else Measured(way.name, _columns(found[way.name]))
        for way in ways
    ]


def _columns(rows: list[tuple[float, float, float]]) -> tuple[Samples, Samples, Samples]:
    rates, costs, trips = zip(*rows, strict=True)
    return Samples(rates, "Gbit/s"), Samples(trips, "µs"), Samples(costs, "ns")


if __name__ == "__main__":
    sys.exit(main())
