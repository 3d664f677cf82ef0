"""babeld's routes in the kernel, held against what it says: it never looks at them again.

Those of a babeld that was killed are left to work until the next one knows the ways; where a way has changed meanwhile,
that one finds the old route in its place, and takes it for its own. And another program may take routes away.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkspan.daemon.mesh.babel import Ways, ask
from linkspan.engine.mesh.fabric import mesh_address_of
from linkspan.state.fabric import SEGMENT

PROTOCOL = "42"  # babeld's, of its routes
_LOOKS = 20  # after which one that has just started knows every way
_PAUSE = 0.5  # seconds between two looks, until then
_PAUSE_LATER = 5.0  # and afterwards


async def mend(socket: Path) -> None:
    """Until cancelled; begun anew when there is a new babeld."""
    for look in itertools.count(1):
        settled = look >= _LOOKS
        await asyncio.sleep(_PAUSE_LATER if look > _LOOKS else _PAUSE)
        if found := await _difference(socket, settled=settled):
            # babeld may just be about to do it.
            await asyncio.sleep(_PAUSE)
            for words in await _difference(socket, settled=settled):
                if words in found:
                    await _ip(*words)


async def _difference(socket: Path, *, settled: bool) -> list[tuple[str, ...]]:
    routes = await _routes()  # first: what is in them is known to babeld, unless it is gone since
    ways = await ask(socket)
    return [*steps(ways, routes, settled=settled)] if ways else []


def steps(ways: Ways, routes: list[dict[str, Any]], *, settled: bool) -> Iterator[tuple[str, ...]]:
    """What `ip` is to do. Before babeld has `settled` a route may still be waiting for its way to be found."""
    wanted = {way.prefix.partition("/")[0]: way.via for way in ways.ways}
    there = {route["dst"].partition("/")[0]: route.get("gateway", "") for route in routes}
    where = ("dev", SEGMENT, "proto", PROTOCOL)
    for destination, via in wanted.items():
        by = via if ":" in destination else mesh_address_of(via)
        if there.get(destination) != by:
            yield (_version(destination), "route", "replace", destination, "via", by, *where, "onlink")
    for destination in there.keys() - wanted.keys() if settled else ():
        yield (_version(destination), "route", "delete", destination, *where)


def _version(destination: str) -> str:
    return "-6" if ":" in destination else "-4"


async def _routes() -> list[dict[str, Any]]:
    return [
        route
        for version in ("-4", "-6")
        for route in json.loads(await _ip(version, "-j", "route", "show", "dev", SEGMENT, "proto", PROTOCOL) or "[]")
    ]


async def _ip(*words: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "ip",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return (await process.communicate())[0]
