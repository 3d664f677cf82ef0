"""What the engine says of itself; and Docker's paths that are not part of linkspan, each with a clear answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import msgspec

from linkspan.api import filters, json_containers, json_events, json_images, json_volumes
from linkspan.api.http import JSON_TYPE, Answer, Request, Response, Stream, closing, json_line, json_response
from linkspan.api.parse import convert, parse_filters, read_object
from linkspan.api.times import parse_moment
from linkspan.api.versions import MAX_VERSION, MIN_VERSION, Version, text
from linkspan.daemon.daemon import Daemon
from linkspan.errors import NotFound, Unavailable, Unsupported
from linkspan.model.event import Event

NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
_PING = (
    ("Builder-Version", "1"),  # the classic builder: its one request gets our answer, where BuildKit's dial-up hangs
    ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ("Pragma", "no-cache"),
    ("Swarm", "inactive"),
    ("Content-Type", "text/plain; charset=utf-8"),
)


class _Login(msgspec.Struct, frozen=True, kw_only=True):
    """As clients send it: unlike everything else, in lower case."""

    username: str = ""
    password: str = ""
    serveraddress: str = ""


async def ping(daemon: Daemon, request: Request) -> Answer:
    return Response(200, b"OK", _PING)


async def info(daemon: Daemon, request: Request) -> Answer:
    return json_response(await daemon.system.info())


async def version(daemon: Daemon, request: Request) -> Answer:
    api = {"ApiVersion": text(MAX_VERSION), "MinAPIVersion": text(MIN_VERSION)}
    answer = api | await daemon.system.version()
    for component in answer["Components"]:
        if component["Name"] == "Engine":
            component["Details"] |= api
    return json_response(answer)


async def events(daemon: Daemon, request: Request) -> Answer:
    now = time.time()
    happened = daemon.system.events(
        since=parse_moment(request.text("since"), now),
        until=parse_moment(request.text("until"), now),
        wanted=filters.events(parse_filters(request.text("filters"))),
    )
    return Stream(_lines(happened, request.version), 200, JSON_TYPE)


async def _lines(happened: AsyncIterator[Event], version: Version) -> AsyncIterator[bytes]:
    async with closing(happened):
        async for event in happened:
            yield json_line(json_events.event(event, version))


async def disk_usage(daemon: Daemon, request: Request) -> Answer:
    wanted = request.texts("type") or ["container", "image", "volume", "build-cache"]
    images = daemon.images.views() if "image" in wanted else []
    now = time.time()
    containers = []
    for view in daemon.containers.views() if "container" in wanted else []:
        try:
            size = await daemon.containers.size(view.container.id)
        except NotFound:
            continue  # removed meanwhile
        containers.append(json_containers.summary(view, now, size, request.version))
    volumes = [
        json_volumes.volume(view)
        | {"UsageData": {"Size": await daemon.volumes.size(view.volume), "RefCount": len(view.used_by)}}
        for view in (daemon.volumes.views() if "volume" in wanted else [])
    ]
    return json_response(
        {
            **json_images.disk_usage(images, request.version),
            "Containers": containers,
            "Volumes": volumes,
            "BuildCache": [],
            "BuilderSize": 0,
        }
    )


async def login(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request, empty="credentials are needed"), _Login)
    status = await daemon.images.login(asked.serveraddress, asked.username, asked.password)
    return json_response({"Status": status, "IdentityToken": ""})


async def no_swarm(daemon: Daemon, request: Request) -> Answer:
    raise Unavailable(NO_SWARM)


async def no_plugins(daemon: Daemon, request: Request) -> Answer:
    return json_response([])


async def no_plugin(daemon: Daemon, request: Request) -> Answer:
    raise NotFound(f'plugin "{request.names["name"]}" not found')


async def no_build(daemon: Daemon, request: Request) -> Answer:
    raise Unsupported("the image builder is not part of linkspan: build elsewhere, then docker load or docker pull")


async def no_build_cache(daemon: Daemon, request: Request) -> Answer:
    return json_response({"CachesDeleted": None, "SpaceReclaimed": 0})


_SWARM = tuple(
    (method, path, no_swarm)
    for noun in ("swarm", "services", "nodes", "tasks", "secrets", "configs")
    for path in (f"/{noun}", f"/{noun}/{{rest*}}")
    for method in ("GET", "POST", "DELETE")
)

ROUTES = (
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/info", info),
    ("GET", "/version", version),
    ("GET", "/events", events),
    ("GET", "/system/df", disk_usage),
    ("POST", "/auth", login),
    ("POST", "/build", no_build),
    ("POST", "/build/prune", no_build_cache),
    ("POST", "/build/cancel", no_build),
    ("POST", "/session", no_build),
    ("POST", "/grpc", no_build),
    ("GET", "/plugins", no_plugins),
    ("GET", "/plugins/{name*}/json", no_plugin),
    *_SWARM,
)
