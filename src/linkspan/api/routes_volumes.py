"""Volumes: /volumes/…"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.api import filters, json_volumes
from linkspan.api.http import NO_CONTENT, Answer, Request, json_response
from linkspan.api.parse import convert, parse_filters, read_object
from linkspan.daemon.daemon import Daemon
from linkspan.model.wire import Wire


class _Create(Wire, frozen=True, kw_only=True):
    name: str = ""
    driver: str = ""
    driver_opts: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


async def list_(daemon: Daemon, request: Request) -> Answer:
    wanted = filters.volumes(parse_filters(request.text("filters")))
    found = [json_volumes.volume(view) for view in daemon.volumes.views() if wanted(view)]
    return json_response({"Volumes": found, "Warnings": None})


async def inspect(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_volumes.volume(daemon.volumes.view(request.names["name"])))


async def create(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Create)
    view = await daemon.volumes.create(
        asked.name, driver=asked.driver or "local", labels=asked.labels, options=asked.driver_opts
    )
    return json_response(json_volumes.volume(view), 201)


async def remove(daemon: Daemon, request: Request) -> Answer:
    await daemon.volumes.remove(request.names["name"], force=request.flag("force"))
    return NO_CONTENT


async def prune(daemon: Daemon, request: Request) -> Answer:
    wanted = parse_filters(request.text("filters"))
    keep = filters.volumes_to_keep(wanted, all_by_default=request.version < (1, 42))
    names, freed = await daemon.volumes.prune(keep)
    return json_response({"VolumesDeleted": names, "SpaceReclaimed": freed})


ROUTES = (
    ("GET", "/volumes", list_),
    ("POST", "/volumes/create", create),
    ("POST", "/volumes/prune", prune),
    ("GET", "/volumes/{name}", inspect),
    ("DELETE", "/volumes/{name}", remove),
)
