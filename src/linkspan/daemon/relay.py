"""The relay is there whenever the daemon is, and outlives it, as published ports do. A daemon that ends and leaves
nothing published takes it along."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from linkspan.daemon.outliving import PAUSE, Outliving
from linkspan.relay import process


class Relay:
    def __init__(self, exec_root: Path) -> None:
        what = "the relay for IPv6 ports of IPv4 containers"
        self._process = Outliving(what, exec_root / "relay.sock", process.__file__, (), process.version())
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Until cancelled."""
        await self._process.run(self._follow)

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        try:
            await reader.read()
        finally:
            self._writer = None

    async def found(self) -> None:
        """Returns once there is one, or there is none after a while: that is no reason to keep containers waiting."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.found.wait(), PAUSE)

    def end(self) -> None:
        """Ends the relay; with the daemon alone it would go on."""
        if self._writer is not None:
            self._writer.write(b"end\n")
