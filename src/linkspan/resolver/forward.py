"""Names that are not ours, asked of other servers: one after the other, each in the namespace that it belongs to."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Callable, Iterable

from linkspan.resolver import wire
from linkspan.resolver.upstream import Server

TIMEOUT = 4.0  # seconds that each server has
AT_ONCE = 1024  # questions of one sandbox that are under way; more wait
WAITING = 8192  # and so many may wait; the next one is refused
_PORT = 53
_LENGTH = struct.Struct("!H")

Dial = Callable[[str, socket.AddressFamily, socket.SocketKind], socket.socket]
"""Makes a socket in a namespace, by path, that does not block. Raises OSError."""


class Forward:
    """One sandbox's questions to others."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._free = asyncio.Semaphore(AT_ONCE)
        self._asked = 0

    async def ask(self, query: wire.Query, message: bytes, servers: Iterable[Server], *, tcp: bool) -> bytes:
        """The answer of the first server that has one, under the query's id. `message` is the query as it came.

        SERVFAIL where nobody answers, REFUSED where too many ask at once.
        """
        if self._asked >= WAITING:
            return wire.reply(query, wire.REFUSED)
        self._asked += 1
        try:
            async with self._free:
                for server in servers:
                    answer = await self._ask(query, message, server, tcp=tcp)
                    if answer and wire.rcode(answer) not in (wire.SERVFAIL, wire.REFUSED):
                        return message[:2] + answer[2:]
        finally:
            self._asked -= 1
        return wire.reply(query, wire.SERVFAIL)

    async def _ask(self, query: wire.Query, message: bytes, server: Server, *, tcp: bool) -> bytes | None:
        """None where it gives no answer in time. One that it had to cut is asked for again by TCP."""
        id_ = secrets.token_bytes(2)
        asked = id_ + message[2:]
        answer = None
        with contextlib.suppress(OSError, EOFError):
            async with asyncio.timeout(TIMEOUT):
                if not tcp:
                    answer = await self._datagram(query, id_, asked, server)
                if answer is None or wire.truncated(answer):
                    answer = await self._stream(query, id_, asked, server)
        return answer

    async def _datagram(self, query: wire.Query, id_: bytes, asked: bytes, server: Server) -> bytes:
        loop = asyncio.get_running_loop()
        with self._connection(server, socket.SOCK_DGRAM) as link:
            link.connect(_address(server))
            link.send(asked)
            while True:  # what somebody else sends is no answer
                answer = await loop.sock_recv(link, wire.LARGEST)
                if wire.answers_to(query, id_, answer):
                    return answer

    async def _stream(self, query: wire.Query, id_: bytes, asked: bytes, server: Server) -> bytes:
        loop = asyncio.get_running_loop()
        with self._connection(server, socket.SOCK_STREAM) as link:
            await loop.sock_connect(link, _address(server))
            await loop.sock_sendall(link, _LENGTH.pack(len(asked)) + asked)
            while True:
                (length,) = _LENGTH.unpack(await _exactly(link, _LENGTH.size))
                answer = await _exactly(link, length)
                if wire.answers_to(query, id_, answer):
                    return answer

    def _connection(self, server: Server, kind: socket.SocketKind) -> socket.socket:
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        return self._dial(server.namespace, family, kind)


def _address(server: Server) -> tuple[str, int]:
    return server.address, _PORT


async def _exactly(link: socket.socket, count: int) -> bytes:
    """Raises EOFError where the other side ends before."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count:
        piece = await loop.sock_recv(link, count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
