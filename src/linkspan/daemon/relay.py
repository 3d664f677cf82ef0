"""The relay is there whenever the daemon is: found again by its control socket, or started, and replaced when it ends.

It outlives the daemon, as published ports do. A daemon that ends and leaves nothing published takes it along.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from linkspan.relay import process

log = logging.getLogger(__name__)
_WAIT = 5.0  # seconds for a relay that is starting or ending
_PAUSE = 1.0  # seconds between attempts


class Relay:
    def __init__(self, exec_root: Path) -> None:
        self._path = exec_root / "relay.sock"
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._found = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            try:
                await self._watch()
                said = ""
            except (OSError, TimeoutError) as error:
                if str(error) != said:
                    log.error("the relay for IPv6 ports of IPv4 containers does not start: %s", error)
                said = str(error)
            await asyncio.sleep(_PAUSE if said else 0)

    async def _watch(self) -> None:
        """Returns when a relay has ended. Raises OSError, TimeoutError where there is none and none can be started."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            reader, self._writer = await self._start()
        try:
            self._found.set()
            known = (await asyncio.wait_for(reader.readline(), _WAIT)).decode().strip()
            if known != process.version():
                self._writer.write(b"end\n")
                await asyncio.wait_for(reader.read(), _WAIT)
                return
            await reader.read()
            log.warning("the relay for IPv6 ports of IPv4 containers has ended: starting it again")
        finally:
            self._writer.close()
            self._writer = None

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        command = (sys.executable, "-I", "-S", process.__file__, str(self._path))
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(_WAIT):
            while True:
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    return await asyncio.open_unix_connection(self._path)
                if self._process.returncode is not None:
                    raise OSError("it ended at once, and has said why")
                await asyncio.sleep(0.01)

    async def found(self) -> None:
        """Returns once there is one, or there is none after a while: that is no reason to keep containers waiting."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._found.wait(), _PAUSE)

    def end(self) -> None:
        """Ends the relay; with the daemon alone it would go on."""
        if self._writer is not None:
            self._writer.write(b"end\n")
