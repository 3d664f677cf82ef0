"""What the hosts of a cluster know of each other: the hosts, who is on them, and whose which addresses are.

Networks of scope `global` are the cluster's too, and ordinary `Network` records. What a host itself holds are its own
endpoints; what it has of the others' are these records, read from the cluster's store and kept beside its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.model.container import Config, EndpointSettings, HostConfig
from linkspan.model.wire import Wire

GLOBAL = "global"  # the scope of a network that the hosts of a cluster share
LOCAL = "local"


class Host(Wire, frozen=True, kw_only=True):
    """A host of the cluster. It is a member until somebody takes it out, whether it answers or not.

    In a snapshot are the other hosts; what this one says of itself is made by its daemon at each start.
    """

    id: str
    name: str
    address: str = ""  # IPv4, at which the others reach it: where tunnels end
    address6: str = ""
    mtu: int = 1500  # of the interface that has the address
    version: str = ""  # of linkspan
    created: str = ""  # RFC 3339: when its daemon joined, the last time
    # Of a host of a mesh, whose addresses above are those in the mesh (`model/mesh.py`).
    wireguard: str = ""  # its public key
    endpoints: tuple[str, ...] = ()  # `10.0.0.5:6784`: where it may be reached directly
    certificates: tuple[str, ...] = ()  # serial numbers (hexadecimal) of those that it can show now
    authority: int = 0  # the number of the newest authority of the mesh that it has the key of
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)  # of its daemon (--label), which selectors see


class Remote(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """An endpoint on another host."""

    id: str  # of the endpoint
    network_id: str
    host_id: str
    container_id: str
    name: str  # the container's
    names: tuple[str, ...] = ()  # what the resolver calls it on this network
    mac: str = ""
    address: str = ""
    prefix_length: int = 0
    address6: str = ""
    prefix_length6: int = 0
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)  # the container's, which selectors see


class Subscription(Wire, frozen=True, kw_only=True):
    """This host's own note that it follows who is on a network of the cluster: all remote endpoints of it are known.

    It follows those that somebody here is on, or was a moment ago. What it has published of a network is there for as
    long as it follows it.
    """

    id: str  # of the network


class Block(Wire, frozen=True, kw_only=True):
    """A part of a network's subnet that one host takes addresses from, so that hosts do not choose the same."""

    id: str  # network id/subnet
    network_id: str
    subnet: str
    host_id: str
    held: bool = False  # of this host's own, and known to nobody else: that the store has said that it has the block

    @property
    def subnet_version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.subnet else 4


class Reservation(Wire, frozen=True, kw_only=True):
    """Addresses that belong to an identity (a container's name, or labels), whether a container has it now or not."""

    id: str  # network id/identity
    network_id: str
    identity: str
    address: str = ""
    address6: str = ""
    mac: str = ""
    host_id: str = ""  # where it was used last: that host looks after it, until another one takes it over
    holder: str = ""  # the container that has it, running or not
    released: str = ""  # RFC 3339: since when nobody uses it; "" while somebody does


class Move(Wire, frozen=True, kw_only=True):
    """A container on its way to another host, with all that it was asked for: written by the host that it leaves.

    Once it is `settled` the container is the other host's, and this host removes its own. Before, it is this host's:
    a move that is gone unsettled did not take place.
    """

    id: str  # of the container here
    host_id: str
    target: str  # host id
    name: str
    config: Config
    host_config: HostConfig
    networks: Mapping[str, EndpointSettings]  # by name
    settled: bool = False


class Arrival(Wire, frozen=True, kw_only=True):
    """What the host that a container moves to says of it: under which id it makes it there, that it is `made`, or why
    it cannot be. `settled` says that the host knows that it keeps it.
    """

    id: str  # of the move
    host_id: str
    container_id: str = ""
    made: bool = False
    error: str = ""
    settled: bool = False


def block_id(network_id: str, subnet: str) -> str:
    return f"{network_id}/{subnet}"


def reservation_id(network_id: str, identity: str) -> str:
    return f"{network_id}/{identity}"
