"""What babeld says at its local socket: who its neighbours are, and by whom it goes to each address."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

_PATIENCE = 2.0  # seconds
_END = {"ok", "bad", "no"}


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbour:
    """A host that is heard directly; `rtt` in milliseconds. `usable` says whether it hears us as well."""

    address: str  # its link-local one
    rtt: float
    usable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """The one that is taken to a host's address (`100.127.0.3/32`): `via` a neighbour's link-local address."""

    prefix: str
    via: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ways:
    neighbours: tuple[Neighbour, ...] = ()
    ways: tuple[Way, ...] = ()


async def ask(socket: Path) -> Ways | None:
    """None while it does not answer."""
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(socket)
            with contextlib.closing(writer):
                await _answer(reader)  # its greeting
                writer.write(b"dump\n")
                return parse(await _answer(reader))
    return None


async def _answer(reader: asyncio.StreamReader) -> list[str]:
    lines: list[str] = []
    while True:
        line = (await reader.readuntil()).decode(errors="replace").strip()
        if line.partition(" ")[0] in _END:
            return lines
        lines.append(line)


def parse(lines: Iterable[str]) -> Ways:
    """Lines such as `add route 55d0 prefix 100.127.0.3/32 … installed yes … via fe80::2 if linkspan-mesh`."""
    neighbours, ways = [], []
    for line in lines:
        what, words = line.split()[:2], line.split()[3:]
        said = dict(zip(words[::2], words[1::2], strict=False))
        if what == ["add", "neighbour"] and "address" in said:
            usable = int(said.get("cost", "65535")) < 65535
            neighbours.append(Neighbour(said["address"], float(said.get("rtt", "0")), usable))
        elif what == ["add", "route"] and said.get("installed") == "yes" and "via" in said:
            ways.append(Way(said["prefix"], said["via"]))
    return Ways(tuple(neighbours), tuple(ways))


async def changes(socket: Path) -> AsyncGenerator[None, None]:
    """Once when it can be asked, and whenever a way has changed since; ends with it."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_unix_connection(socket)
        with contextlib.closing(writer):
            await _answer(reader)
            writer.write(b"monitor\n")
            await _answer(reader)
            yield
            while line := await reader.readuntil():
                if line.split()[1:2] == [b"route"]:
                    yield
