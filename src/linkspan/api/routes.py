"""The table of paths, the API's versions, and what each kind of error is over HTTP."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from linkspan import __version__, errors
from linkspan.api import (
    routes_archive,
    routes_bandwidth,
    routes_bgp,
    routes_cluster,
    routes_containers,
    routes_images,
    routes_interfaces,
    routes_mesh,
    routes_moving,
    routes_networks,
    routes_publishing,
    routes_reservations,
    routes_resources,
    routes_streams,
    routes_system,
    routes_volumes,
)
from linkspan.api.http import Answer, BodyTooLarge, Request, Response, error_response
from linkspan.api.versions import COMPOSE_1, MAX_VERSION, MIN_VERSION, Version, text
from linkspan.daemon.daemon import Daemon

log = logging.getLogger(__name__)

HEADERS = (
    ("Api-Version", text(MAX_VERSION)),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"linkspan/{__version__} (linux)"),
)
STATUS: dict[type[errors.LinkspanError], int] = {
    errors.InvalidArgument: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotModified: 304,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.Internal: 500,
    BodyTooLarge: 413,
}

RouteHandler: TypeAlias = Callable[[Daemon, Request], Awaitable[Answer]]

_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,3})(?=/|$)", re.ASCII)
_VARIABLE = re.compile(r"\{(\w+)(\*?)\}")


class Router:
    """(method, path) → handler. `{x}` is one segment, `{x*}` one or more: names of images contain slashes."""

    def __init__(self) -> None:
        # By the path's first segment, so that a request is held against few patterns.
        self._routes: dict[str, list[tuple[re.Pattern[str], dict[str, RouteHandler]]]] = {}

    def add(self, method: str, pattern: str, handler: RouteHandler) -> None:
        expression = _VARIABLE.sub(
            lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})",
            re.escape(pattern).replace("\\{", "{").replace("\\}", "}").replace("\\*", "*"),
        )
        routes = self._routes.setdefault(pattern.split("/")[1], [])
        for compiled, methods in routes:
            if compiled.pattern == expression:
                methods[method] = handler
                return
        routes.append((re.compile(expression), {method: handler}))

    def find(self, method: str, path: str) -> tuple[RouteHandler, dict[str, str]] | set[str]:
        """The handler and the variables; or the methods that the path has, none for an unknown path."""
        allowed: set[str] = set()
        for pattern, methods in self._routes.get(path.split("/", 2)[1] if path[:1] == "/" else "", ()):
            if (match := pattern.fullmatch(path)) is None:
                continue
            if (handler := methods.get(method)) is not None:
                return handler, match.groupdict()
            allowed.update(methods)
        return allowed


class Api:
    """A connection's handler: takes a request as it came, and always gives an answer."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._router = Router()
        for module in (
            routes_system,
            routes_interfaces,  # before what takes any path below a container for its name
            routes_containers,
            routes_streams,
            routes_archive,
            routes_images,
            routes_moving,
            routes_networks,
            routes_bandwidth,
            routes_publishing,
            routes_reservations,
            routes_resources,
            routes_volumes,
            routes_cluster,
            routes_bgp,
            routes_mesh,
        ):
            for method, pattern, handler in module.ROUTES:
                self._router.add(method, pattern, handler)

    async def __call__(self, request: Request) -> Answer:
        try:
            return await self._answer(request)
        except errors.LinkspanError as error:
            return refuse(error)
        except NotImplementedError:
            log.exception("%s %s: no such verb in the daemon", request.method, request.path)
            return error_response(501, f"{request.method} {request.path} is not implemented")
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            return error_response(500, f"internal error ({type(error).__name__}); the daemon's log has the details")

    async def _answer(self, request: Request) -> Answer:
        request.version, path = split_version(request.path)
        if request.headers.get("user-agent", "").startswith("docker-compose/1."):
            request.version = min(request.version, COMPOSE_1)
        request.path = path
        found = self._router.find(request.method, path)
        if isinstance(found, set):
            if not found:
                return error_response(404, "page not found")
            refusal = error_response(405, f"method {request.method} is not allowed for {path}")
            return Response(405, refusal.body, (*refusal.headers, ("Allow", ", ".join(sorted(found)))))
        handler, request.names = found
        return await handler(self._daemon, request)


def split_version(path: str) -> tuple[Version, str]:
    """The API version that a path asks for (the newest where it names none), and the rest. Raises InvalidArgument."""
    match = _VERSION.match(path)
    if match is None:
        return MAX_VERSION, path
    version = int(match[1]), int(match[2])
    if version < MIN_VERSION:
        raise errors.InvalidArgument(
            f"client version {match[1]}.{match[2]} is too old. Minimum supported API version is "
            f"{text(MIN_VERSION)}, please upgrade your client to a newer version"
        )
    if version > MAX_VERSION:
        raise errors.InvalidArgument(
            f"client version {match[1]}.{match[2]} is too new. Maximum supported API version is {text(MAX_VERSION)}"
        )
    return version, path[match.end() :]


def status_of(error: errors.LinkspanError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def refuse(error: errors.LinkspanError) -> Response:
    status = status_of(error)
    if status == 304:
        return Response(304)
    if status >= 500:
        log.info("answered %d: %s", status, error)
    return error_response(status, str(error))
