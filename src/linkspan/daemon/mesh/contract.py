"""What the mesh needs of the fabric below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linkspan.daemon.mesh.standing import MeshView
from linkspan.model.mesh import MeshIdentity, MeshPeer
from linkspan.state.host import Underlay


class Fabric(Protocol):
    """Makes the hosts' mesh addresses reachable, whichever way leads to them.

    What leaves this host for a mesh address comes from its own one. What runs for it (processes, interfaces) outlives
    the daemon and is found again.
    """

    async def start(self, own: MeshIdentity) -> Underlay:
        """Gives this host its mesh addresses, and keeps up what leads to the peers that it had. Returns once the
        addresses are there, and with them what tunnels of networks stand on: `interface` has the addresses, `mtu` is
        what fits through between any two hosts. Raises Unsupported naming what this host has not."""

    async def peers(self, peers: Sequence[MeshPeer]) -> None:
        """From now on these are the others, and nobody else: whoever is not among them is not heard any more."""

    async def view(self) -> MeshView:
        """How the peers are reached now."""

    async def close(self) -> None:
        """The daemon ends; the mesh goes on."""

    async def end(self) -> None:
        """This host is in no mesh any more: nothing of it is left. Also without a `start` before, by a daemon that
        finds what another one has left."""
