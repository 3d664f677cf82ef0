"""What carries a mesh on this host, and how the mesh goes on from here: its links, and the hosts at their other ends.

Packets between two hosts that reach each other are encrypted by WireGuard, on one interface and one UDP port for all of
them. In it lies a VXLAN segment on which all of them are neighbours; on that babeld finds the ways to all hosts, also
through others. Without encryption the segment lies on the hosts' own network.
"""

from __future__ import annotations

import dataclasses

WIREGUARD, SEGMENT = "linkspan-wg", "linkspan-mesh"  # the interfaces
ALIAS = "linkspan:mesh"
SEGMENT_VNI = 4095  # networks have larger ones
SEGMENT_PORT = 6786  # UDP: the segment's inside WireGuard; outside it has the mesh's
NEIGHBOUR_PORT = 6785  # UDP: babeld's, on the segment


@dataclasses.dataclass(frozen=True, slots=True)
class FabricPeer:
    """Another host. `carrier` is where its end of the segment is: inside WireGuard, or on its own network."""

    address: str
    carrier: str


@dataclasses.dataclass(frozen=True, slots=True)
class FabricFacts:
    """`carrier` as of a peer. `port` and `mtu` are the segment's. `kind` is WireGuard's: wireguard (the kernel's), tun
    (a process in user space has it), or "" where nothing is encrypted."""

    address: str
    address6: str
    carrier: str
    port: int
    mtu: int
    kind: str = "wireguard"
    peers: tuple[FabricPeer, ...] = ()
