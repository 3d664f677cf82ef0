"""A container to another host: POST /containers/{ref}/move, which Docker does not have."""

from __future__ import annotations

from linkspan.api.http import NO_CONTENT, Answer, Request
from linkspan.api.parse import convert, read_object
from linkspan.daemon.daemon import Daemon
from linkspan.errors import InvalidArgument
from linkspan.model.wire import Wire


class _Move(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str = ""


async def move(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Move)
    if not asked.host:
        raise InvalidArgument("a host to move to is needed")
    await daemon.moving.move(request.names["ref"], asked.host)
    return NO_CONTENT


ROUTES = (("POST", "/containers/{ref}/move", move),)
