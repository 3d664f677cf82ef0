"""Push: from the store to a registry.

An image that was pulled goes as it came, its manifest and its compressed layers, so that its digest stays what it was.
What came as plain tars, from `load` and `import`, is compressed by skopeo on its way.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path

from linkspan.errors import Conflict, NotFound
from linkspan.model.image import Image
from linkspan.model.reference import Reference
from linkspan.runtime.images.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_PLAIN,
    DOCKER_MANIFEST,
    Descriptor,
    Manifest,
    encode,
    parse_manifest,
)
from linkspan.runtime.images.pull import Progress, Tell, line_of, telling
from linkspan.runtime.images.skopeo import Registry
from linkspan.runtime.images.store import ImageStore, Layer

_SKIPPED = re.compile(r"Skipping blob (sha256:\w+) \(already present\)")


async def push(store: ImageStore, reference: Reference, *, auth: str) -> AsyncGenerator[Progress, None]:
    """Sends one tag. Raises NotFound where there is no such image, Internal where the registry refuses."""
    if reference.digest:
        raise Conflict("cannot push a digest reference")
    try:
        image = store.find(str(reference))
    except NotFound:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_repository}") from None
    registry = store.registry(reference, auth)
    yield {"status": f"The push refers to repository [{reference.repository}]"}
    layers = store.layers_of(image.id)
    for layer in layers:
        yield line_of(layer.diff_id, "Preparing")
    async with store.holding(image.diff_ids):
        with store.staging() as folder:
            exact = _lay_out(store, image, layers, folder / "image")
            steps = telling(lambda tell: _send(registry, folder, reference.tag, layers, tell, exact=exact))
            async with contextlib.aclosing(steps):
                async for line in steps:
                    yield line
            digest = (folder / "digest").read_text().strip()
            # The size is of the manifest that skopeo has made, where it has made one.
            raw = (folder / "image/manifest.json").read_bytes() if exact else await registry.manifest(digest)
    store.tag(image.id, Reference(reference.registry, reference.path, digest=digest))
    yield {"status": f"{reference.tag}: digest: {digest} size: {len(raw)}"}
    yield {"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": digest, "Size": len(raw)}}


def _lay_out(store: ImageStore, image: Image, layers: list[Layer], folder: Path) -> bool:
    """Makes skopeo's dir: of the image by links to its blobs; answers whether it is what came, to be sent unchanged."""
    folder.mkdir()
    for digest in {image.id, *(layer.digest for layer in layers)}:
        os.link(store.blob(digest), folder / digest.removeprefix("sha256:"))
    raw = store.manifest_of(image.id)
    blobs = [layer.digest for layer in layers]
    exact = raw is not None and [blob.digest for blob in parse_manifest(raw, image.id).layers] == blobs
    if raw is None or not exact:
        config = Descriptor(media_type=DOCKER_CONFIG, digest=image.id, size=store.blob(image.id).stat().st_size)
        described = tuple(_described(layer) for layer in layers)
        raw = encode(Manifest(schema_version=2, media_type=DOCKER_MANIFEST, config=config, layers=described))
    (folder / "manifest.json").write_bytes(raw)
    return exact


def _described(layer: Layer) -> Descriptor:
    kind = DOCKER_LAYER_PLAIN if layer.blob_size == layer.tar_size else DOCKER_LAYER
    return Descriptor(media_type=kind, digest=layer.digest, size=layer.blob_size)


async def _send(registry: Registry, folder: Path, tag: str, layers: list[Layer], tell: Tell, *, exact: bool) -> None:
    by_digest = {layer.digest: layer for layer in layers}
    there = set()

    def heard(line: str) -> None:
        if (found := _SKIPPED.search(line)) and (layer := by_digest.get(found[1])):
            there.add(layer.diff_id)
            tell(line_of(layer.diff_id, "Layer already exists"))

    def reading(file: str, done: int) -> None:
        if done and (layer := by_digest.get(f"sha256:{file}")):
            tell(line_of(layer.diff_id, "Pushing", done, layer.blob_size))

    await registry.send(folder, tag, exact=exact, heard=heard, reading=reading)
    for layer in layers:
        if layer.diff_id not in there:
            tell(line_of(layer.diff_id, "Pushed"))
