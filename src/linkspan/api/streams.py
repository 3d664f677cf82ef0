"""Between a client and a process's standard streams: framing, detach keys, and the two pumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from linkspan.api.http import RawStream, closing
from linkspan.errors import InvalidArgument
from linkspan.runtime.attachment import STDERR, STDOUT, Attachment

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
DETACH_KEYS = "ctrl-p,ctrl-q"

_CONTROL = {"ctrl-" + chr(ord("a") + n): n + 1 for n in range(26)} | {
    "ctrl-@": 0,
    "ctrl-[": 27,
    "ctrl-\\": 28,
    "ctrl-]": 29,
    "ctrl-^": 30,
    "ctrl-_": 31,
}


def content_type(*, tty: bool, version: tuple[int, int]) -> str:
    """Before 1.42 both kinds had the raw name."""
    return RAW if tty or version < (1, 42) else MULTIPLEXED


def frame(stream: int, payload: bytes) -> bytes:
    """One frame of Docker's multiplexed stream: stream, three zeros, length as a big-endian uint32, payload."""
    return bytes((stream, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


async def framed(pieces: AsyncIterator[tuple[int, bytes]], *, tty: bool) -> AsyncIterator[bytes]:
    """Pieces of output as bytes on the wire: bare from a terminal, else in frames."""
    async with closing(pieces):
        async for stream, data in pieces:
            yield data if tty else frame(stream, data)


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` or `a,b` as the bytes a terminal sends; "" is the default. Raises InvalidArgument."""
    keys = bytearray()
    for name in (text or DETACH_KEYS).split(","):
        if name.lower() in _CONTROL:
            keys.append(_CONTROL[name.lower()])
        elif len(name) == 1 and name.isascii():
            keys.append(ord(name))
        else:
            raise InvalidArgument(f"invalid detach keys ({text}) provided: unknown character {name!r}")
    return bytes(keys)


class DetachScanner:
    """Looks for the detach keys in what a client types, across the borders of reads."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0  # how many bytes of the keys have been seen, and are being held back

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What the process may see, and whether the keys were typed; what follows them is dropped."""
        if not self._held and self._keys[0] not in data:
            return data, False
        out = bytearray()
        for byte in data:
            if byte != self._keys[self._held]:
                out += self._keys[: self._held]
                self._held = 0
            if byte == self._keys[self._held]:
                self._held += 1
                if self._held == len(self._keys):
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False


async def connect(
    raw: RawStream,
    attachment: Attachment,
    *,
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    detach_keys: bytes | None,
    before: AsyncIterator[bytes] | None = None,
    bare: bool = False,
) -> None:
    """Carries bytes both ways until the process's output ends, the client detaches, or the client is gone.

    The end of the client's input closes the process's; output goes on. Without `stdin` a client's input is thrown away.
    `before` is sent first: what was logged earlier. Output goes in frames, unless from a terminal or `bare`.
    """
    wanted = {STDOUT: stdout or tty, STDERR: stderr}

    async def output() -> None:
        if before is not None:
            async for data in before:
                await raw.write(data)
        while (piece := await attachment.read()) is not None:
            stream, data = piece
            if wanted.get(stream, False):
                await raw.write(data if tty or bare else frame(stream, data))

    async def input_() -> bool:
        """True when the client typed the detach keys."""
        scanner = DetachScanner(detach_keys) if tty and detach_keys else None
        while data := await raw.read():
            if not stdin:
                continue
            detached = False
            if scanner is not None:
                data, detached = scanner.feed(data)
            if data:
                await attachment.write(data)
            if detached:
                return True
        if stdin:
            await attachment.close_input()
        return False

    out, into = asyncio.create_task(output()), asyncio.create_task(input_())
    try:
        await asyncio.wait((out, into), return_when=asyncio.FIRST_COMPLETED)
        if not out.done() and not into.result():
            await out
        elif out.done():
            out.result()
    finally:
        for task in (out, into):
            task.cancel()
        await asyncio.gather(out, into, return_exceptions=True)
        await attachment.close()
