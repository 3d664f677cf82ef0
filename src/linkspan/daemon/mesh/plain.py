"""A fabric of hosts that all reach each other, without encryption: routes by where they say that they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from linkspan.errors import Internal
from linkspan.model.mesh import MeshIdentity, MeshPeer
from linkspan.state.host import Underlay


class PlainFabric:
    """See contract.Fabric."""

    def __init__(self) -> None:
        self._own: MeshIdentity | None = None
        self._known: dict[str, MeshPeer] = {}

    async def start(self, own: MeshIdentity) -> Underlay:
        self._own = own
        await _ip("address", "replace", f"{own.address}/32", "dev", "lo")
        await _ip("-6", "address", "replace", f"{own.address6}/128", "dev", "lo", "nodad")
        return Underlay("lo", own.address, own.address6, 1500)

    async def peers(self, peers: Sequence[MeshPeer]) -> None:
        wanted = {peer.host_id: peer for peer in peers}
        for host_id in self._known.keys() - wanted.keys():
            await _ip("route", "flush", f"{self._known[host_id].address}/32")
        for host_id, peer in wanted.items():
            if peer.endpoints and self._own and self._known.get(host_id) != peer:
                gateway = peer.endpoints[0].rpartition(":")[0]
                await _ip("route", "replace", f"{peer.address}/32", "via", gateway, "src", self._own.address)
        self._known = wanted

    async def close(self) -> None:
        return

    async def end(self) -> None:
        return


async def _ip(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise Internal(f"ip {' '.join(arguments)}: {said.decode().strip()}")
