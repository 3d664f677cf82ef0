"""Pull: from a registry into the store, with the progress lines that Docker's clients draw.

Layers are downloaded three at a time, each unpacked as soon as it is there: they are independent of each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import hashlib
import http.client
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from linkspan.errors import Internal, LinkspanError, NotFound
from linkspan.model.reference import Reference
from linkspan.runtime.images.manifest import (
    Descriptor,
    Manifest,
    choose,
    digest_of,
    parse_manifest,
    parse_platform,
    read_config,
)
from linkspan.runtime.images.registry import Failure, Registry, about, parse_auth
from linkspan.runtime.images.store import ImageStore, Layer

Progress = dict[str, Any]  # one line of Docker's progress stream
T = TypeVar("T")

_CHUNK = 1 << 18
_ATTEMPTS = 5  # of one layer; each goes on where the one before broke off
_PACE = 0.1  # seconds between two lines about the same layer
_LARGEST_CONFIG = 8 << 20


async def pull(store: ImageStore, reference: Reference, *, platform: str, auth: str) -> AsyncGenerator[Progress, None]:
    """Brings one image. Raises NotFound, and Internal where the registry does not answer, in dockerd's words."""
    wanted, credentials = parse_platform(platform), parse_auth(auth)
    registries = store.registries(reference, credentials)
    manifest: Manifest | None = None
    for registry in registries:
        try:
            raw = await in_thread(registry, registry.manifest, reference.path, reference.digest or reference.tag)
            break
        except (Failure, LinkspanError) as error:
            if registry is registries[-1]:
                raise about(error, reference) if isinstance(error, Failure) else error from None
    yield {"status": f"Pulling from {reference.path}", "id": reference.tag or reference.digest}
    digest = digest_of(raw)
    if reference.digest not in ("", digest):
        raise Internal(f"manifest verification failed for digest {reference.digest}")
    manifest = parse_manifest(raw, reference.familiar)
    if manifest.manifests is not None:
        chosen = choose(manifest.manifests, wanted, reference.familiar).digest
        raw = await _asked(registry, reference, registry.manifest, reference.path, chosen)
        if digest_of(raw) != chosen:
            raise Internal(f"manifest verification failed for digest {chosen}")
        manifest = parse_manifest(raw, reference.familiar)
    names = [dataclasses.replace(reference, tag="", digest=digest)]
    if reference.tag and not reference.digest:
        names.append(reference)
    config = manifest.config
    if config is None:
        raise Internal(f"the manifest of {reference.familiar} is a list inside a list")
    known = store.has(config.digest)
    if known:
        image = store.find(config.digest)
    else:
        document = await _asked(registry, reference, _small_blob, registry, reference.path, config)
        image = read_config(document)
    if platform and (image.os, image.architecture) != (wanted.os, wanted.architecture):
        raise NotFound(
            f"image with reference {reference.familiar} was found but its platform "
            f"({image.os}/{image.architecture}) does not match the specified platform ({platform})"
        )
    if known:
        store.tag(image.id, *names)
    else:
        if len(image.diff_ids) != len(manifest.layers):
            raise Internal(f"the manifest of {reference.familiar} has not the layers that its config names")
        async with store.holding(image.diff_ids):
            steps = _layers(store, registry, reference, manifest, image.diff_ids)
            async with contextlib.aclosing(steps):
                async for line in steps:
                    yield line
            store.add_image(document, raw, *names)
    yield {"status": f"Digest: {digest}"}
    news = "Image is up to date for" if known else "Downloaded newer image for"
    yield {"status": f"Status: {news} {reference.familiar}"}


async def tags(store: ImageStore, reference: Reference, *, auth: str) -> list[str]:
    """Every tag of a repository: `docker pull --all-tags`."""
    registry = store.registries(reference, parse_auth(auth))[-1]
    return sorted(await _asked(registry, reference, registry.tags, reference.path))


