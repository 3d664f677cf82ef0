"""The frames of a websocket, against the protocol's own examples (RFC 6455, 1.3 and 5.7)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.api.websocket import WebSocket, handshake
from linkspan.errors import InvalidArgument

HEADERS = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


class Wire:
    """What a client sends, in pieces of so many bytes; and what it gets."""

    def __init__(self, sent: bytes, piece: int = 1 << 20) -> None:
        self._sent, self._piece, self.got = sent, piece, b""

    async def read(self) -> bytes:
        piece, self._sent = self._sent[: self._piece], self._sent[self._piece :]
        return piece

    async def write(self, data: bytes) -> None:
        self.got += data


def masked(kind: int, data: bytes, mask: bytes = b"\x37\xfa\x21\x3d", *, last: bool = True) -> bytes:
    size = len(data)
    head = bytes([kind | (128 if last else 0)])
    if size < 126:
        head += bytes([128 | size])
    elif size < 1 << 16:
        head += bytes([128 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([128 | 127]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def heard(wire: Wire) -> bytes:
    async def listen() -> bytes:
        socket, out = WebSocket(wire), b""
        while data := await socket.read():
            out += data
        return out

    return asyncio.run(listen())


def said(*pieces: bytes, binary: bool = True) -> bytes:
    async def speak() -> bytes:
        wire = Wire(b"")
        socket = WebSocket(wire, binary=binary)
        for piece in pieces:
            await socket.write(piece)
        await socket.close()
        await socket.close()
        return wire.got

    return asyncio.run(speak())


def test_handshake() -> None:
    assert ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in handshake(HEADERS)


@pytest.mark.parametrize("missing", ["upgrade", "sec-websocket-key", "sec-websocket-version"])
def test_what_is_no_handshake(missing: str) -> None:
    with pytest.raises(InvalidArgument):
        handshake({name: value for name, value in HEADERS.items() if name != missing})


@given(st.lists(st.binary(min_size=1, max_size=200)), st.integers(1, 50))
def test_what_a_client_sends(pieces: list[bytes], piece: int) -> None:
    assert heard(Wire(b"".join(masked(2, one) for one in pieces) + masked(8, b""), piece)) == b"".join(pieces)


def test_long_and_split_messages() -> None:
    long = bytes(range(256)) * 1000
    sent = masked(2, b"Hel", last=False) + masked(0, b"lo") + masked(1, long[:300]) + masked(2, long)
    assert heard(Wire(sent)) == b"Hello" + long[:300] + long


def test_what_is_sent() -> None:
    assert said(b"Hello", binary=False) == b"\x81\x05Hello\x88\x02\x03\xe8"
    assert said(b"x" * 256)[:4] == b"\x82\x7e\x01\x00"
    assert said(b"x" * 65536)[:10] == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


def test_ping_close_and_what_is_against_the_rules() -> None:
    wire = Wire(masked(9, b"Hello") + masked(2, b"x") + masked(8, b"\x03\xe8") + masked(2, b"after"))
    assert heard(wire) == b"x" and wire.got == b"\x8a\x05Hello\x88\x02\x03\xe8"
    unmasked = Wire(b"\x82\x01x")
    assert heard(unmasked) == b"" and unmasked.got == b"\x88\x02\x03\xea"
    huge = Wire(b"\x82\xff" + (1 << 40).to_bytes(8, "big"))
    assert heard(huge) == b"" and huge.got == b"\x88\x02\x03\xf1"


@given(st.binary(max_size=40))
def test_anything(sent: bytes) -> None:
    heard(Wire(sent))
