"""What this host tells the other hosts of its cluster, as keys and values of the cluster's store.

Like kernel objects, it is rendered from the records and never taken back by hand: what is published no more is not
rendered any more. `published` is the whole truth, `published_touched` the part of it that a set of writes can change.

Hosts, endpoints, blocks, reservations, moves and arrivals belong to one host, which alone writes them. Networks and
resources belong to nobody: who changes some writes them under the condition that no other has changed since (`shared`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from linkspan.model.cluster import GLOBAL, Arrival, Block, Host, Move, Remote, Reservation
from linkspan.model.endpoint import Endpoint
from linkspan.model.names import dns_names
from linkspan.model.network import Network
from linkspan.model.policy import usable_labels
from linkspan.model.resource import Resource
from linkspan.model.snapshot import KINDS, Record, Snapshot, Write, drop

# What every host reads, and follows. A record's key is folder/id.
RECORDS = "records/"
FOLDERS = {
    "hosts": "host",
    "networks": "network",
    "blocks": "block",
    "reservations": "reservation",
    "moves": "move",
    "arrivals": "arrival",
    "policies": "policy",
    "tiers": "tier",
    "networksets": "networkset",
    "hostendpoints": "hostendpoint",
    "ippools": "ippool",
    "ipreservations": "ipreservation",
    "bgpconfigurations": "bgpconfiguration",
    "bgppeers": "bgppeer",
    "bgpfilters": "bgpfilter",
}
_FOLDERS = {kind: folder for folder, kind in FOLDERS.items()}
SERIAL = f"{RECORDS}serial"  # written with every change of a network or a resource
ALIVE = f"{RECORDS}alive/"  # host id: there for as long as the host answers
# What is followed by the hosts that are on the network: endpoints, by network id and id.
ENDPOINTS = "endpoints/"
# What nobody has to read: a key there is one host's or one container's alone.
CLAIMS = "claims/"
ADDRESSES = f"{CLAIMS}addresses"
UNDERLAYS = f"{CLAIMS}underlays"
HOSTNAMES = f"{CLAIMS}hostnames"  # of a mesh


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A value to be published. With `claim`, only one host can have the key: it is refused where it is another's."""

    value: bytes
    claim: bool = False


Published = Mapping[str, Entry]


def published(snapshot: Snapshot, own: Host) -> dict[str, Entry]:
    """Everything that is this host's."""
    return dict(
        [
            *of_host(own).items(),
            *(entry for block in snapshot.blocks.values() for entry in _block(snapshot, block, own)),
            *(entry for endpoint in snapshot.endpoints.values() for entry in _endpoint(snapshot, endpoint, own)),
            *(entry for found in snapshot.reservations.values() for entry in _reservation(snapshot, found, own)),
            *(entry for move in snapshot.moves.values() for entry in _journey("moves", move, own)),
            *(entry for arrival in snapshot.arrivals.values() for entry in _journey("arrivals", arrival, own)),
        ]
    )


def published_touched(snapshot: Snapshot, writes: Iterable[Write], own: Host) -> dict[str, Entry]:
    """That part of it which depends on the records written."""
    entries: dict[str, Entry] = {}
    for write in writes:
        match snapshot.get(write.kind, write.id):
            case Endpoint() as endpoint:
                entries.update(_endpoint(snapshot, endpoint, own))
            case Block() as block:
                entries.update(_block(snapshot, block, own))
            case Reservation() as reservation:
                entries.update(_reservation(snapshot, reservation, own))
            case Move() as move:
                entries.update(_journey("moves", move, own))
            case Arrival() as arrival:
                entries.update(_journey("arrivals", arrival, own))
        if write.kind in ("container", "network"):
            of = snapshot.endpoints_of if write.kind == "container" else snapshot.endpoints_on
            for id_ in of.get(write.id, ()):
                entries.update(_endpoint(snapshot, snapshot.endpoints[id_], own))
    return entries


def shared(before: Snapshot, writes: Iterable[Write]) -> dict[str, bytes | None]:
    """Networks and resources of the cluster that the writes change: what is to be at each key, None for nothing."""
    changed: dict[str, bytes | None] = {}
    for write in writes:
        record = write.record or before.get(write.kind, write.id)
        if isinstance(record, Network | Resource) and record.scope == GLOBAL:
            key = f"{RECORDS}{_FOLDERS[write.kind]}/{write.id}"
            changed[key] = msgspec.json.encode(record) if write.record else None
    return changed


def read(key: str, value: bytes) -> Record | None:
    """The record at a key, as another host wrote it; None at a key that holds none.

    Raises msgspec.MsgspecError where somebody else has written something else.
    """
    kind, _ = gone(key)
    return msgspec.json.decode(value, type=KINDS[kind]) if kind else None


def gone(key: str) -> tuple[str, str]:
    """The kind and the id of the record that was at a key; ("", "") where there was none."""
    if key.startswith(ENDPOINTS):
        return "remote", key.removeprefix(endpoints_of(network_of(key)))
    folder, _, id_ = key.removeprefix(RECORDS).partition("/")
    kind = FOLDERS.get(folder, "") if key.startswith(RECORDS) else ""
    return (kind, id_) if kind else ("", "")


def endpoints_of(network_id: str) -> str:
    """What the keys of a network's endpoints begin with."""
    return f"{ENDPOINTS}{network_id}/"