async def _layers(
    store: ImageStore, registry: Registry, reference: Reference, manifest: Manifest, diff_ids: tuple[str, ...]
) -> AsyncGenerator[Progress, None]:
    lines: asyncio.Queue[Progress] = asyncio.Queue()
    blobs = list(zip(manifest.layers, diff_ids, strict=True))
    for blob, diff_id in blobs:
        if store.layer(diff_id) is None:
            yield line_of(blob.digest, "Pulling fs layer")
    tasks = [
        asyncio.create_task(_layer(store, registry, reference, blob, diff_id, lines.put_nowait))
        for blob, diff_id in blobs
    ]
    everything = asyncio.gather(*tasks)
    try:
        while not (everything.done() and lines.empty()):
            getting = asyncio.create_task(lines.get())
            await asyncio.wait((getting, everything), return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                yield getting.result()
            else:
                getting.cancel()
        await everything
    finally:
        registry.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(everything, *tasks, return_exceptions=True)


async def _layer(
    store: ImageStore,
    registry: Registry,
    reference: Reference,
    blob: Descriptor,
    diff_id: str,
    tell: Callable[[Progress], None],
) -> None:
    def report(status: str) -> Callable[[int], None]:
        return _paced(lambda done: tell(line_of(blob.digest, status, done, blob.size)))

    async with store.only_one(diff_id):
        if store.layer(diff_id):
            tell(line_of(blob.digest, "Already exists"))
            return
        with store.staging() as folder:
            file = folder / "blob"
            async with store.downloads:
                loop = asyncio.get_running_loop()
                downloading = report("Downloading")
                await _asked(
                    registry,
                    reference,
                    download,
                    registry,
                    reference.path,
                    blob,
                    file,
                    lambda done: loop.call_soon_threadsafe(downloading, done),
                )
            tell(line_of(blob.digest, "Verifying Checksum"))
            tell(line_of(blob.digest, "Download complete"))
            extracting = report("Extracting")
            extracting(0)
            layer = Layer(diff_id=diff_id, digest=blob.digest, media_type=blob.media_type, blob_size=blob.size)
            await store.add_layer(file, layer, extracting)
        tell(line_of(blob.digest, "Pull complete"))


def download(registry: Registry, path: str, blob: Descriptor, file: Path, progress: Callable[[int], None]) -> None:
    """Blocks. What arrives is checked against the digest, and an interrupted download goes on where it was."""
    found, done, attempt = hashlib.sha256(), 0, 0
    with file.open("wb") as target:
        while done < blob.size or attempt == 0:
            attempt += 1
            try:
                with registry.blob(path, blob.digest, done) as source:
                    while piece := source.read(_CHUNK):
                        done += len(piece)
                        if done > blob.size:
                            raise Internal(f"the registry sends more than the {blob.size} bytes of {blob.digest}")
                        found.update(piece)
                        target.write(piece)
                        progress(done)
                if done < blob.size:
                    raise http.client.IncompleteRead(b"", blob.size - done)
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if registry.aborted or attempt >= _ATTEMPTS:
                    raise Internal(
                        f"the registry {registry.host} broke off after {done} of {blob.size} bytes: {error}"
                    ) from None
                time.sleep(0.2 * attempt)
    if "sha256:" + found.hexdigest() != blob.digest:
        raise Internal(f"filesystem layer verification failed for digest {blob.digest}")


def _small_blob(registry: Registry, path: str, blob: Descriptor) -> bytes:
    if blob.size > _LARGEST_CONFIG:
        raise Internal(f"the config {blob.digest} has {blob.size} bytes, which is too many")
    with registry.blob(path, blob.digest, 0) as source:
        content = source.read(_LARGEST_CONFIG)
    if digest_of(content) != blob.digest:
        raise Internal(f"image config verification failed for digest {blob.digest}")
    return content


async def _asked(registry: Registry, reference: Reference, ask: Callable[..., T], *arguments: object) -> T:
    try:
        return await in_thread(registry, ask, *arguments)
    except Failure as failure:
        raise about(failure, reference) from None


_threads = ThreadPoolExecutor(16, thread_name_prefix="registry")


async def in_thread(registry: Registry, ask: Callable[..., T], *arguments: object) -> T:
    """Runs what blocks on a registry in a thread of its own kind; a caller that is cancelled ends it there too."""
    future = asyncio.get_running_loop().run_in_executor(_threads, ask, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        registry.abort()
        with contextlib.suppress(Exception):
            await future  # its files must not be taken away under its hands
        raise


def line_of(digest: str, status: str, current: int = 0, total: int = 0) -> Progress:
    detail = {"current": current, "total": total} if current or total else {}
    return {"status": status, "progressDetail": detail, "id": digest.removeprefix("sha256:")[:12]}


def _paced(tell: Callable[[int], None]) -> Callable[[int], None]:
    told = 0.0

    def now_and_then(done: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= _PACE:
            told = now
            tell(done)

    return now_and_then
