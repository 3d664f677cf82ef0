"""The images of this host, by id and by name.

skopeo writes a containers-storage: `overlay/<layer>/diff` are the unpacked layers, `overlay-images/images.json` and
`overlay-layers/layers.json` say which belong together. That part is read, never written, by us: skopeo does that,
under the storage's own locks. Names are ours (`names.json`), so that tagging is one small file replaced at once: a
daemon that is killed has the old names or the new ones.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from linkspan.errors import Internal, InvalidArgument, NotFound
from linkspan.model.image import HistoryEntry, Image, ImageConfig
from linkspan.model.reference import Reference, parse_reference
from linkspan.runtime.images.skopeo import Skopeo


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    """An image's config, as far as it is read."""

    created: str | None = None
    author: str = ""
    architecture: str = ""
    os: str = ""
    comment: str = ""
    config: ImageConfig | None = None
    history: tuple[HistoryEntry, ...] | None = None
    rootfs: dict[str, Any] = {}


class ImageStore:
    def __init__(self, root: Path, run: Path, *, insecure_registries: Sequence[str] = ()) -> None:
        """`root` keeps the images, `run` containers-storage's own run-time files. Raises Internal, Unavailable."""
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
            run.mkdir(parents=True, exist_ok=True, mode=0o711)
        except OSError as error:
            raise Internal(f"cannot make {error.filename}: {error.strerror}") from error
        self.skopeo = Skopeo(root, run, insecure_registries)
        self.skopeo.sweep()
        self.changing = asyncio.Lock()  # held while images come or go; tagging needs it too
        self._root = root
        self._names: dict[str, str] = {}  # full name, with a tag or a digest → image id
        self._documents: dict[str, _Document] = {}
        self._images: dict[str, Image] = {}
        self._read_names()
        self.refresh()

    # -- looking ------------------------------------------------------------------------------------------------------

    def images(self) -> list[Image]:
        """Newest first."""
        return sorted(self._images.values(), key=lambda image: image.created, reverse=True)

    def find(self, ref: str) -> Image:
        """By name in any of Docker's forms, id or prefix of one. Raises NotFound: `No such image: REF`."""
        if image := self._images.get(ref) or self._images.get(f"sha256:{ref}"):
            return image
        try:
            named = parse_reference(ref).tagged()
        except InvalidArgument:
            named = None
        if named and (id_ := self._names.get(str(named))):
            return self._images[id_]
        prefix = ref.removeprefix("sha256:")
        matches = [id_ for id_ in self._images if prefix and id_.removeprefix("sha256:").startswith(prefix)]
        if len(matches) == 1:
            return self._images[matches[0]]
        if len(matches) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {ref} (image)")
        raise NotFound(f"No such image: {named.familiar if named else ref}")

    # -- names --------------------------------------------------------------------------------------------------------

    def tag(self, id_: str, *names: Reference) -> None:
        """Each name (with a tag or digest) from now on means this image."""
        self._write_names({**self._names, **{str(name): id_ for name in names}})

    def untag(self, *names: Reference) -> None:
        gone = set(map(str, names))
        self._write_names({name: id_ for name, id_ in self._names.items() if name not in gone})

    def names_of(self, id_: str) -> list[Reference]:
        return [parse_reference(name) for name, found in sorted(self._names.items()) if found == id_]

    def _read_names(self) -> None:
        try:
            self._names = msgspec.json.decode((self._root / "names.json").read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            self._names = {}
        except (OSError, msgspec.MsgspecError) as error:
            raise Internal(f"cannot read {self._root / 'names.json'}: {error}") from error

    def _write_names(self, names: dict[str, str]) -> None:
        temporary = self._root / "names.json.new"
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(names))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._root / "names.json")
        except OSError as error:
            raise Internal(f"cannot write {temporary}: {error.strerror}") from error
        self._names = names
        self._images = {id_: self._named(image) for id_, image in self._images.items()}

    def _named(self, image: Image) -> Image:
        names = self.names_of(image.id)
        return msgspec.structs.replace(
            image,
            tags=tuple(n.familiar for n in names if not n.digest),
            digests=tuple(n.familiar for n in names if n.digest),
        )

    # -- what skopeo wrote --------------------------------------------------------------------------------------------

    def stored_under(self, name: str) -> str:
        """The id of the image that skopeo has just stored under `name`. Raises Internal where there is none."""
        for entry in self._read("overlay-images/images.json"):
            if name in (entry.get("names") or ()):
                return f"sha256:{entry['id']}"
        raise Internal(f"skopeo stored {name}, and it is not in {self._root}")

    async def delete(self, id_: str) -> None:
        """The image and the layers that no other image has. Raises Internal."""
        await self.skopeo.ask("delete", self.skopeo.stored("@" + id_.removeprefix("sha256:")))
        self._write_names({name: found for name, found in self._names.items() if found != id_})
        self.refresh()

    def refresh(self) -> None:
        """Reads the storage's index again. Raises Internal where it makes no sense."""
        layers = {entry["id"]: entry for entry in self._read("overlay-layers/layers.json")}
        found: dict[str, Image] = {}
        for entry in self._read("overlay-images/images.json"):
            id_ = f"sha256:{entry['id']}"
            document = self._document(entry["id"])
            if document is None:
                continue  # half a pull: skopeo was killed before the config was written
            chain = _chain(layers, entry.get("layer", ""))
            found[id_] = self._named(self._image(id_, document, chain))
        self._images = found
        self._documents = {id_: d for id_, d in self._documents.items() if f"sha256:{id_}" in found}

    def _image(self, id_: str, document: _Document, chain: list[dict[str, Any]]) -> Image:
        return Image(
            id=id_,
            created=document.created or "",
            architecture=document.architecture or "amd64",
            os=document.os or "linux",
            author=document.author,
            comment=document.comment,
            size=sum(layer.get("diff-size", 0) for layer in chain),
            config=document.config or ImageConfig(),
            diff_ids=tuple(document.rootfs.get("diff_ids") or ()),
            layers=tuple(self._directory(layer["id"]) for layer in chain),
            history=document.history or (),
        )

    def _directory(self, layer: str) -> str:
        """The short link where there is one: mount(2) takes one page of lower directories."""
        overlay = self._root / "overlay"
        try:
            return str(overlay / "l" / (overlay / layer / "link").read_text().strip())
        except OSError:
            return str(overlay / layer / "diff")

    def _document(self, id_: str) -> _Document | None:
        if id_ not in self._documents:
            key = base64.b64encode(f"sha256:{id_}".encode()).decode()
            try:
                text = (self._root / "overlay-images" / id_ / f"={key}").read_bytes()
                self._documents[id_] = msgspec.json.decode(text, type=_Document)
            except FileNotFoundError:
                return None
            except (OSError, msgspec.MsgspecError) as error:
                raise Internal(f"the config of image {id_} cannot be read: {error}") from error
        return self._documents[id_]

    def _read(self, name: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads((self._root / name).read_bytes() or b"[]")
            return found
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise Internal(f"cannot read {self._root / name}: {error}") from error


def _chain(layers: dict[str, dict[str, Any]], top: str) -> list[dict[str, Any]]:
    """The layers of an image, lowest first."""
    chain = []
    while top in layers:
        chain.append(layers[top])
        top = layers[top].get("parent", "")
    return chain[::-1]


def with_tag(reference: Reference, tag: str) -> Reference:
    """Docker's `tag` parameter: a tag, or a digest."""
    if not tag:
        return reference
    if tag.startswith("sha256:"):
        return dataclasses.replace(parse_reference(f"{reference.repository}@{tag}"))
    return dataclasses.replace(reference, tag=parse_reference(f"x:{tag}").tag, digest="")


def familiar_names(names: Iterable[Reference]) -> list[str]:
    return [name.familiar for name in names]
