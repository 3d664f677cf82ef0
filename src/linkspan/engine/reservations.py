"""Addresses that belong to an identity: a container's name, or labels that it was created with.

The first container of an identity that runs on a network reserves its addresses there. They stay its own while it
exists, and the next one's of that identity for a while after it is removed (the network's `rest`), on whichever host:
so a container that is made anew, or moves to another host, has the address that it had. Several containers may have the
same labels: the second one's identity is `app=web#2`, and so on.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from itertools import count

import msgspec

from linkspan.errors import Conflict, InvalidArgument, NotFound
from linkspan.model.cluster import Reservation, reservation_id
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, Write, drop, put

BY_HAND = "9999-12-31T23:59:59Z"  # since when one rests that waits for its container: it does not yet


def identity_of(container: Container, network: Network) -> str:
    """Who the container is on the network, but for its number among those that are alike; "" is nobody."""
    if network.identity == "name":
        return container.name
    labels = container.config.labels or {}
    keys = network.identity.removeprefix("label:").split(",") if network.identity else []
    return ",".join(f"{key}={labels[key]}" for key in keys) if keys and all(key in labels for key in keys) else ""


def own_reservation(snapshot: Snapshot, container: Container, network: Network) -> Reservation | None:
    """What is reserved for the container on the network, by it or by one before it. A new one has no addresses.

    None where the container has no identity there.
    """
    identity = identity_of(container, network)
    if not identity:
        return None
    first_free: Reservation | None = None
    for number in count(1):
        numbered = f"{identity}#{number}" if number > 1 else identity
        id_ = reservation_id(network.id, numbered)
        found = snapshot.reservations.get(id_)
        if found and found.holder == container.id:
            return found
        if found is None or found.released:
            first_free = first_free or found or Reservation(id=id_, network_id=network.id, identity=numbered)
        if found is None:
            break
    # It may have had another name, or a number behind one that is nobody's any more.
    held = next((r for r in snapshot.reservations_of(container) if r.network_id == network.id), None)
    if held and first_free:
        return msgspec.structs.replace(held, id=first_free.id, identity=first_free.identity)
    return first_free


def reserve(
    snapshot: Snapshot, container: Container, network: Network, endpoint: Endpoint, host_id: str
) -> Iterator[Write]:
    """The addresses that the container now has are its identity's."""
    found = own_reservation(snapshot, container, network)
    if found is None:
        return
    wanted = msgspec.structs.replace(
        found,
        address=endpoint.address,
        address6=endpoint.address6,
        mac=endpoint.mac,
        host_id=host_id,
        holder=container.id,
        released="",
    )
    others = (r for r in snapshot.reservations_of(container) if r.network_id == network.id and r.id != found.id)
    yield from map(drop, others)
    if snapshot.reservations.get(found.id) != wanted:
        yield put(wanted)


def release(
    snapshot: Snapshot, container: Container, now: str, network_id: str = "", *, moved: bool = False
) -> Iterator[Write]:
    """A container is no more (on one network): from now on its addresses rest. Of one that has `moved`, they wait for
    it to start at its new place, for however long."""
    for found in snapshot.reservations_of(container):
        network = snapshot.networks.get(found.network_id)
        if network is None or network_id not in ("", network.id):
            continue
        resting = msgspec.structs.replace(found, holder="", released=BY_HAND if moved else now)
        yield put(resting) if network.rest or moved else drop(found)


def rested(snapshot: Snapshot, now: str, host_id: str) -> Iterator[Write]:
    """Reservations of this host's that nobody has used for as long as their network keeps them."""
    for found in snapshot.reservations.values():
        network = snapshot.networks.get(found.network_id)
        if found.released and network and found.host_id == host_id and _seconds(found.released, now) >= network.rest:
            yield drop(found)


def reserve_by_hand(snapshot: Snapshot, network: Network, identity: str, address: str, host_id: str) -> Write:
    """An address for an identity of which there is no container yet: it rests only from the first one's removal.

    Raises InvalidArgument (no address of the network), Conflict (the address or the identity has another).
    """
    if not network.identity:
        raise InvalidArgument(f"network {network.name} ties no addresses to identities")
    try:
        number = int(parsed := ipaddress.ip_address(address))
    except ValueError:
        raise InvalidArgument(f"invalid address: {address!r}") from None
    if not any(parsed in ipaddress.ip_network(pool.subnet) for pool in network.pools):
        raise InvalidArgument(f"{address} is in no subnet of network {network.name}")
    id_ = reservation_id(network.id, identity)
    if not identity or "/" in identity:
        raise InvalidArgument(f"invalid identity: {identity!r}")
    if (network.id, number) in snapshot.address_holders or (network.id, number) in snapshot.elsewhere.holders:
        raise Conflict(f"Address already in use: {address}")
    if id_ in snapshot.reservations:
        raise Conflict(f"{identity} has {snapshot.reservations[id_].address} on network {network.name}: release that")
    six = parsed.version == 6
    return put(
        Reservation(
            id=id_,
            network_id=network.id,
            identity=identity,
            address="" if six else str(parsed),
            address6=str(parsed) if six else "",
            host_id=host_id,
            released=BY_HAND,
        )
    )


def release_by_hand(snapshot: Snapshot, network: Network, identity: str) -> Write:
    """Raises NotFound, and Conflict where a container has it."""
    found = snapshot.reservations.get(reservation_id(network.id, identity))
    if found is None:
        raise NotFound(f"nothing is reserved for {identity} on network {network.name}")
    if not found.released:
        holder = snapshot.containers.get(found.holder)
        raise Conflict(
            f"{found.address or found.address6} is the address of container {holder.name if holder else found.holder}: "
            "remove it first, or disconnect it"
        )
    return drop(found)


def reserved_for_others(snapshot: Snapshot, container: Container, network: Network, number: int) -> str:
    """The identity whose address it is, where that is not the container's own; else ""."""
    own = own_reservation(snapshot, container, network) if network.identity else None
    for id_ in snapshot.elsewhere.holders.get((network.id, number), ()):
        found = snapshot.reservations.get(id_)
        if found and found.holder != container.id and (own is None or found.id != own.id):
            return found.identity
    return ""


def _seconds(since: str, now: str) -> float:
    earlier, later = (datetime.datetime.fromisoformat(text[:19] + "+00:00") for text in (since, now))
    return (later - earlier).total_seconds()
