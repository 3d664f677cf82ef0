"""The demo of many hosts: `sudo make demo-cluster`, or `.venv/bin/python -m demo.cluster --help`."""

import argparse
import dataclasses
import sys
from typing import cast

from demo.alone import alone
from demo.client import choose
from demo.cluster import flat, images, rack, spanning, weave
from demo.cluster.afterwards import REMOVE_EVERYTHING
from demo.cluster.stage import ADDRESSES, ClusterStage
from demo.cluster.table import table
from demo.console import Console
from demo.play import FOLDER, images_told, perform
from demo.stage import OUTSIDE_ADDRESS

# In their order; with weave the hosts leave their cluster.
SECTIONS = tuple(
    dataclasses.replace(section, number=number)
    for number, section in enumerate(
        (images.SECTION, *spanning.SECTIONS, rack.SECTION, *flat.SECTIONS, *weave.SECTIONS)
    )
)


def main() -> int:
    """Runs the scenario. Status 0 only if every step held."""
    arguments = _arguments()
    return alone("demo", FOLDER, lambda console: _run(arguments, console))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.cluster", description="Many hosts, one network: driver by driver.")
    parser.add_argument("--client", choices=("docker", "linkspan"), help="what the commands are typed into")
    parser.add_argument("--driver", action="append", default=[], metavar="NAME", help="only this driver")
    parser.add_argument("--keep", action="store_true", help="keep the logs and data of the run")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, console: Console) -> int:
    client = choose(arguments.client)
    console.line(console.bold("linkspan: many hosts, one network, driver by driver"))
    console.line(f"  client   {client.name} ({client.program})")
    console.line(
        f"  hosts    {', '.join(f'{name} {address}' for name, address in ADDRESSES.items())}, with linkspand and"
    )
    console.line(f"           a member of one etcd in each; outside is {OUTSIDE_ADDRESS}, which runs none of it")
    cache = images_told(console)
    chosen = arguments.driver
    sections = [s for s in SECTIONS if not s.number or not chosen or s.title.split()[0].strip(",") in chosen]
    return perform(
        console,
        lambda folder: ClusterStage(folder, client, cache, console),
        lambda stage: cast(ClusterStage, stage).start(),
        sections,
        last=REMOVE_EVERYTHING,
        keep=arguments.keep,
        sum_up=table,
    )


if __name__ == "__main__":
    sys.exit(main())
