"""Pull and push, with the progress lines that Docker's clients draw."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from linkspan.errors import Conflict, Internal, InvalidArgument, NotFound
from linkspan.model.reference import Reference
from linkspan.runtime.images.skopeo import Progress
from linkspan.runtime.images.store import ImageStore

_LISTS = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)


async def pull(store: ImageStore, reference: Reference, *, platform: str, auth: str) -> AsyncIterator[Progress]:
    """Brings one image. Raises NotFound, Internal (the registry does not answer) with Docker's words."""
    skopeo = store.skopeo
    yield {"status": f"Pulling from {reference.path}", "id": reference.tag or reference.digest}
    os_, architecture = _platform(platform)
    source = f"docker://{reference}"
    with skopeo.access(reference, auth) as access:
        raw = await skopeo.ask("inspect", "--raw", *access, source, about=reference)
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        manifest = _manifest(raw, reference)
        if manifest.get("mediaType") in _LISTS or "manifests" in manifest:
            chosen = _choose(manifest, os_, architecture, reference)
            one = f"docker://{reference.repository}@{chosen}"
            manifest = _manifest(await skopeo.ask("inspect", "--raw", *access, one, about=reference), reference)
    layers = [layer["digest"] for layer in manifest.get("layers", ())]
    for layer in layers:
        yield _line(layer, "Pulling fs layer")
    async with store.changing:
        before = {image.id for image in store.images()}
        stored = str(reference)
        with skopeo.access(reference, auth, "src") as access:
            arguments = ["copy", "--override-os", os_, "--override-arch", architecture, *access]
            async for line in skopeo.lines(*arguments, source, skopeo.stored(stored), about=reference):
                for state in _states(line):
                    yield state
        id_ = store.stored_under(stored)
        store.refresh()
        names = [reference] if reference.tag else []
        store.tag(id_, *names, dataclasses.replace(reference, tag="", digest=digest))
    for layer in layers:
        yield _line(layer, "Pull complete" if id_ not in before else "Already exists")
    yield {"status": f"Digest: {digest}"}
    news = "Image is up to date for" if id_ in before else "Downloaded newer image for"
    yield {"status": f"Status: {news} {reference.familiar}"}


async def push(store: ImageStore, reference: Reference, *, auth: str) -> AsyncIterator[Progress]:
    """Sends one tag. Raises NotFound where there is no such image, Internal or NotFound from the registry."""
    try:
        image = store.find(str(reference))
    except NotFound:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_repository}") from None
    yield {"status": f"The push refers to repository [{reference.repository}]"}
    skopeo = store.skopeo
    for diff in image.diff_ids:
        yield _line(diff, "Preparing")
    with skopeo.access(reference, auth, "dest") as access:
        source = skopeo.stored("@" + image.id.removeprefix("sha256:"))
        async for _ in skopeo.lines("copy", *access, source, f"docker://{reference}", about=reference):
            pass
    for diff in image.diff_ids:
        yield _line(diff, "Pushed")
    with skopeo.access(reference, auth) as access:
        raw = await skopeo.ask("inspect", "--raw", *access, f"docker://{reference}", about=reference)
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    yield {"status": f"{reference.tag}: digest: {digest} size: {len(raw)}"}
    yield {"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": digest, "Size": len(raw)}}


async def tags(store: ImageStore, reference: Reference, *, auth: str) -> list[str]:
    """Every tag of a repository: `docker pull --all-tags`."""
    with store.skopeo.access(reference, auth) as access:
        raw = await store.skopeo.ask("list-tags", *access, f"docker://{reference.repository}", about=reference)
    return [str(tag) for tag in json.loads(raw)["Tags"]]


def _states(line: str) -> list[Progress]:
    """skopeo says little: `Copying blob sha256:…` when it begins with a layer, and that it has it already."""
    words = line.split()
    if words[:2] == ["Copying", "blob"] and len(words) > 2:
        if "skipped:" in line:
            return [_line(words[2], "Already exists")]
        return [_line(words[2], "Downloading"), _line(words[2], "Extracting")]
    if words[:2] == ["Copying", "config"]:
        return []
    return []


def _line(digest: str, status: str) -> Progress:
    return {"status": status, "progressDetail": {}, "id": digest.removeprefix("sha256:")[:12]}


def _platform(text: str) -> tuple[str, str]:
    if not text:
        return "linux", "amd64"
    os_, _, architecture = text.partition("/")
    if os_ != "linux":
        raise InvalidArgument(f"platform {text!r}: this engine runs linux containers")
    return os_, architecture.partition("/")[0] or "amd64"


def _manifest(raw: bytes, reference: Reference) -> dict[str, Any]:
    try:
        found = json.loads(raw)
        if isinstance(found, dict):
            return found
    except ValueError:
        pass
    raise Internal(f"the registry's manifest of {reference.familiar} is not JSON")


def _choose(manifest: dict[str, Any], os_: str, architecture: str, reference: Reference) -> str:
    for entry in manifest.get("manifests", ()):
        wanted = entry.get("platform", {})
        if (wanted.get("os"), wanted.get("architecture")) == (os_, architecture):
            return str(entry["digest"])
    raise NotFound(
        f"no matching manifest for {os_}/{architecture} in the manifest list entries of {reference.familiar}"
    )


def check_pushable(reference: Reference) -> None:
    if reference.digest:
        raise Conflict("cannot push a digest reference")
