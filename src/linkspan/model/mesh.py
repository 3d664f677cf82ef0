"""A mesh: hosts that find each other, and run the cluster's store among themselves.

Each has an address in the mesh, of each IP version, which is its address in the cluster too (`Host.address`): tunnels
end there, and the store is reached there. Something below, the fabric, makes those addresses reachable.
"""

from __future__ import annotations

import dataclasses

from linkspan.model.cluster import Host
from linkspan.model.mesh_token import Token

JOIN_PORT = 6783  # TCP: where a host lets others in
FABRIC_PORT = 6784  # UDP: where a host's packets to others come from, and theirs are heard, if not told otherwise


@dataclasses.dataclass(frozen=True, slots=True)
class MeshSettings:
    """What the user says. With `join` and `token` the host becomes one of a mesh that is there; without it begins one.
    Where it is in one already, neither means anything."""

    join: tuple[str, int] | None = None  # a host of it, and its port
    token: Token | None = None
    encrypted: bool = True
    advertise: str = ""  # an address or an interface: where others reach this host directly


@dataclasses.dataclass(frozen=True, slots=True)
class MeshIdentity:
    """Who this host is, for the fabric. `private_key` is WireGuard's: 32 bytes in base64. `encrypted` says whether
    anything may go between the hosts in the clear."""

    mesh_id: str
    host_id: str
    name: str
    address: str  # IPv4, in the mesh; as /32
    address6: str  # as /128
    private_key: str = dataclasses.field(repr=False)
    port: int = FABRIC_PORT
    underlay: str = ""  # the interface or address that the user named (--advertise); "" is any
    encrypted: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class MeshPeer:
    """Another host of the mesh. `endpoints` are `10.0.0.5:6784`, `[fd00::5]:6784`: where it may be reached directly.
    There may be none, or none that works from here: then others pass its packets on."""

    host_id: str
    name: str
    address: str
    address6: str
    public_key: str
    endpoints: tuple[str, ...] = ()


def peer_of(host: Host) -> MeshPeer:
    return MeshPeer(host.id, host.name, host.address, host.address6, host.wireguard, host.endpoints)
