"""A container on its way to another host: what may go, and what is to be done at each end.

Decided from records alone, so that it does not matter who is killed when. `settled` in the Move is the moment: until
then the container is the host's that it leaves, from then on the host's that it comes to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec

from linkspan.errors import Conflict, Forbidden
from linkspan.model.cluster import GLOBAL, Arrival, Move
from linkspan.model.container import Container
from linkspan.model.snapshot import Snapshot


def start_move(snapshot: Snapshot, container: Container, host_id: str, target: str) -> Move:
    """Raises Conflict (it runs, or moves already), Forbidden: what would be missing there, all of it."""
    if container.state.running or container.state.status == "restarting":
        raise Conflict(f"container {container.name} is {container.state.status}: stop it before it moves")
    if container.id in snapshot.moves:
        raise Conflict(f"container {container.name} is on its way already")
    if missing := list(_bound_to_this_host(snapshot, container)):
        raise Forbidden(f"container {container.name} cannot move to another host: " + "; ".join(missing))
    config = container.config
    if config.hostname == container.id[:12]:  # it has none of its own
        config = msgspec.structs.replace(config, hostname="")
    return Move(
        id=container.id,
        host_id=host_id,
        target=target,
        name=container.name,
        config=config,
        host_config=container.host_config,
        networks={snapshot.networks[id_].name: settings for id_, settings in container.networks.items()},
    )


def _bound_to_this_host(snapshot: Snapshot, container: Container) -> Iterator[str]:
    for mount in container.mounts:
        if mount.type == "volume":
            yield f"its volume {mount.name} ({mount.destination}) is on this host"
        elif mount.type == "bind":
            yield f"its bind mount {mount.source} ({mount.destination}) is on this host"
    for network_id in container.networks:
        network = snapshot.networks.get(network_id)
        if network is None or not (network.scope == GLOBAL or network.predefined):
            yield f"network {network.name if network else network_id[:12]} is this host's only"
    host = container.host_config
    shared = (("network", host.network_mode), ("pid", host.pid_mode), ("ipc", host.ipc_mode))
    for what, mode in shared:
        if mode.startswith("container:"):
            yield f"it shares the {what} namespace of another container"
    if host.links:
        yield "it is linked to other containers"
    if container.plugs:
        yield "it has interfaces that were given by hand"


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What a host has to do for moves now: containers to `make`, to take back (`undo`) and to `keep` of those that
    come; to `remove` of those that have gone; moves of its own that are `unsettled`, and that are over (`forget`)."""

    make: tuple[Move, ...] = ()
    undo: tuple[Arrival, ...] = ()
    keep: tuple[Arrival, ...] = ()
    unsettled: tuple[Move, ...] = ()
    remove: tuple[Move, ...] = ()
    forget: tuple[Move, ...] = ()


def work(snapshot: Snapshot, host_id: str) -> Work:
    own = [move for move in snapshot.moves.values() if move.host_id == host_id]
    coming = [move for move in snapshot.moves.values() if move.target == host_id]
    arrived = [arrival for arrival in snapshot.arrivals.values() if arrival.host_id == host_id]
    return Work(
        make=tuple(m for m in coming if not m.settled and not _answered(snapshot.arrivals.get(m.id))),
        undo=tuple(a for a in arrived if a.id not in snapshot.moves),
        keep=tuple(a for a in arrived if (m := snapshot.moves.get(a.id)) and m.settled and not a.settled),
        unsettled=tuple(m for m in own if not m.settled),
        remove=tuple(m for m in own if m.settled and m.id in snapshot.containers),
        forget=tuple(
            m
            for m in own
            if m.settled and m.id not in snapshot.containers and (a := snapshot.arrivals.get(m.id)) and a.settled
        ),
    )


def _answered(arrival: Arrival | None) -> bool:
    return arrival is not None and (arrival.made or bool(arrival.error))


def settled(move: Move) -> Move:
    return msgspec.structs.replace(move, settled=True)
