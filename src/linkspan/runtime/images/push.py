"""Push: from the store to a registry.

An image that was pulled goes as it came, its manifest and its compressed layers, so that its digest stays what it was.
What came as plain tars, from `load` and `import`, is compressed on its way.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from linkspan.errors import Conflict, NotFound
from linkspan.model.image import Image
from linkspan.model.reference import Reference
from linkspan.runtime.images.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    Descriptor,
    Manifest,
    digest_of,
    encode,
    parse_manifest,
)
from linkspan.runtime.images.pull import Progress, in_thread, line_of
from linkspan.runtime.images.registry import Failure, Registry, parse_auth, refused_push
from linkspan.runtime.images.store import ImageStore, Layer

T = TypeVar("T")
_CHUNK = 1 << 18


async def push(store: ImageStore, reference: Reference, *, auth: str) -> AsyncGenerator[Progress, None]:
    """Sends one tag. Raises NotFound where there is no such image, Internal where the registry refuses."""
    if reference.digest:
        raise Conflict("cannot push a digest reference")
    try:
        image = store.find(str(reference))
    except NotFound:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_repository}") from None
    registry = Registry(reference.registry, store.trust, parse_auth(auth))
    yield {"status": f"The push refers to repository [{reference.repository}]"}
    layers = store.layers_of(image.id)
    for layer in layers:
        yield line_of(layer.diff_id, "Preparing")
    async with store.holding(image.diff_ids):
        with store.staging() as folder:
            sent = []
            for layer in layers:
                lines: asyncio.Queue[Progress] = asyncio.Queue()
                task = asyncio.create_task(_layer(store, registry, reference, layer, folder, lines))
                try:
                    while not (task.done() and lines.empty()):
                        getting = asyncio.create_task(lines.get())
                        await asyncio.wait((getting, task), return_when=asyncio.FIRST_COMPLETED)
                        if getting.done():
                            yield getting.result()
                        else:
                            getting.cancel()
                    sent.append(await task)
                finally:
                    if not task.done():
                        registry.abort()
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
        config = store.blob(image.id).read_bytes()
        await _send(registry, reference, image.id, config)
        raw, media_type = _manifest(store, image, config, sent)
        await _asked(registry, reference, registry.put_manifest, reference.path, reference.tag, raw, media_type)
    digest = digest_of(raw)
    store.tag(image.id, Reference(reference.registry, reference.path, digest=digest))
    yield {"status": f"{reference.tag}: digest: {digest} size: {len(raw)}"}
    yield {"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": digest, "Size": len(raw)}}


async def _layer(
    store: ImageStore,
    registry: Registry,
    reference: Reference,
    layer: Layer,
    folder: Path,
    lines: asyncio.Queue[Progress],
) -> Descriptor:
    """Sends the layer where the registry has it not; answers what the manifest is to say of it."""
    file, sent = (
        store.blob(layer.digest),
        Descriptor(media_type=layer.media_type or DOCKER_LAYER, digest=layer.digest, size=layer.blob_size),
    )
    if layer.blob_size == layer.tar_size:
        file = folder / layer.diff_id
        sent = await asyncio.to_thread(_compress, store.blob(layer.digest), file)
    if await _asked(registry, reference, registry.has_blob, reference.path, sent.digest):
        lines.put_nowait(line_of(layer.diff_id, "Layer already exists"))
        return sent
    loop = asyncio.get_running_loop()

    def tell(done: int) -> None:
        loop.call_soon_threadsafe(lines.put_nowait, line_of(layer.diff_id, "Pushing", done, sent.size))

    await _asked(
        registry, reference, registry.upload, reference.path, sent.digest, sent.size, _pieces(file, sent.size, tell)
    )
    lines.put_nowait(line_of(layer.diff_id, "Pushed"))
    return sent


async def _send(registry: Registry, reference: Reference, digest: str, content: bytes) -> None:
    if not await _asked(registry, reference, registry.has_blob, reference.path, digest):
        await _asked(registry, reference, registry.upload, reference.path, digest, len(content), iter([content]))


def _manifest(store: ImageStore, image: Image, config: bytes, sent: list[Descriptor]) -> tuple[bytes, str]:
    """The manifest that the image came with, where that is what was sent; else one of our own."""
    if raw := store.manifest_of(image.id):
        known = parse_manifest(raw, image.id)
        if [layer.digest for layer in known.layers] == [layer.digest for layer in sent]:
            return raw, known.media_type or "application/vnd.oci.image.manifest.v1+json"
    manifest = Manifest(
        schema_version=2,
        media_type=DOCKER_MANIFEST,
        config=Descriptor(media_type=DOCKER_CONFIG, digest=image.id, size=len(config)),
        layers=tuple(Descriptor(media_type=DOCKER_LAYER, digest=s.digest, size=s.size) for s in sent),
    )
    return encode(manifest), DOCKER_MANIFEST


def _compress(plain: Path, target: Path) -> Descriptor:
    # No name and no time in it: the same layer is the same blob, which the registry may have already.
    with plain.open("rb") as source, target.open("wb") as file, gzip.GzipFile("", "wb", 5, file, mtime=0) as packed:
        while piece := source.read(_CHUNK):
            packed.write(piece)
    with target.open("rb") as compressed:
        digest = hashlib.file_digest(compressed, "sha256").hexdigest()
    return Descriptor(media_type=DOCKER_LAYER, digest=f"sha256:{digest}", size=target.stat().st_size)


def _pieces(file: Path, size: int, tell: Callable[[int], None]) -> Iterator[bytes]:
    done = told = 0
    with file.open("rb") as source:
        while piece := source.read(_CHUNK):
            yield piece
            done += len(piece)
            if done - told > size // 50:
                told = done
                tell(done)


async def _asked(registry: Registry, reference: Reference, ask: Callable[..., T], *arguments: object) -> T:
    try:
        return await in_thread(registry, ask, *arguments)
    except Failure as failure:
        raise refused_push(failure, reference) from None