def network_of(key: str) -> str:
    """The network that an endpoint's key is of; "" for any other key."""
    return key.split("/")[1] if key.startswith(ENDPOINTS) else ""


def owner(record: Record) -> str:
    """The host that a record belongs to; "" for one that is everybody's."""
    match record:
        case Host(id=id_) | Remote(host_id=id_) | Block(host_id=id_) | Reservation(host_id=id_):
            return id_
        case Move(host_id=id_) | Arrival(host_id=id_):
            return id_
    return ""


def keys_of(record: Record) -> tuple[str, ...]:
    """Every key that a host writes for a record of its own: those that claim its addresses too."""
    match record:
        case Host():
            return (f"{RECORDS}hosts/{record.id}", *_host_claims(record))
        case Remote():
            return (f"{endpoints_of(record.network_id)}{record.id}", *_address_keys(record))
        case Block():
            return (f"{RECORDS}blocks/{record.id}",)
        case Reservation():
            return (f"{RECORDS}reservations/{record.id}", *_address_keys(record))
        case Move():
            return (f"{RECORDS}moves/{record.id}",)
        case Arrival():
            return (f"{RECORDS}arrivals/{record.id}",)
    return ()


def of_host(own: Host) -> dict[str, Entry]:
    """What a host publishes of itself."""
    claims = dict.fromkeys(_host_claims(own), Entry(own.id.encode(), claim=True))
    return {f"{RECORDS}hosts/{own.id}": Entry(msgspec.json.encode(own)), **claims}


def _host_claims(host: Host) -> Iterator[str]:
    for address in filter(None, (host.address, host.address6)):
        yield f"{UNDERLAYS}/{address}"
    if host.wireguard:
        yield f"{HOSTNAMES}/{host.name}"


def _endpoint(snapshot: Snapshot, endpoint: Endpoint, own: Host) -> Iterator[tuple[str, Entry]]:
    """The endpoint, and its addresses: its container's, so that one that starts again has nothing new to claim."""
    network = snapshot.networks.get(endpoint.network_id)
    if network is None or network.scope != GLOBAL:
        return
    remote = as_remote(snapshot, endpoint, network, own.id)
    yield f"{endpoints_of(network.id)}{endpoint.id}", Entry(msgspec.json.encode(remote))
    holder = f"{own.id}/{endpoint.container_id}".encode()
    for key, address in zip(_address_keys(remote), _addresses(remote), strict=True):
        if not snapshot.elsewhere.reserved(network.id, address):
            yield key, Entry(holder, claim=True)


def as_remote(snapshot: Snapshot, endpoint: Endpoint, network: Network, host_id: str) -> Remote:
    """An endpoint of this host as the others see it."""
    container = snapshot.containers[endpoint.container_id]
    return Remote(
        id=endpoint.id,
        network_id=network.id,
        host_id=host_id,
        container_id=container.id,
        name=container.name,
        names=dns_names(container, network),
        mac=endpoint.mac,
        address=endpoint.address,
        prefix_length=endpoint.prefix_length,
        address6=endpoint.address6,
        prefix_length6=endpoint.prefix_length6,
        labels=usable_labels(container.config.labels),
    )


def _block(snapshot: Snapshot, block: Block, own: Host) -> Iterator[tuple[str, Entry]]:
    """As long as its network is there, which another host may have removed."""
    if block.host_id == own.id and block.network_id in snapshot.networks:
        told = msgspec.structs.replace(block, held=False)
        yield f"{RECORDS}blocks/{block.id}", Entry(msgspec.json.encode(told), claim=True)


def _reservation(snapshot: Snapshot, reservation: Reservation, own: Host) -> Iterator[tuple[str, Entry]]:
    network = snapshot.networks.get(reservation.network_id)
    if network is None or network.scope != GLOBAL or reservation.host_id != own.id:
        return
    yield f"{RECORDS}reservations/{reservation.id}", Entry(msgspec.json.encode(reservation), claim=True)
    for key in _address_keys(reservation):
        yield key, Entry(f"={reservation.identity}".encode(), claim=True)


def _journey(folder: str, record: Move | Arrival, own: Host) -> Iterator[tuple[str, Entry]]:
    if record.host_id == own.id:
        yield f"{RECORDS}{folder}/{record.id}", Entry(msgspec.json.encode(record))


def _addresses(record: Remote | Reservation) -> list[str]:
    return [address for address in (record.address, record.address6) if address]


def _address_keys(record: Remote | Reservation) -> tuple[str, ...]:
    return tuple(f"{ADDRESSES}/{record.network_id}/{address}" for address in _addresses(record))


def expelled(snapshot: Snapshot, host_id: str) -> tuple[Write, ...]:
    """The records that go with a host which is taken out of the cluster. Reservations stay for who takes them over."""
    host = snapshot.hosts.get(host_id)
    remotes = [snapshot.remotes[id_] for id_ in snapshot.elsewhere.at.get(host_id, ())]
    blocks = [block for block in snapshot.blocks.values() if block.host_id == host_id]
    journeys = (r for r in (*snapshot.moves.values(), *snapshot.arrivals.values()) if r.host_id == host_id)
    return (*map(drop, remotes), *map(drop, blocks), *map(drop, journeys), *((drop(host),) if host else ()))
