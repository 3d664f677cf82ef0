"""Whether a host may join, and as what it is entered."""

from __future__ import annotations

import datetime
from collections.abc import Collection

import msgspec

from linkspan.engine.mesh.addresses import mesh_addresses
from linkspan.errors import Conflict
from linkspan.model.cluster import Host

APART = 600.0  # seconds that clocks may differ: certificates allow for an hour


def check_clocks(here: float, there: float) -> None:
    """Seconds since 1970. Raises Conflict naming both."""
    if abs(here - there) > APART:
        raise Conflict(
            f"the clocks are apart: here it is {moment(here)}, there it is {moment(there)}: set the wrong one right"
        )


def entered(asking: Host, hosts: Collection[Host], answering: Collection[str], mesh_id: str) -> Host:
    """The host with its addresses in the mesh; one that was in it before has those again. `hosts` are all that are in
    it, `answering` the ids of those that answer. Raises Conflict."""
    for host in hosts:
        if host.name == asking.name and host.id != asking.id:
            raise Conflict(
                f"the name {host.name} is another host's of the mesh, at {_places(host)}: give this one another name "
                "(hostnamectl), or, where that one is gone for good, take it out: linkspan mesh forget " + host.name
            )
    known = next((host for host in hosts if host.id == asking.id), None)
    if known and known.id in answering:
        raise Conflict(
            f"host {known.name} at {_places(known)} has the same id, and answers: one is a copy of the other's data; "
            "remove the file engine-id from the copy's data root"
        )
    if known:
        return msgspec.structs.replace(asking, address=known.address, address6=known.address6)
    taken = [address for host in hosts for address in (host.address, host.address6)]
    address, address6 = mesh_addresses(mesh_id, asking.id, taken)
    return msgspec.structs.replace(asking, address=address, address6=address6)


def moment(seconds: float) -> str:
    """As it is told to users."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _places(host: Host) -> str:
    return ", ".join(place.rpartition(":")[0] for place in host.endpoints) or host.address
