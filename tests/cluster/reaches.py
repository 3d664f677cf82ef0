"""Who reaches whom across hosts, driver by driver, as a function that is meant to be read.

It holds for TCP and UDP alike. Within one host, networks of bridges are what tests/truth says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HOSTS = ("h1", "h2", "h3")

# What a connection comes from: a container on the network, one on another network of the same driver, one on the host's
# own bridge, the host itself, or the machine outside, which runs none of our software.
Kind = Literal["network", "another network", "bridge", "host", "outside"]
# Where it goes to: the container's own address, or its published port at its host's address.
Destination = Literal["address", "published port"]


@dataclass(frozen=True)
class Spot:
    kind: Kind
    host: str = ""  # "" for the machine outside


SPOTS = (
    *(Spot(kind, host) for kind in ("network", "another network", "bridge", "host") for host in HOSTS),
    Spot("outside"),
)


@dataclass(frozen=True)
class Driver:
    """How networks of a driver are made, `city` and another one, and what they are like."""

    name: str
    city: tuple[str, ...]
    town: tuple[str, ...] | None = None  # None: there is one such network
    # Containers on it are neighbours of the hosts and of the machine outside.
    flat: bool = False
    # Each container is a route on every host of the cluster, which whoever is there follows.
    routes: bool = False
    # A container's own host comes to it by its own address; and so do the other hosts.
    from_own_host: bool = False
    from_any_host: bool = False
    # Ports are published on the host that runs the container.
    publishes: bool = False


def reaches(driver: Driver, source: Spot, there: str, destination: Destination) -> bool:
    """Whether a connection from `source` to a container on the network comes about, which runs on the host `there`."""
    if destination == "published port":
        return driver.publishes
    if driver.routes:
        return source.kind != "outside"
    match source.kind:
        case "network":
            return True
        case "another network":
            return False
        case "bridge" | "host":
            # What leaves a bridge goes out as its host does.
            if source.host == there:
                return driver.from_own_host and (source.kind == "host" or driver.flat)
            return driver.flat or (source.kind == "host" and driver.from_any_host)
        case "outside":
            return driver.flat
