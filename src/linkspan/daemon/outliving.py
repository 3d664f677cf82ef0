"""A process of ours that outlives the daemon: found again by its socket, or started, and replaced when it ends or is
of another version.

It listens at its socket, says its version in a line to whoever comes, and ends at the line `end`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)
PAUSE = 1.0  # seconds between attempts
_WAIT = 5.0  # seconds for a process that is starting or ending

Follow = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Outliving:
    def __init__(self, what: str, socket: Path, program: str, arguments: Sequence[str], version: str) -> None:
        """`what` is its name in the log; `program` a file of Python, which is given the socket and the arguments."""
        self._what, self._socket, self._version = what, socket, version
        self._command = (sys.executable, "-I", "-S", program, str(socket), *arguments)
        self.found = asyncio.Event()  # once there was one

    async def run(self, follow: Follow) -> None:
        """Until cancelled. `follow` has each connection to a process of this version, until that has ended."""
        said = ""
        while True:
            try:
                await self._once(follow)
                said = ""
            except (OSError, TimeoutError) as error:
                if str(error) != said:
                    log.error("%s does not start: %s", self._what, error)
                said = str(error)
            await asyncio.sleep(PAUSE if said else 0)

    async def end(self) -> None:
        """Ends the process, whoever started it, and returns once it is gone. That there is none is no error."""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            with contextlib.closing(writer), contextlib.suppress(TimeoutError):
                await _end(reader, writer)

    async def _once(self, follow: Follow) -> None:
        """Returns when a process has ended. Raises OSError, TimeoutError where there is none, nor can be started."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except (FileNotFoundError, ConnectionRefusedError):
            reader, writer = await self._start()
        with contextlib.closing(writer):
            self.found.set()
            known = (await asyncio.wait_for(reader.readline(), _WAIT)).decode().strip()
            if known != self._version:
                await _end(reader, writer)
                return
            await follow(reader, writer)
            log.warning("%s has ended: starting it again", self._what)

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        started = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(_WAIT):
            while True:
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    return await asyncio.open_unix_connection(self._socket)
                if started.returncode is not None:
                    raise OSError("it ended at once, and has said why")
                await asyncio.sleep(0.01)


async def _end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"end\n")
    await asyncio.wait_for(reader.read(), _WAIT)
