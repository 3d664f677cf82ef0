"""How this host reaches the others of its mesh: directly or through whom, since when, how long an answer takes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from linkspan.daemon.identity import now as present
from linkspan.daemon.mesh.babel import Ways, ask, changes
from linkspan.engine.mesh.fabric import mesh_address_of
from linkspan.model.mesh import MeshIdentity, MeshPeer

_PAUSE = 1.0  # seconds until babeld is asked again that did not answer


@dataclasses.dataclass(frozen=True, slots=True)
class PeerStanding:
    """`way` is direct, through (then `through` is that host's name), or none. `since` is when it came to that, as far
    as this daemon has seen it. `latency` is of an answer from a direct neighbour, in milliseconds. `at` is where its
    packets come from, `handshake` how many seconds ago its key was agreed on: of one that WireGuard has heard."""

    peer: MeshPeer
    way: str
    through: str = ""
    since: str = ""
    latency: float | None = None
    at: str = ""
    handshake: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class MeshView:
    """`kind` as of FabricFacts; `mtu` is what fits into a packet between two hosts."""

    own: MeshIdentity
    kind: str
    mtu: int
    peers: tuple[PeerStanding, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AuthorityView:
    """The number and fingerprint (SHA-256 of its public key) of the authority in force; and by host's name the number
    of the newest that it has the key of."""

    number: int
    fingerprint: bytes
    hosts: Mapping[str, int]


class Standing:
    """Follows babeld's ways, to know since when each is what it is."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._since: dict[str, tuple[str, str]] = {}  # address → by whom, since when

    async def run(self) -> None:
        while True:
            async with contextlib.aclosing(changes(self._socket)) as heard:
                async for _ in heard:
                    await self.look()
            await asyncio.sleep(_PAUSE)

    async def look(self) -> Ways:
        ways = await ask(self._socket) or Ways()
        vias = _vias(ways)
        for address in self._since.keys() - vias.keys():
            self._since[address] = self._now(address, "")
        for address, via in vias.items():
            self._since[address] = self._now(address, via)
        return ways

    def _now(self, address: str, via: str) -> tuple[str, str]:
        before = self._since.get(address)
        return before if before and before[0] == via else (via, present())

    def of(self, peers: Iterable[MeshPeer], ways: Ways, tunnels: Mapping[str, Tunnel]) -> tuple[PeerStanding, ...]:
        peers = sorted(peers, key=lambda peer: peer.name)
        names = {peer.address: peer.name for peer in peers}
        vias = _vias(ways)
        latencies = {mesh_address_of(one.address): one.rtt for one in ways.neighbours if one.usable}
        found = []
        for peer in peers:
            via = vias.get(peer.address, "")
            direct, tunnel = via == peer.address, tunnels.get(peer.public_key, Tunnel())
            found.append(
                PeerStanding(
                    peer,
                    way="direct" if direct else "through" if via else "none",
                    through="" if direct else names.get(via, via),
                    since=self._since.get(peer.address, ("", ""))[1],
                    latency=latencies.get(peer.address) if direct else None,
                    at=tunnel.at,
                    handshake=tunnel.handshake,
                )
            )
        return tuple(found)


@dataclasses.dataclass(frozen=True, slots=True)
class Tunnel:
    """What WireGuard says of a peer."""

    at: str = ""
    handshake: int | None = None


def tunnels(dump: str, now: Callable[[], float] = time.time) -> dict[str, Tunnel]:
    """By public key, from what `wg show … dump` prints: the interface in the first line, a peer in each other one."""
    found = {}
    for line in dump.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) >= 5:
            at = "" if fields[2] == "(none)" else fields[2]
            heard = int(fields[4]) if fields[4].isdecimal() else 0
            found[fields[0]] = Tunnel(at, max(0, int(now()) - heard) if heard else None)
    return found


def _vias(ways: Ways) -> dict[str, str]:
    """By whom it goes to each mesh address of IPv4."""
    return {
        way.prefix.partition("/")[0]: mesh_address_of(way.via)
        for way in ways.ways
        if ":" not in way.prefix and ":" in way.via
    }
