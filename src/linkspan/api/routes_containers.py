"""The life of containers: /containers/…, all that is answered in one piece."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection

from linkspan.api import filters, json_containers, older
from linkspan.api.http import EMPTY, JSON_TYPE, NO_CONTENT, Answer, Request, Stream, json_line, json_response
from linkspan.api.parse import decode_object, parse_create, parse_filters, read_object
from linkspan.containers.filter import compile_filters, wants_stopped
from linkspan.daemon.daemon import Daemon
from linkspan.errors import InvalidArgument, LinkspanError, NotFound

_CONDITIONS = ("not-running", "next-exit", "removed")


async def create(daemon: Daemon, request: Request) -> Answer:
    body = await read_object(request, empty="config cannot be empty in order to create a container")
    if not body:
        raise InvalidArgument("config cannot be empty in order to create a container")
    config, host_config, networks = parse_create(body)
    told = older.warnings(config, host_config, request.version)
    id_, warnings = await daemon.containers.create(
        request.text("name").lstrip("/"),
        config,
        older.with_bindings(host_config),
        networks,
        wanted_platform=request.text("platform"),
    )
    return json_response({"Id": id_, "Warnings": [*warnings, *told]}, 201)


class _Lookup:
    """How names in `docker ps`'s filters become objects."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def created(self, ref: str) -> str:
        return self._daemon.containers.view(ref).container.created

    def images(self, ref: str) -> Collection[str]:
        try:
            found = {self._daemon.images.view(ref).image.id}
        except NotFound:
            return ()
        children = {view.image.id: view.image.parent for view in self._daemon.images.views() if view.image.parent}
        while more := {child for child, parent in children.items() if parent in found} - found:
            found |= more
        return found


async def list_(daemon: Daemon, request: Request) -> Answer:
    wanted = parse_filters(request.text("filters"))
    matches = compile_filters(wanted, _Lookup(daemon))
    limit = request.number("limit") or 0
    everything = request.flag("all") or limit > 0 or wants_stopped(wanted)
    views = [
        view
        for view in daemon.containers.views()
        if (everything or view.container.state.running or view.container.state.status == "restarting") and matches(view)
    ]
    if limit > 0:
        views = views[:limit]
    now, sized = time.time(), request.flag("size")
    lines = []
    for view in views:
        size = await daemon.containers.size(view.container.id) if sized else None
        lines.append(json_containers.summary(view, now, size, request.version))
    return json_response(lines)


async def inspect(daemon: Daemon, request: Request) -> Answer:
    view = daemon.containers.view(request.names["ref"])
    size = await daemon.containers.size(view.container.id) if request.flag("size") else None
    return json_response(json_containers.inspect(view, size, request.version))


async def start(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.start(request.names["ref"])
    return NO_CONTENT


async def stop(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.stop(request.names["ref"], request.number("t"), request.text("signal"))
    return NO_CONTENT


async def restart(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.restart(request.names["ref"], request.number("t"), request.text("signal"))
    return NO_CONTENT


async def kill(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.kill(request.names["ref"], request.text("signal"))
    return NO_CONTENT


async def pause(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.pause(request.names["ref"])
    return NO_CONTENT


async def unpause(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.unpause(request.names["ref"])
    return NO_CONTENT


async def rename(daemon: Daemon, request: Request) -> Answer:
    name = request.text("name").lstrip("/")
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    await daemon.containers.rename(request.names["ref"], name)
    return NO_CONTENT


async def update(daemon: Daemon, request: Request) -> Answer:
    body = await request.body.read()
    decode_object(body, request.headers.get("content-type", ""), empty="an update needs a body")
    return json_response({"Warnings": await daemon.containers.update(request.names["ref"], body)})


async def remove(daemon: Daemon, request: Request) -> Answer:
    if request.flag("link"):
        await daemon.networks.unlink(request.names["ref"])
        return NO_CONTENT
    await daemon.containers.remove(request.names["ref"], force=request.flag("force"), volumes=request.flag("v"))
    return NO_CONTENT


async def prune(daemon: Daemon, request: Request) -> Answer:
    keep = filters.containers_to_keep(parse_filters(request.text("filters")), time.time())
    ids, freed = await daemon.containers.prune(keep)
    return json_response({"ContainersDeleted": ids or None, "SpaceReclaimed": freed})


async def wait(daemon: Daemon, request: Request) -> Answer:
    condition = request.text("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    ended = daemon.containers.wait(request.names["ref"], condition)

    async def body() -> AsyncIterator[bytes]:
        try:
            status, error = await ended
        except LinkspanError as failure:
            status, error = -1, str(failure)
        yield json_line({"StatusCode": status} | ({"Error": {"Message": error}} if error else {}))

    # The head goes out before the body is known: `docker run` starts the container only then.
    return Stream(body(), 200, JSON_TYPE)


async def resize(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.resize(request.names["ref"], *console_size(request))
    return EMPTY


async def top(daemon: Daemon, request: Request) -> Answer:
    titles, processes = await daemon.containers.top(request.names["ref"], request.text("ps_args") or "-ef")
    return json_response({"Titles": titles, "Processes": processes})


async def changes(daemon: Daemon, request: Request) -> Answer:
    found = await daemon.containers.changes(request.names["ref"])
    return json_response([{"Path": path, "Kind": kind} for kind, path in found])


def console_size(request: Request) -> tuple[int, int]:
    """`h` and `w`: lines and columns. Raises InvalidArgument."""
    height, width = request.number("h"), request.number("w")
    if height is None or width is None or not (0 <= height <= 65535 and 0 <= width <= 65535):
        raise InvalidArgument("a terminal's size is h and w, each 0 to 65535")
    return height, width


ROUTES = (
    ("POST", "/containers/create", create),
    ("GET", "/containers/json", list_),
    ("POST", "/containers/prune", prune),
    ("GET", "/containers/{ref*}/json", inspect),
    ("POST", "/containers/{ref}/start", start),
    ("POST", "/containers/{ref}/stop", stop),
    ("POST", "/containers/{ref}/restart", restart),
    ("POST", "/containers/{ref}/kill", kill),
    ("POST", "/containers/{ref}/pause", pause),
    ("POST", "/containers/{ref}/unpause", unpause),
    ("POST", "/containers/{ref}/rename", rename),
    ("POST", "/containers/{ref}/update", update),
    ("POST", "/containers/{ref}/wait", wait),
    ("POST", "/containers/{ref}/resize", resize),
    ("GET", "/containers/{ref}/top", top),
    ("GET", "/containers/{ref}/changes", changes),
    ("DELETE", "/containers/{ref*}", remove),  # a link's name has a slash in it
)
