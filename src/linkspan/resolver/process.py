"""The process: carries out what the daemon says, and answers on without one.

It ends when its daemon goes and there is no sandbox to answer for, when none comes in the first place, or when it is
told that another one has taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import socket
from pathlib import Path

import msgspec

from linkspan.errors import LinkspanError
from linkspan.resolver.messages import LONGEST, Change, Done, Hello, line, version
from linkspan.resolver.server import Server
from linkspan.resolver.upstream import Upstream
from linkspan.state.names import NameKey

NAME = "linkspan-dns"
_PR_SET_NAME = 15
_UNCLAIMED = 5.0  # seconds in which the daemon that started it comes
_GRACE = 0.5  # seconds after another one has taken over, for what was asked before


class Process:
    def __init__(self, namespaces: Path, listener: socket.socket) -> None:
        self._server = Server(namespaces, Upstream())
        self._listener = listener
        self._daemon: asyncio.StreamWriter | None = None
        self._claimed = False  # a daemon has come once
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Until it is to end."""
        serving = await asyncio.start_unix_server(self._follow, sock=self._listener, limit=LONGEST)
        asyncio.get_running_loop().call_later(_UNCLAIMED, self._look_for_daemon)
        async with serving:
            await self._ended.wait()
        self._server.close()

    def _look_for_daemon(self) -> None:
        """Where the daemon was killed just after it had started this process, the next one does not find it."""
        if not self._claimed:
            self._ended.set()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One daemon. A newer one takes the place of the one before, which is gone or about to go."""
        self._claimed = True
        if self._daemon:
            self._daemon.close()
        self._daemon = writer
        with contextlib.suppress(OSError), contextlib.closing(writer):
            writer.write(line(Hello(version(), os.getpid())))
            while (message := await reader.readline()) and self._daemon is writer:
                change = msgspec.json.decode(message, type=Change)
                if change.end:
                    asyncio.get_running_loop().call_later(_GRACE, self._ended.set)
                    return
                writer.write(line(Done(number=change.number, failed=tuple(self._carry_out(change)))))
                await writer.drain()
        if self._daemon is writer:
            self._daemon = None
            if not self._server.busy:
                self._ended.set()

    def _carry_out(self, change: Change) -> list[tuple[NameKey, str]]:
        """What of it failed, and why."""
        failed: list[tuple[NameKey, str]] = []
        gone = set(change.drop)
        if change.everything:
            gone |= self._server.zone.keys() - {record.key for record in change.put}
        for key in gone:
            self._server.drop(key)
        for record in change.put:
            try:
                self._server.put(record)
            except OSError as error:
                failed.append((record.key, (error.strerror or str(error)).lower()))
            except LinkspanError as error:
                failed.append((record.key, str(error)))
        self._server.forget()
        return failed


def main(namespaces: str, listener: str) -> None:
    """`listener` is the descriptor of the unix socket at which a daemon finds it."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME.encode(), 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def run() -> None:
        await Process(Path(namespaces), socket.socket(fileno=int(listener))).run()

    asyncio.run(run())
