"""Pull: from a registry into the store, with the progress lines that Docker's clients draw.

skopeo fetches the layers that the store has not into a folder; each is unpacked as soon as it is there, beside the
others that are still coming: they are independent of each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from linkspan.errors import Internal
from linkspan.model.reference import Reference
from linkspan.runtime.images.manifest import (
    DOCKER_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    check_platform,
    choose,
    digest_of,
    parse_manifest,
    parse_platform,
    read_config,
)
from linkspan.runtime.images.skopeo import PACE, Registry
from linkspan.runtime.images.store import ImageStore, Layer

Progress = dict[str, Any]  # one line of Docker's progress stream
Tell = Callable[[Progress], None]

_SILENCE = 60.0  # seconds in which nothing comes of a transfer, after which it is given up


async def pull(store: ImageStore, reference: Reference, *, platform: str, auth: str) -> AsyncGenerator[Progress, None]:
    """Brings one image. Raises NotFound, and Internal where the registry does not answer, in dockerd's words."""
    wanted, registry = parse_platform(platform), store.registry(reference, auth)
    raw = await registry.manifest(reference.digest or reference.tag)
    yield {"status": f"Pulling from {reference.path}", "id": reference.tag or reference.digest}
    digest = chosen = digest_of(raw)
    if reference.digest not in ("", digest):
        raise Internal(f"manifest verification failed for digest {reference.digest}")
    manifest = parse_manifest(raw, reference.familiar)
    if manifest.manifests is not None:
        chosen = choose(manifest.manifests, wanted, reference.familiar).digest
        raw = await registry.manifest(chosen)
        if digest_of(raw) != chosen:
            raise Internal(f"manifest verification failed for digest {chosen}")
        manifest = parse_manifest(raw, reference.familiar)
    names = [dataclasses.replace(reference, tag="", digest=digest)]
    if reference.tag and not reference.digest:
        names.append(reference)
    if manifest.config is None:
        raise Internal(f"the manifest of {reference.familiar} is a list inside a list")
    known = store.has(manifest.config.digest)
    if known:
        image = store.find(manifest.config.digest)
    else:
        document = await registry.config(chosen)
        if digest_of(document) != manifest.config.digest:
            raise Internal(f"image config verification failed for digest {manifest.config.digest}")
        image = read_config(document)
    check_platform(image, platform, reference.familiar)
    if known:
        store.tag(image.id, *names)
    else:
        if len(image.diff_ids) != len(manifest.layers):
            raise Internal(f"the manifest of {reference.familiar} has not the layers that its config names")
        blobs = dict(zip(image.diff_ids, manifest.layers, strict=True))
        async with store.holding(image.diff_ids):
            steps = telling(lambda tell: _layers(store, registry, chosen, manifest, blobs, tell))
            async with contextlib.aclosing(steps):
                async for line in steps:
                    yield line
            store.add_image(document, raw, *names)
    yield {"status": f"Digest: {digest}"}
    news = "Image is up to date for" if known else "Downloaded newer image for"
    yield {"status": f"Status: {news} {reference.familiar}"}


async def tags(store: ImageStore, reference: Reference, *, auth: str) -> list[str]:
    """Every tag of a repository: `docker pull --all-tags`."""
    return sorted(await store.registry(reference, auth).tags())


async def _layers(
    store: ImageStore,
    registry: Registry,
    manifest_digest: str,
    manifest: Manifest,
    blobs: dict[str, Descriptor],
    tell: Tell,
) -> None:
    """Brings the layers, by diff id, that the store has not."""
    for diff_id, blob in blobs.items():
        if store.layer(diff_id) is None:
            tell(line_of(blob.digest, "Pulling fs layer"))
    async with contextlib.AsyncExitStack() as locks:
        for diff_id in sorted(blobs):  # in one order everywhere, so that no two pulls wait for each other
            if store.layer(diff_id) is None:
                await locks.enter_async_context(store.only_one(diff_id))
        missing = {}
        for diff_id, blob in blobs.items():
            if store.layer(diff_id) is None:
                missing[diff_id] = blob
            else:
                tell(line_of(blob.digest, "Already exists"))
        if not missing:
            return
        with store.staging() as folder:
            exact = manifest.media_type in ("", OCI_MANIFEST)
            # Only into an OCI layout does skopeo leave out what is there. It writes the manifest of a Docker image
            # anew there, and packs layers that are not packed: those images come whole.
            convert = exact or all(blob.media_type == DOCKER_LAYER for blob in blobs.values())
            (folder / "sha256").mkdir()
            if convert:
                for diff_id in blobs.keys() - missing.keys():
                    if layer := store.layer(diff_id):
                        os.link(store.blob(layer.digest), _arriving(folder, blobs[diff_id]))
            async with store.transfers:
                fetching = asyncio.create_task(registry.fetch(manifest_digest, folder, convert=convert, exact=exact))
                await _receive(store, registry, folder, fetching, missing, tell)


