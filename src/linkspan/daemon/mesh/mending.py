"""Routes of a babeld that was killed.

They are left to work until the next one knows the ways. But where a way has changed meanwhile it finds the old route in
its place, takes it for its own, and never looks again: so for a while after it has started the kernel's routes are held
against what it says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from linkspan.daemon.mesh.babel import Ways, ask
from linkspan.engine.mesh.fabric import mesh_address_of
from linkspan.state.fabric import SEGMENT

PROTOCOL = "42"  # babeld's, of its routes
_LOOKS = 20
_PAUSE = 0.5  # seconds between two looks


async def mend(socket: Path) -> None:
    """Returns once a babeld that has just started has had the time to know every way."""
    for look in range(_LOOKS):
        await asyncio.sleep(_PAUSE)
        if ways := await ask(socket):
            for words in [*steps(ways, await _routes(), last=look == _LOOKS - 1)]:
                await _ip(*words)


def steps(ways: Ways, routes: list[dict[str, Any]], *, last: bool) -> Iterator[tuple[str, ...]]:
    """What `ip` is to do. A route may still be waiting for its way to be found: it goes at the last look."""
    wanted = {way.prefix.partition("/")[0]: way.via for way in ways.ways}
    for route in routes:
        destination, gateway = route["dst"].partition("/")[0], route.get("gateway", "")
        version = "-6" if ":" in destination else "-4"
        via = wanted.get(destination)
        if via is None:
            if last:
                yield (version, "route", "delete", destination, "dev", SEGMENT, "proto", PROTOCOL)
            continue
        by = via if version == "-6" else mesh_address_of(via)
        if by != gateway:
            where = ("via", by, "dev", SEGMENT, "proto", PROTOCOL, "onlink")
            metric = ("metric", str(route["metric"])) if "metric" in route else ()
            yield (version, "route", "replace", destination, *where, *metric)


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
