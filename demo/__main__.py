"""The demo: `sudo make demo`, or `.venv/bin/python -m demo --help`."""

import argparse
import fcntl
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from demo import (
    images,
    section0_images,
    section1_reached,
    section2_bridge,
    section2_ports,
    section3_host,
    section4_container,
    section5_none,
    section6_networks,
    section7_bridge_of_ones_own,
)
from demo.afterwards import REMOVE_EVERYTHING
from demo.client import Client, choose
from demo.console import Console
from demo.daemons import Daemon, dockerd, linkspand
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import Result, Section, run_step
from demo.sweep import mounts_below, sweep

FOLDER = Path("/var/lib/linkspan/demo")
SECTIONS = (
    section0_images.SECTION,
    section1_reached.SECTION,
    section2_bridge.SECTION,
    section2_ports.SECTION,
    section3_host.SECTION,
    section4_container.SECTION,
    section5_none.SECTION,
    section6_networks.SECTION,
    section7_bridge_of_ones_own.SECTION,
)


def main() -> int:
    """Runs the scenario. Status 0 only if every step held."""
    arguments = _arguments()
    if os.geteuid():
        print("The demo makes network namespaces and containers, which needs root: sudo make demo", file=sys.stderr)
        return 2
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, _interrupted)
    console = Console()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another demo is running on this machine", file=sys.stderr)
            return 2
        try:
            client = choose(arguments.client)
            return _run(client, _daemon(arguments), set(arguments.section), arguments.keep, console)
        except RuntimeError as error:
            print(f"\ndemo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ndemo: interrupted", file=sys.stderr)
            return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="The talk's scenario on test hosts, step by step.")
    parser.add_argument("--client", choices=("docker", "linkspan"), help="what the commands are typed into")
    parser.add_argument(
        "--section", type=int, action="append", default=[], metavar="N", help="only this section, and section 0"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs and data of the run")
    parser.add_argument("--dockerd", type=Path, metavar="ROOT", help=argparse.SUPPRESS)  # to check the scenario itself
    return parser.parse_args()


def _daemon(arguments: argparse.Namespace) -> Daemon:
    return dockerd(arguments.dockerd) if arguments.dockerd else linkspand()


def _interrupted(number: int, frame: FrameType | None) -> None:
    _let_nothing_interrupt()
    raise KeyboardInterrupt


def _let_nothing_interrupt() -> None:
    """Ending the hosts takes a moment, and must not be cut short."""
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.SIG_IGN)


def _run(client: Client, daemon: Daemon, chosen: set[int], keep: bool, console: Console) -> int:
    console.line(console.bold("linkspan: the talk's single-host scenario, on real databases"))
    console.line(f"  client   {client.name} ({client.program})")
    console.line(f"  daemon   {daemon.name}, in a test host of its own at {HOST_ADDRESS}; outside is {OUTSIDE_ADDRESS}")
    console.line(f"  images   {images.source()}")
    folder = FOLDER / "run"
    sweep(folder)
    console.heading("Images: got ready, or taken from the last run")
    cache = images.ready(console)
    console.line(f"  in {cache}")

    results: list[tuple[Section, Result | None]] = []
    stage = None
    failed = True
    try:
        with console.working("making the test hosts"):
            folder.mkdir()
            stage = Stage(folder, client, daemon, cache, console)
            stage.prepare()
        with console.working(f"starting {daemon.name}"):
            stage.start_daemon()
        for section in SECTIONS:
            if not chosen or section.number in chosen or section.number == 0:
                results += [(section, result) for result in _run_section(stage, section)]
        failed = not all(result is not None and result.held for _, result in results)
    finally:
        _let_nothing_interrupt()
        if stage is not None:
            stage.end()
        if keep:
            console.line(f"\nKept: {folder}")
        elif not failed:
            (FOLDER / "daemon.log").unlink(missing_ok=True)
        elif (folder / "daemon.log").exists():
            (folder / "daemon.log").replace(FOLDER / "daemon.log")
            console.line(f"\nThe daemon's log: {FOLDER / 'daemon.log'}")
        left = [] if keep else sweep(folder)
        left += [] if keep else mounts_below(folder)
        if left:
            console.line(f"Could not be removed: {', '.join(left)}")
            failed = True
    _sum_up(console, results)
    return 1 if failed else 0


def _run_section(stage: Stage, section: Section) -> list[Result | None]:
    """Results in order; None for a step that was not run, because a vital one before it did not hold."""
    console = stage.console
    console.heading(f"{section.number}. {section.title}")
    results: list[Result | None] = []
    stage.clear()
    if section.before is not None:
        section.before(stage)
    lost = False
    # Images are what the other sections stand on, and no containers.
    for step in (*section.steps, *([REMOVE_EVERYTHING] if section.number else [])):
        if lost:
            results.append(None)
            continue
        command = stage.typed(step.command)
        place = "outside" if step.where == "outside" else "host"
        with console.working(f"{place}$ {command}"):
            result = run_step(stage, step)
        console.line(f"{place}$ {console.bold(command)}")
        console.line(_indented("expected", step.expect))
        console.line(_indented("seen", result.seen))
        mark = console.colour("✓", True) if result.held else console.colour("✗ does not hold", False)
        console.line(f"  {mark} ({result.seconds:.1f} s)")
        results.append(result)
        lost = step.vital and not result.held
    if lost:
        console.line(console.colour(f"  ✗ {results.count(None)} steps that need this one were not run", False))
    if section.after is not None:
        section.after(stage)
    return results


def _indented(title: str, text: str) -> str:
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {title:<9}{first}", *(" " * 11 + line for line in more)])


def _sum_up(console: Console, results: list[tuple[Section, Result | None]]) -> None:
    console.heading("Summary")
    for section in SECTIONS:
        own = [result for one, result in results if one is section]
        if not own:
            continue
        held = sum(result is not None and result.held for result in own)
        mark = console.colour("✓", True) if held == len(own) else console.colour("✗", False)
        seconds = sum(result.seconds for result in own if result is not None)
        console.line(
            f"  {mark} {section.number}. {section.title:<34} {held:>3} of {len(own):>3} steps {seconds:6.1f} s"
        )
        for result in own:
            if result is not None and not result.held:
                console.line(f"      ✗ {result.step.command}: {result.step.expect}")
    held = sum(result is not None and result.held for _, result in results)
    console.line(f"\n  {held} of {len(results)} steps held, in {console.elapsed():.0f} s")


if __name__ == "__main__":
    sys.exit(main())
