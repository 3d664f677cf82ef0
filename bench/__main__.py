"""The measurements: `sudo make bench`, or `.venv/bin/python -m bench --help`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from demo.alone import alone
from demo.console import Console

from bench import engine, footprint, peers, results
from bench.daemons import Daemon, dockerd, linkspand
from bench.names import names
from bench.networks import networks
from bench.place import FOLDER, Place
from bench.ports import ports
from bench.profile import profile_run
from bench.rows import Row, Section
from bench.running import running

SECTIONS = ("attach", "crowded", "run", "networks", "ports", "names", "memory")


def main() -> int:
    arguments = _arguments()
    return alone("bench", FOLDER, lambda console: _run(arguments, console))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measures linkspan beside its peers in one run.")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="of each measurement (20)")
    parser.add_argument(
        "--only", choices=SECTIONS, action="append", default=[], help="this part; RESULTS.md stays as it is"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of RESULTS.md")
    parser.add_argument(
        "--profile-run", action="store_true", help="only print where the time of one docker run -d -p goes"
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace, console: Console) -> int:
    docker = peers.docker(console)
    place = Place()
    sections: list[Section] = []
    try:
        if arguments.profile_run:
            profile_run(place, docker, console, arguments.runs)
        else:
            for measure in _measurements(place, docker, console, arguments.runs, arguments.only or SECTIONS):
                section = measure()
                sections.append(section)
                _show(section, console)
    finally:
        left = place.end()
        for what in left:
            console.line(f"left behind: {what}")
    if sections and (arguments.output or not arguments.only):
        versions = {"python": platform.python_version(), **peers.versions(), **docker.versions}
        versions["client"] = docker.client_version()
        results.write(sections, arguments.runs, versions, arguments.output or results.RESULTS)
    return 1 if left else 0


def _measurements(
    place: Place, docker: peers.Docker, console: Console, runs: int, only: tuple[str, ...] | list[str]
) -> list[Callable[[], Section]]:
    daemons: list[Daemon] = []

    def both() -> tuple[Daemon, Daemon]:
        if not daemons:
            with console.working("starting the daemons"):
                daemons.extend((linkspand(place, docker), dockerd(place, docker)))
                for daemon in daemons:
                    daemon.start()
                    daemon.load_image()
        return daemons[0], daemons[1]

    measurements: dict[str, Callable[[], Section]] = {
        "attach": lambda: engine.attach(place, console, runs),
        "crowded": lambda: engine.crowded(place, console, runs),
        "run": lambda: running(*both(), console, runs),
        "networks": lambda: networks(*both(), console, runs),
        "ports": lambda: ports(place, docker, both()[0], console, runs),
        "names": lambda: names(*both(), console, runs),
        "memory": lambda: footprint.footprint(*both(), console, runs),
    }
    return [measurements[name] for name in SECTIONS if name in only]


def _show(section: Section, console: Console) -> None:
    console.heading(section.title)
    for row in section.rows:
        console.line(f"  {_mark(row, console)} {row.what}: {row.ours}" + (f"   {row.budget}" if row.budget else ""))
        for number, (name, samples) in enumerate(row.peers):
            console.line(f"      {name}: {samples}   {''.join(row.ratios[number : number + 1])}")


def _mark(row: Row, console: Console) -> str:
    return " " if row.met is None else console.colour("✓" if row.met else "✗", row.met)


if __name__ == "__main__":
    sys.exit(main())