async def _receive(
    store: ImageStore,
    registry: Registry,
    folder: Path,
    fetching: asyncio.Task[None],
    missing: dict[str, Descriptor],
    tell: Tell,
) -> None:
    """Unpacks what `fetching` brings, each layer when it is there. Ends it where anything fails."""
    awaited, under_way = dict(missing), {fetching}
    everything: set[asyncio.Task[None]] = {fetching}
    before, since = None, time.monotonic()
    try:
        while under_way:
            done, under_way = await asyncio.wait(under_way, timeout=PACE, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            for diff_id, blob in list(awaited.items()):
                if _arriving(folder, blob).exists():  # by rename, when it is whole
                    del awaited[diff_id]
                    unpacking = asyncio.create_task(_unpack(store, folder, diff_id, blob, tell))
                    under_way.add(unpacking)
                    everything.add(unpacking)
            coming = _coming(folder)
            _report(coming, awaited.values(), tell)
            if (now := (coming, len(awaited))) != before or fetching.done():
                before, since = now, time.monotonic()
            elif time.monotonic() - since > _SILENCE:
                raise registry.silent()
        for blob in awaited.values():
            raise Internal(f"filesystem layer verification failed for digest {blob.digest}")
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)


def _arriving(folder: Path, blob: Descriptor) -> Path:
    return folder / "sha256" / blob.digest.removeprefix("sha256:")


def _coming(folder: Path) -> list[int]:
    """Sizes of the files that skopeo is writing."""
    sizes = []
    for pattern in ("layout/oci-put-blob*", "sha256/dir-put-blob*"):
        for file in folder.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(file.stat().st_size)
    return sizes


def _report(sizes: list[int], awaited: Iterable[Descriptor], tell: Tell) -> None:
    """skopeo does not say what layer a file is going to be: told is only what can be just one of them."""
    for size in filter(None, sizes):
        fitting = [blob for blob in awaited if blob.size >= size]
        if len(fitting) == 1:
            tell(line_of(fitting[0].digest, "Downloading", size, fitting[0].size))


async def _unpack(store: ImageStore, folder: Path, diff_id: str, blob: Descriptor, tell: Tell) -> None:
    tell(line_of(blob.digest, "Verifying Checksum"))
    tell(line_of(blob.digest, "Download complete"))
    async with store.unpacking:
        file = folder / diff_id
        os.link(_arriving(folder, blob), file)  # skopeo goes on looking for its own
        extracting = _paced(lambda done: tell(line_of(blob.digest, "Extracting", done, blob.size)))
        extracting(0)
        layer = Layer(diff_id=diff_id, digest=blob.digest, media_type=blob.media_type, blob_size=blob.size)
        await store.add_layer(file, layer, extracting)
    tell(line_of(blob.digest, "Pull complete"))


async def telling(work: Callable[[Tell], Awaitable[None]]) -> AsyncGenerator[Progress, None]:
    """The lines that `work` tells, as it does; raises what it raises, and ends it where nobody listens any more."""
    lines: asyncio.Queue[Progress | None] = asyncio.Queue()
    task = asyncio.ensure_future(work(lines.put_nowait))
    task.add_done_callback(lambda _: lines.put_nowait(None))
    try:
        while line := await lines.get():
            yield line
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def line_of(digest: str, status: str, current: int = 0, total: int = 0) -> Progress:
    detail = {"current": current, "total": total} if current or total else {}
    return {"status": status, "progressDetail": detail, "id": digest.removeprefix("sha256:")[:12]}


def _paced(tell: Callable[[int], None]) -> Callable[[int], None]:
    told = 0.0

    def now_and_then(done: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= PACE:
            told = now
            tell(done)

    return now_and_then
