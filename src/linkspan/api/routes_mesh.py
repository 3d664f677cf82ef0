"""The mesh that this host is of: paths of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linkspan.api.http import Answer, Request, Response, json_response
from linkspan.api.json_mesh import authority as authority_json
from linkspan.api.json_mesh import mesh
from linkspan.api.json_mesh import token as token_json
from linkspan.daemon.daemon import Daemon
from linkspan.errors import Conflict, InvalidArgument

if TYPE_CHECKING:
    from linkspan.daemon.mesh.mesh import Mesh


async def token(daemon: Daemon, request: Request) -> Answer:
    return await _token(_mesh(daemon), await _mesh(daemon).token())


async def rotate(daemon: Daemon, request: Request) -> Answer:
    lasts = request.number("lasts") or 0
    if lasts < 0:
        raise InvalidArgument(f"invalid lasts: {lasts}: it is a number of seconds")
    return await _token(_mesh(daemon), await _mesh(daemon).rotate(lasts))


async def authority(daemon: Daemon, request: Request) -> Answer:
    return json_response(authority_json(_mesh(daemon).authority()))


async def rotate_authority(daemon: Daemon, request: Request) -> Answer:
    await _mesh(daemon).rotate_authority()
    return json_response(authority_json(_mesh(daemon).authority()))


async def forget(daemon: Daemon, request: Request) -> Answer:
    await _mesh(daemon).forget(request.names["ref"], force=request.flag("force"))
    return Response(204)


async def recover(daemon: Daemon, request: Request) -> Answer:
    await _mesh(daemon).recover(force=request.flag("force"))
    return Response(204)


async def _token(mesh: Mesh, text: str) -> Answer:
    return json_response(token_json(text, await mesh.token_expires()))


def _mesh(daemon: Daemon) -> Mesh:
    if daemon.mesh is None:
        raise Conflict("this host is in no mesh: start linkspand with --mesh")
    return daemon.mesh


async def status(daemon: Daemon, request: Request) -> Answer:
    return json_response(mesh(await _mesh(daemon).view()))


ROUTES = (
    ("GET", "/mesh", status),
    ("GET", "/mesh/token", token),
    ("POST", "/mesh/token/rotate", rotate),
    ("GET", "/mesh/authority", authority),
    ("POST", "/mesh/authority/rotate", rotate_authority),
    ("DELETE", "/mesh/hosts/{ref}", forget),
    ("POST", "/mesh/recover", recover),
)
