"""Images as tar files: load (docker-archive or OCI layout), save (docker-archive), import (a root file system)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import posixpath
import subprocess
import tarfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from linkspan.errors import InvalidArgument, Unsupported
from linkspan.model.image import Image
from linkspan.model.reference import Reference, parse_reference
from linkspan.runtime.images.changes import apply_changes
from linkspan.runtime.images.manifest import (
    DOCKER_LAYER_PLAIN,
    Descriptor,
    choose,
    encode,
    parse_manifest,
    parse_platform,
    read_config,
)
from linkspan.runtime.images.pull import Progress, line_of
from linkspan.runtime.images.store import ImageStore, Layer

_CHUNK = 1 << 20
_LARGEST_DOCUMENT = 8 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """One image in an archive: the raw config and manifest, and the archive's members that are its layers."""

    config: bytes
    manifest: bytes | None
    layers: tuple[str, ...]
    names: tuple[Reference, ...]


class _DockerEntry(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


# -- load -------------------------------------------------------------------------------------------------------------


async def load(store: ImageStore, body: AsyncIterator[bytes], *, quiet: bool = False) -> AsyncGenerator[Progress, None]:
    """The images of a docker-archive or an OCI layout, plain or compressed. Raises InvalidArgument for neither."""
    with store.staging() as folder:
        file = folder / "archive.tar"
        await receive(body, file)
        with _reading(), tarfile.open(file, "r:") as archive:
            for found in await asyncio.to_thread(_contents, archive):
                async with contextlib.aclosing(_load_one(store, folder, archive, found)) as lines:
                    async for line in lines:
                        if not quiet:
                            yield line
                image = store.find(read_config(found.config).id)
                for name in found.names:
                    yield {"stream": f"Loaded image: {name.familiar}\n"}
                if not found.names:
                    yield {"stream": f"Loaded image ID: {image.id}\n"}


async def _load_one(
    store: ImageStore, folder: Path, archive: tarfile.TarFile, found: _Found
) -> AsyncGenerator[Progress, None]:
    image = read_config(found.config)
    if len(image.diff_ids) != len(found.layers):
        raise InvalidArgument(f"invalid manifest, layers length mismatch: expected {len(image.diff_ids)}")
    async with store.holding(image.diff_ids):
        for member, diff_id in zip(found.layers, image.diff_ids, strict=True):
            async with store.only_one(diff_id):
                if store.layer(diff_id):
                    continue
                file = folder / "layer"
                layer = await asyncio.to_thread(_extract, archive, member, file)
                yield line_of(diff_id, "Loading layer", 0, layer.blob_size)
                await store.add_layer(file, msgspec.structs.replace(layer, diff_id=diff_id), lambda _: None)
                yield line_of(diff_id, "Loading layer", layer.blob_size, layer.blob_size)
        store.add_image(found.config, found.manifest, *found.names)


def _contents(archive: tarfile.TarFile) -> list[_Found]:
    for member in archive.getmembers():  # tar of a folder names them ./…
        member.name = posixpath.normpath(member.name)
    members = set(archive.getnames())
    if "manifest.json" in members:
        entries = msgspec.json.decode(_document(archive, "manifest.json"), type=list[_DockerEntry])
        return [
            _Found(
                config=_document(archive, entry.config),
                manifest=None,
                layers=entry.layers or (),
                names=tuple(parse_reference(tag) for tag in entry.repo_tags or ()),
            )
            for entry in entries
        ]
    if "index.json" not in members:
        raise InvalidArgument("invalid archive: neither manifest.json of docker save nor index.json of an OCI layout")
    index = parse_manifest(_document(archive, "index.json"), "the archive")
    return [_in_layout(archive, entry) for entry in index.manifests or ()]


def _in_layout(archive: tarfile.TarFile, entry: Descriptor) -> _Found:
    notes = entry.annotations or {}
    # containerd writes the whole name, others the tag alone, which names nothing.
    text = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name", "")
    names = []
    if ":" in text or "/" in text:
        with contextlib.suppress(InvalidArgument):
            names = [parse_reference(text).tagged()]
    raw = _document(archive, _blob(entry.digest))
    manifest = parse_manifest(raw, text or entry.digest)
    if manifest.manifests is not None:
        raw = _document(archive, _blob(choose(manifest.manifests, parse_platform(""), text or "the archive").digest))
        manifest = parse_manifest(raw, text or entry.digest)
    if manifest.config is None:
        raise InvalidArgument("invalid archive: a list of images inside a list")
    return _Found(
        config=_document(archive, _blob(manifest.config.digest)),
        manifest=raw,
        layers=tuple(_blob(layer.digest) for layer in manifest.layers),
        names=tuple(names),
    )


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _member(archive: tarfile.TarFile, name: str) -> BinaryIO:
    """The content of a file in the archive; links in it, which old `docker save` writes, lead to other members."""
    try:
        content = archive.extractfile(posixpath.normpath(name))
    except KeyError:
        raise InvalidArgument(f"invalid archive: {name} is not in it") from None
    if content is None:
        raise InvalidArgument(f"invalid archive: {name} is no file")
    return content  # type: ignore[return-value]


def _document(archive: tarfile.TarFile, name: str) -> bytes:
    with _member(archive, name) as content:
        found = content.read(_LARGEST_DOCUMENT + 1)
    if len(found) > _LARGEST_DOCUMENT:
        raise InvalidArgument(f"invalid archive: {name} is too large")
    return found


def _extract(archive: tarfile.TarFile, name: str, file: Path) -> Layer:
    digest, size = hashlib.sha256(), 0
    with _member(archive, name) as source, file.open("wb") as target:
        while piece := source.read(_CHUNK):
            digest.update(piece)
            target.write(piece)
            size += len(piece)
    return Layer(diff_id="", digest=f"sha256:{digest.hexdigest()}", blob_size=size)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, msgspec.MsgspecError, UnicodeError) as error:
        raise InvalidArgument(f"invalid archive: {error}") from None


