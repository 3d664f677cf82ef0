"""Images: /images/…, pull and push with their progress, load and save."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator

from linkspan.api import filters, json_images
from linkspan.api.http import (
    JSON_TYPE,
    Answer,
    BrokenBody,
    Request,
    Response,
    Stream,
    closing,
    json_line,
    json_response,
)
from linkspan.api.parse import parse_filters, read_object
from linkspan.api.routes_archive import TAR, primed
from linkspan.daemon.daemon import Daemon
from linkspan.daemon.images import Progress
from linkspan.errors import InvalidArgument, LinkspanError, Unsupported

log = logging.getLogger(__name__)


async def list_(daemon: Daemon, request: Request) -> Answer:
    asked = parse_filters(request.text("filters"))
    wanted = filters.images(asked, daemon.images.view, time.time())
    views = [filters.tags_shown(asked, view) for view in daemon.images.views() if wanted(view)]
    return json_response([json_images.summary(view, request.version) for view in views])


async def inspect(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_images.inspect(daemon.images.view(request.names["ref"]), request.version))


async def history(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_images.history(daemon.images.view(request.names["ref"]).image))


async def create(daemon: Daemon, request: Request) -> Answer:
    """Pull (`fromImage`), or import of a root file system (`fromSrc=-`)."""
    name, source, tag = request.text("fromImage"), request.text("fromSrc"), request.text("tag")
    if name:
        auth = request.headers.get("x-registry-auth", "")
        return await _progress(daemon.images.pull(name, tag, platform=request.text("platform"), auth=auth))
    if not source:
        raise InvalidArgument("fromImage or fromSrc is needed to create an image")
    if source != "-":
        raise Unsupported("import from a URL is not part of linkspan: download it, and import the file")
    lines = daemon.images.import_(
        aiter(request.body),
        repo=request.text("repo"),
        tag=tag,
        message=request.text("message"),
        changes=request.texts("changes"),
    )
    return await _progress(lines)


async def distribution(daemon: Daemon, request: Request) -> Answer:
    auth = request.headers.get("x-registry-auth", "")
    found, platforms = await daemon.images.distribution(request.names["ref"], auth=auth)
    return json_response({"Descriptor": found, "Platforms": platforms})


async def push(daemon: Daemon, request: Request) -> Answer:
    auth = request.headers.get("x-registry-auth", "")
    return await _progress(daemon.images.push(request.names["ref"], request.text("tag"), auth=auth))


async def load(daemon: Daemon, request: Request) -> Answer:
    lines = daemon.images.load(aiter(request.body), quiet=request.flag("quiet"))
    try:
        return await _progress(lines)
    except BrokenBody:
        raise
    except LinkspanError as error:
        # As with Docker, what is wrong with an archive is told in the stream: clients look there alone.
        return Response(200, _failure(str(error)), JSON_TYPE)


async def commit(daemon: Daemon, request: Request) -> Answer:
    id_ = await daemon.commits.commit(
        request.text("container"),
        repo=request.text("repo"),
        tag=request.text("tag"),
        author=request.text("author"),
        comment=request.text("comment"),
        pause=request.flag("pause", default=True),
        config=await read_object(request),
        changes=request.texts("changes"),
    )
    return json_response({"Id": id_}, 201)


async def save(daemon: Daemon, request: Request) -> Answer:
    refs = [request.names["ref"]] if "ref" in request.names else request.texts("names")
    refs = [ref for text in refs for ref in text.split(",") if ref]
    if not refs:
        raise InvalidArgument("names of images to save are needed")
    for ref in refs:
        daemon.images.view(ref)
    return Stream(await primed(daemon.images.save(refs)), 200, TAR)


async def tag(daemon: Daemon, request: Request) -> Answer:
    repo = request.text("repo")
    if not repo:
        raise InvalidArgument("repo is needed to tag an image")
    await daemon.images.tag(request.names["ref"], repo, request.text("tag"))
    return Response(201)


async def remove(daemon: Daemon, request: Request) -> Answer:
    done = await daemon.images.remove(
        request.names["ref"], force=request.flag("force"), prune=not request.flag("noprune")
    )
    return json_response(done)


async def prune(daemon: Daemon, request: Request) -> Answer:
    drop = filters.images_to_prune(parse_filters(request.text("filters")), time.time())
    done, freed = await daemon.images.prune(drop)
    return json_response({"ImagesDeleted": done or None, "SpaceReclaimed": freed})


async def search(daemon: Daemon, request: Request) -> Answer:
    raise Unsupported("searching Docker Hub is not part of linkspan: name the image to pull")


async def _progress(lines: AsyncIterator[Progress]) -> Answer:
    """Docker's progress stream. What fails before the first line is answered by a status, later in the stream."""
    first = await anext(lines, None)

    async def body() -> AsyncIterator[bytes]:
        async with closing(lines):
            if first is None:
                return
            yield json_line(first)
            try:
                async for line in lines:
                    yield json_line(line)
            except LinkspanError as error:
                yield _failure(str(error))
            except Exception as error:
                log.exception("progress stream failed")
                yield _failure(f"internal error ({type(error).__name__}); the daemon's log has the details")

    return Stream(body(), 200, JSON_TYPE)


def _failure(message: str) -> bytes:
    return json_line({"errorDetail": {"message": message}, "error": message})


ROUTES = (
    ("POST", "/commit", commit),
    ("GET", "/distribution/{ref*}/json", distribution),
    ("GET", "/images/json", list_),
    ("GET", "/images/search", search),
    ("GET", "/images/get", save),
    ("POST", "/images/create", create),
    ("POST", "/images/load", load),
    ("POST", "/images/prune", prune),
    ("GET", "/images/{ref*}/json", inspect),
    ("GET", "/images/{ref*}/history", history),
    ("GET", "/images/{ref*}/get", save),
    ("POST", "/images/{ref*}/push", push),
    ("POST", "/images/{ref*}/tag", tag),
    ("DELETE", "/images/{ref*}", remove),
)
