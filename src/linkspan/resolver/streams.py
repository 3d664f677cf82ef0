"""Questions that come by TCP: each with its length before it, several on one connection, answered in their order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

_IDLE = 10.0  # seconds that a connection may be silent
_AT_ONCE = 128  # connections of one sandbox; the next one is closed at once
_LENGTH = struct.Struct("!H")

Answer = Callable[[bytes], Awaitable[bytes | None]]


class Streams:
    """The connections of one sandbox. The listener is closed with it."""

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        self._listener, self._answer = listener, answer
        self._connections: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for task in self._connections:
            task.cancel()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= _AT_ONCE:
            connection.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection)
        # The client may go at any moment, also in the middle of a word.
        with contextlib.suppress(OSError, EOFError):
            try:
                while (answer := await self._answered(reader)) is not None:
                    async with asyncio.timeout(_IDLE):
                        writer.write(_LENGTH.pack(len(answer)) + answer)
                        await writer.drain()
                writer.close()
            except BaseException:
                writer.transport.abort()
                raise

    async def _answered(self, reader: asyncio.StreamReader) -> bytes | None:
        """The answer to the next question; None where there is nothing to be said, and so nothing more to be expected.

        Raises IncompleteReadError, which is an EOFError, at the end.
        """
        async with asyncio.timeout(_IDLE):
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            question = await reader.readexactly(length)
        return await self._answer(question)
