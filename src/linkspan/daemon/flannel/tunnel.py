"""The process of the udp backend is there whenever its network is: found again by its socket, or started, and told of
every host. It outlives the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
from pathlib import Path

from linkspan.drivers.flannel import Part
from linkspan.model.flannel import base_address
from linkspan.tunnel import process

log = logging.getLogger(__name__)
DEVICE = "flannel0"
_WAIT = 5.0  # seconds for a process that is starting or ending
_PAUSE = 1.0  # seconds between attempts


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
        self._path, self.settings = socket, settings
        self._routes: tuple[tuple[str, str], ...] = ()
        self._stirred = asyncio.Event()

    def set_routes(self, routes: tuple[tuple[str, str], ...]) -> None:
        """Pairs of a subnet and the host that has it."""
        self._routes = routes
        self._stirred.set()

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            try:
                await self._feed()
                said = ""
            except (OSError, TimeoutError) as error:
                if str(error) != said:
                    log.error("the tunnel of flannel's udp backend does not start: %s", error)
                said = str(error)
            await asyncio.sleep(_PAUSE if said else 0)

    async def end(self) -> None:
        """Ends the process, and its device with it."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self._path)
            writer.write(b"end\n")
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(reader.read(), _WAIT)
            writer.close()

    async def _feed(self) -> None:
        """Returns when a process has ended. Raises OSError, TimeoutError where none can be started."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            reader, writer = await self._start()
        try:
            known = (await asyncio.wait_for(reader.readline(), _WAIT)).decode().strip()
            if known != self._version():
                writer.write(b"end\n")
                await asyncio.wait_for(reader.read(), _WAIT)
                return
            self._stirred.set()
            gone = asyncio.create_task(self._ended(reader))
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
            log.warning("the tunnel of flannel's udp backend has ended: starting it again")
        finally:
            writer.close()

    def _version(self) -> str:
        return f"{process.version()} {' '.join(self._arguments())}"

    def _arguments(self) -> tuple[str, ...]:
        wanted = self.settings
        whose = "known" if wanted.known else "any"
        return (wanted.device, wanted.address, str(wanted.mtu), wanted.local, str(wanted.port), whose)

    async def _ended(self, reader: asyncio.StreamReader) -> None:
        while await reader.readline():
            pass

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", process.__file__, str(self._path), *self._arguments()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(_WAIT):
            while True:
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    return await asyncio.open_unix_connection(self._path)
                if started.returncode is not None:
                    raise OSError("it ended at once, and has said why")
                await asyncio.sleep(0.01)
