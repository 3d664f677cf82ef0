"""Images as tar files: load, save and import.

skopeo reads and writes archives of one image; an archive of several is several of those, joined here.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from linkspan.errors import Internal, InvalidArgument
from linkspan.model.reference import Reference, parse_reference
from linkspan.runtime.images.skopeo import Progress
from linkspan.runtime.images.store import ImageStore

_LOADED = "linkspan.invalid/loaded:latest"  # the name under which skopeo stores what has no name of its own
_CHUNK = 1 << 20


async def load(store: ImageStore, body: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
    """A docker-archive or an OCI layout, plain or compressed. Raises InvalidArgument where it is neither."""
    with store.skopeo.workspace() as folder:
        archive = folder / "archive.tar"
        await _receive(body, archive)
        try:
            sources = await asyncio.to_thread(_contents, archive, folder)
        except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as error:
            raise InvalidArgument(f"the archive is neither of docker save nor an OCI layout: {error}") from None
        for source, names in sources:
            async with store.changing:
                async for _ in store.skopeo.lines("copy", source, store.skopeo.stored(_LOADED)):
                    pass
                id_ = store.stored_under(_LOADED)
                store.refresh()
                store.tag(id_, *names)
            for name in names:
                yield {"stream": f"Loaded image: {name.familiar}\n"}
            if not names:
                yield {"stream": f"Loaded image ID: {id_}\n"}


def _contents(archive: Path, folder: Path) -> list[tuple[str, list[Reference]]]:
    """What skopeo is to copy, and the names of each."""
    with tarfile.open(archive) as tar:
        if "manifest.json" in tar.getnames():
            text = tar.extractfile("manifest.json")
            assert text
            entries: list[dict[str, Any]] = json.load(text)
            return [
                (f"docker-archive:{archive}:@{number}", [parse_reference(tag) for tag in entry.get("RepoTags") or ()])
                for number, entry in enumerate(entries)
            ]
        layout = folder / "layout"
        tar.extractall(layout, filter="data")
    index = json.loads((layout / "index.json").read_bytes())
    found = []
    for number, entry in enumerate(index["manifests"]):
        notes = entry.get("annotations", {})
        name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name", "")
        names = [parse_reference(name).tagged()] if name else []
        # skopeo picks an image of a layout by its reference name.
        entry["annotations"] = {"org.opencontainers.image.ref.name": str(number)}
        found.append((f"oci:{layout}:{number}", names))
    (layout / "index.json").write_text(json.dumps(index))
    return found


async def save(store: ImageStore, refs: Sequence[str]) -> AsyncIterator[bytes]:
    """One docker-archive of all of them. Raises NotFound before the first byte."""
    wanted: dict[str, list[str]] = {}
    for ref in refs:
        image = store.find(ref)
        names = wanted.setdefault(image.id, [])
        if not image.id.removeprefix("sha256:").startswith(ref.removeprefix("sha256:")):
            names.append(parse_reference(ref).tagged().familiar)
    with store.skopeo.workspace() as folder:
        manifests: list[dict[str, Any]] = []
        parts = []
        for number, (id_, names) in enumerate(wanted.items()):
            part = folder / f"{number}.tar"
            source = store.skopeo.stored("@" + id_.removeprefix("sha256:"))
            async for _ in store.skopeo.lines("copy", source, f"docker-archive:{part}"):
                pass
            manifests += await asyncio.to_thread(_manifest, part, names)
            parts.append(part)
        joined = folder / "joined.tar"
        await asyncio.to_thread(_join, parts, manifests, joined)
        with joined.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                yield piece


def _manifest(part: Path, names: list[str]) -> list[dict[str, Any]]:
    with tarfile.open(part) as tar:
        text = tar.extractfile("manifest.json")
        assert text
        entries: list[dict[str, Any]] = json.load(text)
    return [{**entry, "RepoTags": names or None} for entry in entries]


def _join(parts: Sequence[Path], manifests: list[dict[str, Any]], target: Path) -> None:
    """Layers that several images share stand in the archive once."""
    repositories: dict[str, dict[str, str]] = {}
    for entry in manifests:
        for name in entry["RepoTags"] or ():
            repository, _, tag = name.rpartition(":")
            repositories.setdefault(repository, {})[tag] = str(entry["Config"]).removesuffix(".json")
    with tarfile.open(target, "w") as out:
        seen = {"manifest.json", "repositories"}
        for part in parts:
            with tarfile.open(part) as tar:
                for member in tar:
                    if member.name in seen:
                        continue
                    seen.add(member.name)
                    out.addfile(member, tar.extractfile(member) if member.isfile() else None)
        for name, content in (("manifest.json", manifests), ("repositories", repositories)):
            text = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            out.addfile(info, io.BytesIO(text))


async def import_(
    store: ImageStore,
    body: AsyncIterator[bytes],
    name: Reference | None,
    message: str,
    changes: Sequence[str],
    now: str,
) -> AsyncIterator[Progress]:
    """A root file system as an image of one layer; `now` is RFC 3339. Raises InvalidArgument."""
    config = apply_changes(changes)
    with store.skopeo.workspace() as folder:
        layer = folder / "layer.tar"
        await _receive(body, layer)
        layout = await asyncio.to_thread(_layout, folder, layer, config, message, now)
        async with store.changing:
            async for _ in store.skopeo.lines("copy", f"oci:{layout}:0", store.skopeo.stored(_LOADED)):
                pass
            id_ = store.stored_under(_LOADED)
            store.refresh()
            if name:
                store.tag(id_, name)
    yield {"status": id_}


def _layout(folder: Path, layer: Path, config: dict[str, Any], message: str, now: str) -> Path:
    """The layer as an OCI layout that skopeo can copy from."""
    try:
        _decompress(layer)
        with tarfile.open(layer, "r:"):
            pass
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InvalidArgument(f"the root file system is not a tar archive: {error}") from None
    layout = folder / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = layer.stat().st_size
    layer.rename(blobs / digest)
    document = {
        "created": now,
        "architecture": "amd64",
        "os": "linux",
        "comment": message,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": now, "comment": message}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(document).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{digest}", "size": size}],
    }
    entry = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "0"}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return layout


def apply_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Dockerfile lines of `--change` as an image's config. Raises InvalidArgument."""
    config: dict[str, Any] = {}
    for change in changes:
        verb, _, rest = change.strip().partition(" ")
        rest = rest.strip()
        match verb.upper():
            case "CMD" | "ENTRYPOINT":
                key = "Cmd" if verb.upper() == "CMD" else "Entrypoint"
                config[key] = _command(rest)
            case "ENV":
                for name, value in _pairs(rest, change):
                    config.setdefault("Env", []).append(f"{name}={value}")
            case "LABEL":
                config.setdefault("Labels", {}).update(_pairs(rest, change))
            case "EXPOSE":
                ports = config.setdefault("ExposedPorts", {})
                ports.update({port if "/" in port else f"{port}/tcp": {} for port in rest.split()})
            case "VOLUME":
                paths = json.loads(rest) if rest.startswith("[") else rest.split()
                config.setdefault("Volumes", {}).update({path: {} for path in paths})
            case "USER":
                config["User"] = rest
            case "WORKDIR":
                config["WorkingDir"] = rest
            case "STOPSIGNAL":
                config["StopSignal"] = rest
            case _:
                raise InvalidArgument(f"{verb} is not a valid change command")
    return config


def _command(text: str) -> list[str]:
    if text.startswith("["):
        try:
            return [str(part) for part in json.loads(text)]
        except ValueError:
            pass
    return ["/bin/sh", "-c", text]


def _pairs(text: str, change: str) -> list[tuple[str, str]]:
    if "=" not in text.split(" ")[0]:
        name, _, value = text.partition(" ")
        return [(name, value)]
    try:
        parts = [part.partition("=") for part in shlex.split(text)]
    except ValueError as error:
        raise InvalidArgument(f"invalid change {change!r}: {error}") from None
    return [(name, value) for name, _, value in parts]


async def _receive(body: AsyncIterator[bytes], path: Path) -> None:
    try:
        with path.open("wb") as file:
            async for piece in body:
                file.write(piece)
    except OSError as error:
        raise Internal(f"cannot store the archive in {path.parent}: {error.strerror}") from error


def _decompress(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return
    plain = path.with_suffix(".plain")
    with gzip.open(path) as source, plain.open("wb") as target:
        while piece := source.read(_CHUNK):
            target.write(piece)
    plain.replace(path)