async def receive(body: AsyncIterator[bytes], file: Path) -> None:
    """Writes the body to `file`, uncompressed where it is gzip. Raises InvalidArgument, OSError."""
    unpacker = None
    with file.open("wb") as target:
        first = True
        async for piece in body:
            if first and piece:
                first = False
                if piece.startswith((b"BZh", b"\xfd7zXZ", _ZSTD)):
                    raise Unsupported("the archive is compressed with bzip2, xz or zstd: send it plain or with gzip")
                unpacker = zlib.decompressobj(31) if piece.startswith(_GZIP) else None
            if unpacker is None:
                target.write(piece)
                continue
            try:
                target.write(await asyncio.to_thread(unpacker.decompress, piece))
            except zlib.error as error:
                raise InvalidArgument(f"invalid archive: {error}") from None
    if unpacker is not None and not unpacker.eof:
        raise InvalidArgument("invalid archive: unexpected end of the compressed data")


# -- save -------------------------------------------------------------------------------------------------------------


async def save(store: ImageStore, refs: Sequence[str]) -> AsyncGenerator[bytes, None]:
    """One docker-archive of all of them. Raises NotFound before the first byte."""
    wanted: dict[str, list[str]] = {}
    for ref in refs:
        image = store.find(ref)
        names = wanted.setdefault(image.id, [])
        if not image.id.removeprefix("sha256:").startswith(ref.removeprefix("sha256:")):
            names.append(parse_reference(ref).tagged().familiar)
    images = [store.find(id_) for id_ in wanted]
    async with store.holding(diff_id for image in images for diff_id in image.diff_ids):
        pieces = _archive(store, images, wanted)
        try:
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece
        finally:
            with contextlib.suppress(ValueError):  # a client that has gone: the last piece is still being read
                pieces.close()


def _archive(store: ImageStore, images: Sequence[Image], names: dict[str, list[str]]) -> Generator[bytes, None, None]:
    """Layers that several images share stand in the archive once; nothing is written to disk."""
    manifest, repositories, seen = [], dict[str, dict[str, str]](), set[str]()
    for image in images:
        raw = store.blob(image.id).read_bytes()
        yield _file(f"{image.id[7:]}.json", raw)
        layers = []
        for layer in store.layers_of(image.id):
            name = f"{layer.diff_id[7:]}/layer.tar"
            layers.append(name)
            if layer.diff_id not in seen:
                seen.add(layer.diff_id)
                yield _header(name, layer.tar_size)
                yield from _plain(store.blob(layer.digest))
                if padding := bytes(-layer.tar_size % 512):
                    yield padding
        entry: dict[str, Any] = {"Config": f"{image.id[7:]}.json", "RepoTags": None, "Layers": layers}
        for name in names[image.id]:
            if "@" not in name:
                entry["RepoTags"] = [*(entry["RepoTags"] or ()), name]
                repository, _, tag = name.rpartition(":")
                repositories.setdefault(repository, {})[tag] = image.diff_ids[-1][7:] if image.diff_ids else ""
        manifest.append(entry)
    yield _file("manifest.json", json.dumps(manifest).encode())
    yield _file("repositories", json.dumps(repositories).encode())
    yield bytes(1024)


def _plain(blob: Path) -> Iterator[bytes]:
    with blob.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic.startswith(_ZSTD):
            with subprocess.Popen(["zstd", "-dcq"], stdin=file, stdout=subprocess.PIPE) as process:
                assert process.stdout
                while piece := process.stdout.read(_CHUNK):
                    yield piece
            return
        unpacker = zlib.decompressobj(31) if magic.startswith(_GZIP) else None
        while piece := file.read(_CHUNK):
            while unpacker and piece:
                if plain := unpacker.decompress(piece):
                    yield plain
                piece = unpacker.unused_data
                if unpacker.eof:
                    unpacker = zlib.decompressobj(31)
            if piece:
                yield piece


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)


def _file(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % 512)


# -- import -----------------------------------------------------------------------------------------------------------


async def import_(
    store: ImageStore,
    body: AsyncIterator[bytes],
    name: Reference | None,
    message: str,
    changes: Sequence[str],
    now: str,
) -> AsyncGenerator[Progress, None]:
    """A root file system as an image of one layer; `now` is RFC 3339. Raises InvalidArgument."""
    config = apply_changes(changes)
    with store.staging() as folder:
        file = folder / "layer.tar"
        await receive(body, file)
        with file.open("rb") as source:
            digest = await asyncio.to_thread(lambda: hashlib.file_digest(source, "sha256").hexdigest())
        layer = Layer(
            diff_id=f"sha256:{digest}",
            digest=f"sha256:{digest}",
            media_type=DOCKER_LAYER_PLAIN,
            blob_size=file.stat().st_size,
        )
        async with store.holding([layer.diff_id]), store.only_one(layer.diff_id):
            if store.layer(layer.diff_id) is None:
                await store.add_layer(file, layer, lambda _: None)
            document = {
                "created": now,
                "architecture": "amd64",
                "os": "linux",
                "comment": message or "Imported from -",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
                "history": [{"created": now, "comment": message or "Imported from -"}],
            }
            image = store.add_image(encode(document), None, *([name] if name else []))
    yield {"status": image.id}
