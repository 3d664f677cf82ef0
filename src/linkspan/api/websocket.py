"""A websocket (RFC 6455) over a connection that was taken over: attaching from a browser, or through a proxy."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping

from linkspan.api.http import RawStream
from linkspan.errors import InvalidArgument

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_LONGEST = 1 << 20  # bytes of a frame that a client may send
_NORMAL, _PROTOCOL_ERROR, _TOO_BIG = 1000, 1002, 1009


def handshake(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The answer's headers. Raises InvalidArgument where the request is no websocket's."""
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or not key:
        raise InvalidArgument("attaching here needs a websocket: Upgrade: websocket, with a Sec-WebSocket-Key")
    if headers.get("sec-websocket-version") != "13":
        raise InvalidArgument("Sec-WebSocket-Version: 13 is the one that is spoken here")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()
    return (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept))


class WebSocket:
    """The messages' bytes as a stream; their borders mean nothing. `binary` is the kind of what is sent."""

    def __init__(self, raw: RawStream, *, binary: bool = True) -> None:
        self._raw, self._kind = raw, _BINARY if binary else _TEXT
        self._buffer = b""
        self._closed = False

    async def read(self) -> bytes:
        while not self._closed:
            head = await self._take(2)
            if head is None:
                break
            kind, length = head[0] & 15, head[1] & 127
            if length > 125 and (longer := await self._take(2 if length == 126 else 8)) is not None:
                length = int.from_bytes(longer, "big")
            if length > _LONGEST or not head[1] & 128:  # a client's frames are masked
                await self.close(_TOO_BIG if length > _LONGEST else _PROTOCOL_ERROR)
                break
            mask, data = await self._take(4), await self._take(length)
            if mask is None or data is None:
                break
            data = bytes(byte ^ mask[at & 3] for at, byte in enumerate(data))
            if kind == _CLOSE:
                await self.close()
            elif kind == _PING:
                await self._send(_PONG, data)
            elif kind in (_CONTINUATION, _TEXT, _BINARY) and data:
                return data
        self._closed = True
        return b""

    async def write(self, data: bytes) -> None:
        if self._closed:
            raise ConnectionResetError("the client closed the connection")
        await self._send(self._kind, data)

    async def close(self, code: int = _NORMAL) -> None:
        """Says that no more comes. Twice is no error."""
        if not self._closed:
            self._closed = True
            await self._send(_CLOSE, struct.pack(">H", code))

    async def _send(self, kind: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", 128 | kind, size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 128 | kind, 126, size)
        else:
            head = struct.pack(">BBQ", 128 | kind, 127, size)
        await self._raw.write(head + data)

    async def _take(self, count: int) -> bytes | None:
        """So many bytes; None where the client is gone before."""
        while len(self._buffer) < count:
            if not (more := await self._raw.read()):
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
