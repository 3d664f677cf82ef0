"""The place of the tests: a host with linkspand in it, and a host outside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from demo.hosts import Fabric

from tests.product.engine import Engine, space

HOST, OUTSIDE, THIRD = "10.211.55.4", "10.211.55.9", "10.211.55.10"
ROOT = Path(__file__).parents[2]


class Place(Engine):
    """The daemon, its host on a fabric, and the host outside, which is its way to everywhere."""

    def __init__(self, folder: Path) -> None:
        self.fabric = Fabric()
        super().__init__(folder, self.fabric.plug("host", f"{HOST}/24"))
        self.outside = self.fabric.plug("outside", f"{OUTSIDE}/24")
        self.host.run(["ip", "route", "add", "default", "via", OUTSIDE])
        self.there = space(self.outside)

    def close(self) -> None:
        """Ends the hosts with everything in them, and removes what they leave."""
        self.fabric.end()
        self.remove()


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A place that is gone afterwards. `folder` must not be there yet."""
    made = Place(folder)
    try:
        yield made
    finally:
        made.close()
