"""The process of the udp backend is there whenever its network is: found again by its socket, or started, and told of
every host. It outlives the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from pathlib import Path

from linkspan.daemon.outliving import Outliving
from linkspan.drivers.flannel import Part
from linkspan.model.flannel import base_address
from linkspan.tunnel import process

DEVICE = "flannel0"


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelSettings:
    """`address` is the device's, with the whole network's prefix length. With `known`, only what comes from hosts that
    have a lease is taken."""

    device: str
    address: str
    mtu: int
    local: str
    port: int
    known: bool = False


def tunnel_settings(part: Part) -> TunnelSettings:
    """The udp backend's device has the whole network, whose subnets it tells apart itself."""
    length = part.config.v4.network.partition("/")[2]
    address = f"{base_address(part.own.subnet)}/{length}"
    return TunnelSettings(DEVICE, address, part.mtu, part.underlay.address, part.config.backend.udp_port)


class UdpTunnel:
    def __init__(self, socket: Path, settings: TunnelSettings) -> None:
        self.settings = settings
        arguments = _arguments(settings)
        version = " ".join((process.version(), *arguments))
        what = "the tunnel of flannel's udp backend"
        self._process = Outliving(what, socket, process.__file__, arguments, version)
        self._routes: tuple[tuple[str, str], ...] = ()
        self._stirred = asyncio.Event()

    def set_routes(self, routes: tuple[tuple[str, str], ...]) -> None:
        """Pairs of a subnet and the host that has it."""
        self._routes = routes
        self._stirred.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._process.run(self._feed)

    async def end(self) -> None:
        """Ends the process, and its device with it."""
        await self._process.end()

    async def _feed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stirred.set()
        gone = asyncio.create_task(_ended(reader))
        try:
            while not gone.done():
                stirred = asyncio.create_task(self._stirred.wait())
                await asyncio.wait({gone, stirred}, return_when=asyncio.FIRST_COMPLETED)
                stirred.cancel()
                self._stirred.clear()
                writer.write(b"routes " + json.dumps(self._routes).encode() + b"\n")
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
        finally:
            gone.cancel()


def _arguments(wanted: TunnelSettings) -> tuple[str, ...]:
    whose = "known" if wanted.known else "any"
    return (wanted.device, wanted.address, str(wanted.mtu), wanted.local, str(wanted.port), whose)


async def _ended(reader: asyncio.StreamReader) -> None:
    while await reader.readline():
        pass
