"""`docker commit`: what a container has written, as a layer on top of its image."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from linkspan.model.image import Image, ImageConfig
from linkspan.model.reference import Reference
from linkspan.runtime.images.manifest import DOCKER_LAYER_PLAIN, encode
from linkspan.runtime.images.store import ImageStore, Layer

# What the new image has of its parent besides layers and history.
_INHERITED = ("architecture", "variant", "os", "os.version", "os.features")


async def commit(
    store: ImageStore,
    parent: Image,
    written: AsyncIterator[bytes],
    *,
    config: ImageConfig,
    made: Mapping[str, Any],
    created_by: str,
    name: Reference | None,
) -> Image:
    """`written` is the layer's tar. `made` says how it came about: created (RFC 3339), author, comment, container.

    Raises Internal, NotFound where the parent is gone.
    """
    before = msgspec.json.decode(store.blob(store.find(parent.id).id).read_bytes())
    history = {key: made[key] for key in ("created", "author", "comment") if made.get(key)}
    with store.staging() as folder:
        file, digest = folder / "layer.tar", hashlib.sha256()
        with file.open("wb") as target:
            async for piece in written:
                digest.update(piece)
                await asyncio.to_thread(target.write, piece)
        diff_id = f"sha256:{digest.hexdigest()}"
        layer = Layer(diff_id=diff_id, digest=diff_id, media_type=DOCKER_LAYER_PLAIN, blob_size=file.stat().st_size)
        async with store.holding([*parent.diff_ids, diff_id]), store.only_one(diff_id):
            if store.layer(diff_id) is None:
                await store.add_layer(file, layer, lambda _: None)
            document = {
                **{key: before[key] for key in _INHERITED if key in before},
                **made,
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [*parent.diff_ids, diff_id]},
                "history": [*(before.get("history") or ()), {**history, "created_by": created_by}],
            }
            return store.add_image(encode(document), None, *([name] if name else []), parent=parent.id)
