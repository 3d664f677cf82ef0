"""A container's streams: logs, attach, exec, stats."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from linkspan.api import json_containers
from linkspan.api.http import EMPTY, JSON_TYPE, Answer, Hijack, RawStream, Request, Stream, json_line, json_response
from linkspan.api.parse import convert, read_object
from linkspan.api.routes_containers import console_size
from linkspan.api.streams import connect, content_type, frame, framed, parse_detach_keys
from linkspan.api.times import parse_moment
from linkspan.api.websocket import WebSocket, handshake
from linkspan.daemon.daemon import Daemon
from linkspan.errors import InvalidArgument, LinkspanError
from linkspan.model.container import ExecConfig
from linkspan.runtime.attachment import STDERR

STATS_INTERVAL = 1.0  # seconds between samples


async def logs(daemon: Daemon, request: Request) -> Answer:
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    container = daemon.containers.view(request.names["ref"]).container
    now = time.time()
    pieces = daemon.containers.logs(
        container.id,
        stdout=stdout,
        stderr=stderr,
        since=parse_moment(request.text("since"), now),
        until=parse_moment(request.text("until"), now),
        tail=_tail(request.text("tail")),
        follow=request.flag("follow"),
        timestamps=request.flag("timestamps"),
    )
    tty = container.config.tty
    headers = (("Content-Type", content_type(tty=tty, version=request.version)),)
    return Stream(framed(pieces, tty=tty), 200, headers)


async def attach(daemon: Daemon, request: Request) -> Answer:
    run, tty = await _attached(daemon, request, bare=False)
    return Hijack(content_type(tty=tty, version=request.version), run, ready=request.flag("logs"))


async def attach_websocket(daemon: Daemon, request: Request) -> Answer:
    upgrade = handshake(request.headers)
    run, _ = await _attached(daemon, request, bare=True)

    async def spoken(raw: RawStream) -> None:
        socket = WebSocket(raw, binary=request.version >= (1, 28))
        await run(socket)
        with contextlib.suppress(ConnectionError):
            await socket.close()

    return Hijack("", spoken, upgrade)


async def _attached(
    daemon: Daemon, request: Request, *, bare: bool
) -> tuple[Callable[[RawStream], Awaitable[None]], bool]:
    """What carries the bytes, and whether they are a terminal's."""
    container = daemon.containers.view(request.names["ref"]).container
    tty = container.config.tty
    stream, stdin = request.flag("stream"), request.flag("stdin") and container.config.open_stdin
    stdout, stderr = request.flag("stdout"), request.flag("stderr")
    keys = parse_detach_keys(request.text("detachKeys"))
    logged: AsyncIterator[bytes] | None = None
    if request.flag("logs"):
        earlier = daemon.containers.logs(
            container.id,
            stdout=stdout,
            stderr=stderr,
            since=0.0,
            until=0.0,
            tail=None,
            follow=False,
            timestamps=False,
        )
        logged = framed(earlier, tty=tty or bare)
    attachment = await daemon.containers.attach(container.id, stdin=stdin) if stream else None

    async def run(raw: RawStream) -> None:
        if attachment is not None:
            await connect(
                raw,
                attachment,
                tty=tty,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                detach_keys=keys,
                before=logged,
                bare=bare,
            )
        elif logged is not None:
            async for data in logged:
                await raw.write(data)

    return run, tty


async def exec_create(daemon: Daemon, request: Request) -> Answer:
    config = convert(await read_object(request), ExecConfig)
    if not config.cmd:
        raise InvalidArgument("No exec command specified")
    parse_detach_keys(config.detach_keys)
    return json_response({"Id": await daemon.containers.exec_create(request.names["ref"], config)}, 201)


async def exec_start(daemon: Daemon, request: Request) -> Answer:
    body = await read_object(request)
    exec_id = request.names["id"]
    config = daemon.containers.exec_view(exec_id).config
    asked = convert(body.get("ConsoleSize", (0, 0)), tuple[int, int])
    size = asked if any(asked) else config.console_size
    tty, detach = bool(body.get("Tty", config.tty)), bool(body.get("Detach", False))
    if detach:
        await daemon.containers.exec_start(exec_id, detach=True, tty=tty, console_size=size)
        return EMPTY
    keys = parse_detach_keys(config.detach_keys)

    async def run(raw: RawStream) -> None:
        # Started after the head has gone out, as in Docker: docker-py loses output that comes together with the head.
        # Why a command cannot be run, clients read from the stream; its status (126, 127) they ask of the exec.
        try:
            attachment = await daemon.containers.exec_start(exec_id, detach=False, tty=tty, console_size=size)
        except LinkspanError as error:
            message = f"{error}\r\n".encode()
            await raw.write(message if tty else frame(STDERR, message))
            return
        if attachment is not None:
            await connect(
                raw,
                attachment,
                tty=tty,
                stdin=config.attach_stdin,
                stdout=config.attach_stdout,
                stderr=config.attach_stderr,
                detach_keys=keys,
            )

    return Hijack(content_type(tty=tty, version=request.version), run)


async def exec_resize(daemon: Daemon, request: Request) -> Answer:
    await daemon.containers.exec_resize(request.names["id"], *console_size(request))
    return EMPTY


async def exec_inspect(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_containers.exec_inspect(daemon.containers.exec_view(request.names["id"])))


async def stats(daemon: Daemon, request: Request) -> Answer:
    container = daemon.containers.view(request.names["ref"]).container
    first = await daemon.containers.stats(container.id)
    if request.flag("stream", default=True):
        return Stream(_samples(daemon, container.id, first), 200, JSON_TYPE)
    if request.flag("one-shot"):
        return json_response(_sample(first, {}))
    # A rate needs two samples, and a client that asks once has none to compare with.
    await asyncio.sleep(STATS_INTERVAL)
    return json_response(_sample(await daemon.containers.stats(container.id), first))


async def _samples(daemon: Daemon, id_: str, sample: dict[str, Any]) -> AsyncIterator[bytes]:
    before: dict[str, Any] = {}
    while True:
        yield json_line(_sample(sample, before))
        before = sample
        await asyncio.sleep(STATS_INTERVAL)
        try:
            sample = await daemon.containers.stats(id_)
        except LinkspanError:
            return  # removed meanwhile


def _sample(sample: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    empty = {"cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}, "throttling_data": {}}
    return sample | {
        "precpu_stats": before.get("cpu_stats", empty),
        "preread": before.get("read", "0001-01-01T00:00:00Z"),
    }


def _tail(text: str) -> int | None:
    """How many lines from the end; None is all of them, as is anything that is no number."""
    with contextlib.suppress(ValueError):
        return int(text) if int(text) >= 0 else None
    return None


ROUTES = (
    ("GET", "/containers/{ref}/logs", logs),
    ("POST", "/containers/{ref}/attach", attach),
    ("GET", "/containers/{ref}/attach/ws", attach_websocket),
    ("GET", "/containers/{ref}/stats", stats),
    ("POST", "/containers/{ref}/exec", exec_create),
    ("POST", "/exec/{id}/start", exec_start),
    ("POST", "/exec/{id}/resize", exec_resize),
    ("GET", "/exec/{id}/json", exec_inspect),
)
