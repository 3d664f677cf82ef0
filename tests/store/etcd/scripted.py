"""Members that answer as a test says: a list of what to do with one request after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import h11

from linkspan.store.etcd.address import ClusterAddress, MemberAddress
from linkspan.store.etcd.client import EtcdClient

CLOSE = b""  # hangs up instead of answering
SILENT = None  # answers nothing, and holds the connection


def answer(body: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} so\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def error(code: int, words: str, status: int = 503) -> bytes:
    return answer(b'{"error":"%s","message":"%s","code":%d}' % (words.encode(), words.encode(), code), status)


class Scripted:
    """A member that does what `answers` say, in turn, and remembers what it was asked."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, bytes]] = []
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(ConnectionError):
            await self._serve(reader, writer)
        writer.close()
        self._open.discard(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        path, body = "", b""
        while True:
            event: Any = http.next_event()
            if event is h11.NEED_DATA:
                piece = await reader.read(65536)
                if not piece:
                    return
                http.receive_data(piece)
            elif isinstance(event, h11.Request):
                path, body = event.target.decode(), b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.asked.append((path, body))
                what = self.answers.pop(0)
                if what == CLOSE:
                    return
                if what is not None:
                    writer.write(what)
                    await writer.drain()
                    if not what.startswith(b"HTTP/1.1"):
                        return
                    http = h11.Connection(h11.SERVER)
            else:
                return

    async def hang_up(self) -> None:
        for writer in list(self._open):
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def asking(*members: Scripted | None, at: str = "127.0.0.1") -> AsyncIterator[EtcdClient]:
    """A client of these members, on loopback; None: nobody listens there."""
    async with contextlib.AsyncExitStack() as stack:
        addresses: list[MemberAddress] = []
        for member in members:
            server = await asyncio.start_server(member or Scripted(), at, 0)
            addresses.append(MemberAddress(at, server.sockets[0].getsockname()[1]))
            if member is None:
                server.close()
            else:
                stack.push_async_callback(member.hang_up)
                stack.callback(server.close)
        client = EtcdClient(ClusterAddress(tuple(addresses)))
        stack.push_async_callback(client.close)
        yield client
