"""The demo: `sudo make demo`, or `.venv/bin/python -m demo --help`."""

import argparse
import sys
from pathlib import Path

from demo import (
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
from demo.alone import alone
from demo.client import choose
from demo.console import Console
from demo.daemons import Daemon, dockerd, linkspand
from demo.play import FOLDER, images_told, perform
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage

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
    return alone("demo", FOLDER, lambda console: _run(arguments, console))


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


def _run(arguments: argparse.Namespace, console: Console) -> int:
    client, daemon = choose(arguments.client), _daemon(arguments)
    console.line(console.bold("linkspan: the talk's single-host scenario, on real databases"))
    console.line(f"  client   {client.name} ({client.program})")
    console.line(f"  daemon   {daemon.name}, in a test host of its own at {HOST_ADDRESS}; outside is {OUTSIDE_ADDRESS}")
    cache = images_told(console)
    chosen = {0, *arguments.section}
    return perform(
        console,
        lambda folder: Stage(folder, client, daemon, cache, console),
        lambda stage: stage.start_daemon(),
        [section for section in SECTIONS if not arguments.section or section.number in chosen],
        last=REMOVE_EVERYTHING,
        keep=arguments.keep,
    )


if __name__ == "__main__":
    sys.exit(main())
