"""Files in and out of a container: export, and the archive paths behind `docker cp`."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import msgspec

from linkspan.api.http import EMPTY, Answer, Request, Response, Stream, closing
from linkspan.daemon.daemon import Daemon
from linkspan.errors import InvalidArgument

TAR = (("Content-Type", "application/x-tar"),)
STAT = "X-Docker-Container-Path-Stat"


async def primed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks, with the first one fetched already: what fails before it can still be answered by a status."""
    first = await anext(chunks, None)

    async def again() -> AsyncIterator[bytes]:
        async with closing(chunks):
            if first is not None:
                yield first
                async for chunk in chunks:
                    yield chunk

    return again()


async def export(daemon: Daemon, request: Request) -> Answer:
    container = daemon.containers.view(request.names["ref"]).container
    return Stream(await primed(daemon.containers.export(container.id)), 200, TAR)


async def stat(daemon: Daemon, request: Request) -> Answer:
    return Response(200, b"", (await _stat_header(daemon, request),))


async def get(daemon: Daemon, request: Request) -> Answer:
    header = await _stat_header(daemon, request)
    chunks = daemon.containers.archive_get(request.names["ref"], request.text("path"))
    return Stream(await primed(chunks), 200, (*TAR, header))


async def put(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.archive_put(
        request.names["ref"],
        _path(request),
        aiter(request.body),
        no_overwrite=request.flag("noOverwriteDirNonDir"),
        copy_owner=request.flag("copyUIDGID"),
    )
    return EMPTY


async def _stat_header(daemon: Daemon, request: Request) -> tuple[str, str]:
    found = await daemon.containers.archive_stat(request.names["ref"], _path(request))
    return STAT, base64.b64encode(msgspec.json.encode(found)).decode("ascii")


def _path(request: Request) -> str:
    path = request.text("path")
    if not path:
        raise InvalidArgument("bad parameter: 'path' cannot be empty")
    return path


ROUTES = (
    ("GET", "/containers/{ref}/export", export),
    ("HEAD", "/containers/{ref}/archive", stat),
    ("GET", "/containers/{ref}/archive", get),
    ("PUT", "/containers/{ref}/archive", put),
)
