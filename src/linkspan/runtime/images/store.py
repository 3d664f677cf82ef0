"""What is kept of images: blobs as they came, layers unpacked once, names.

    <root>/blobs/<hex>             configs, manifests, and layers as the registry or archive had them: a push or a save
                                   sends what was received, digest for digest
    <root>/layers/<hex>/diff       a layer, unpacked, ready to be an overlay's lower directory; by the digest of its tar
    <root>/layers/<hex>/layer.json which blob it came from
    <root>/images/<hex>.json       the image's record, by the digest of its config: written last, so that what it names
                                   is there
    <root>/names.json              names in full, each with the id of its image
    <root>/staging/                what is under way; emptied at start

Files appear by rename and are never changed, so that a daemon that is killed at any point leaves a good store, and at
most what the next start sweeps away. Looking is done in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from linkspan.errors import Internal, InvalidArgument, LinkspanError, NotFound
from linkspan.model.image import Image
from linkspan.model.reference import Reference, parse_reference
from linkspan.runtime import confinement
from linkspan.runtime.images.manifest import digest_of, read_config
from linkspan.runtime.images.skopeo import Credentials, Registry, Trust, login, parse_auth

_AT_ONCE = 3  # images that are fetched, and layers that are unpacked: skopeo takes 40 MB of memory, two cores are few
_ENDING = 1.0  # seconds that a killed process may take to be gone


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """An unpacked layer. Sizes in bytes: of its blob, of its tar, of the files in it."""

    diff_id: str
    digest: str  # of the blob it was unpacked from
    media_type: str = ""
    blob_size: int = 0
    tar_size: int = 0
    size: int = 0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An image: its config is the blob of its id; `manifest` is the digest it came with, "" where it had none.

    `parent` is the image that a container ran of which it was committed from.
    """

    id: str
    manifest: str = ""
    parent: str = ""


class ImageStore:
    def __init__(self, root: Path, *, insecure_registries: Sequence[str] = ()) -> None:
        """`root` must be on a file system that overlays can lie on. Raises Internal where it cannot be used."""
        self._root = root
        self.trust(insecure_registries)
        self.transfers = asyncio.Semaphore(_AT_ONCE)
        self.unpacking = asyncio.Semaphore(_AT_ONCE)
        self._records: dict[str, Record] = {}
        self._images: dict[str, Image] = {}
        self._layers: dict[str, Layer] = {}
        self._names: dict[str, str] = {}
        self._held: Counter[str] = Counter()  # digests that work under way counts on
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        try:
            for name in ("blobs", "layers", "images", "staging"):
                (root / name).mkdir(parents=True, exist_ok=True, mode=0o711)
            self._read()
            self._sweep()
        except OSError as error:
            raise Internal(f"the images in {root} cannot be read: {error.strerror}: {error.filename}") from error

    # -- looking ------------------------------------------------------------------------------------------------------

    def trust(self, insecure_registries: Sequence[str]) -> None:
        """From now on these, hosts or CIDRs, may be spoken to without TLS."""
        self._trust = Trust(insecure_registries)

    def images(self) -> list[Image]:
        """Newest first."""
        return sorted(self._images.values(), key=lambda image: (image.created, image.id), reverse=True)

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
        prefix = ref if ref.startswith("sha256:") else f"sha256:{ref}"
        matches = [id_ for id_ in self._images if ref and id_.startswith(prefix)]
        if len(matches) == 1:
            return self._images[matches[0]]
        if len(matches) > 1:
            raise InvalidArgument(f"Multiple IDs found with provided prefix: {ref} (image)")
        raise NotFound(f"No such image: {named.familiar if named else ref}")

    @property
    def size(self) -> int:
        """Bytes of files in all layers, each counted once."""
        return sum(layer.size for layer in self._layers.values())

    def has(self, id_: str) -> bool:
        return id_ in self._images

    def names_of(self, id_: str) -> list[Reference]:
        return [parse_reference(name) for name, found in sorted(self._names.items()) if found == id_]

    def manifest_of(self, id_: str) -> bytes | None:
        """The manifest that the image came with; None where it came with none, such as from `docker save`."""
        digest = self._records[id_].manifest
        return self.blob(digest).read_bytes() if digest else None

    def layers_of(self, id_: str) -> list[Layer]:
        return [self._layers[diff_id] for diff_id in self._images[id_].diff_ids]

    def layer(self, diff_id: str) -> Layer | None:
        return self._layers.get(diff_id)

    def blob(self, digest: str) -> Path:
        return self._root / "blobs" / digest.removeprefix("sha256:")

    def registry(self, reference: Reference, auth: str) -> Registry:
        """Where the repository is, for a client with this X-Registry-Auth header. Raises InvalidArgument."""
        return Registry(reference, self._trust, parse_auth(auth), self._root / "staging")

    async def login(self, server: str, credentials: Credentials) -> str:
        """Docker's status text. Raises Unauthorized, Internal where the registry does not answer."""
        return await login(server, credentials, self._trust, self._root / "staging")

    # -- names --------------------------------------------------------------------------------------------------------

    def tag(self, id_: str, *names: Reference) -> None:
        """Each name (with a tag or a digest) from now on means this image. Raises Internal."""
        self._write_names({**self._names, **{str(name): id_ for name in names}})

    def untag(self, *names: Reference) -> None:
        gone = set(map(str, names))
        self._write_names({name: id_ for name, id_ in self._names.items() if name not in gone})

    def _write_names(self, names: dict[str, str]) -> None:
        changed = {id_ for name, id_ in names.items() ^ self._names.items()}
        self._write(self._root / "names.json", msgspec.json.encode(names))
        self._names = names
        for id_ in changed & self._images.keys():
            self._images[id_] = self._named(self._images[id_])

    def _named(self, image: Image) -> Image:
        names = self.names_of(image.id)
        return msgspec.structs.replace(
            image,
            tags=tuple(name.familiar for name in names if not name.digest),
            digests=tuple(name.familiar for name in names if name.digest),
        )

    # -- coming -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for what is under way, gone afterwards. A full disk is Internal, with its name."""
        folder = Path(tempfile.mkdtemp(dir=self._root / "staging"))
        try:
            yield folder
        except OSError as error:
            raise self._failure(error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def holding(self, diff_ids: Iterable[str]) -> AsyncIterator[None]:
        """Keeps layers that no image has yet, until the work that needs them is done; if it fails they go."""
        held = list(diff_ids)
        self._held.update(held)
        try:
            yield
        except BaseException:
            self._let_go(held)
            await self.collect()
            raise
        self._let_go(held)

    def _let_go(self, held: Iterable[str]) -> None:
        self._held.subtract(held)
        self._held += Counter()

    @contextlib.asynccontextmanager
    async def only_one(self, diff_id: str) -> AsyncIterator[None]:
        """Two pulls that want the same layer: the second one waits, and finds it."""
        lock, users = self._locks.get(diff_id) or (asyncio.Lock(), 0)
        self._locks[diff_id] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(diff_id)
            if users > 1:
                self._locks[diff_id] = lock, users - 1

    async def add_layer(self, file: Path, layer: Layer, progress: Callable[[int], None]) -> Layer:
        """Unpacks the blob in `file`, and takes the file over; answers the layer with its sizes.

        `layer.diff_id` is what the config says it is, "" where nobody has said; `digest` and `blob_size` have been
        checked. `progress` is told how many bytes of the blob have been read. Raises InvalidArgument, Internal.
        """
        with self.staging() as folder:
            diff = folder / "layer" / "diff"
            diff.mkdir(parents=True, mode=0o755)
            diff.chmod(0o755)
            done = await confinement.read_file({"do": "layer", "to": str(diff)}, file, progress)
            if layer.diff_id not in ("", done["diff_id"]):
                raise InvalidArgument(f"the layer {layer.digest} is not what its image says: {done['diff_id']}")
            layer = msgspec.structs.replace(layer, diff_id=done["diff_id"], tar_size=done["bytes"], size=done["size"])
            if known := self._layers.get(layer.diff_id):  # its other compression came meanwhile
                return known
            file.rename(self.blob(layer.digest))
            self._write(folder / "layer" / "layer.json", msgspec.json.encode(layer))
            (folder / "layer").rename(self._layer_folder(layer.diff_id))
            self._layers[layer.diff_id] = layer
        return layer

    def add_image(self, config: bytes, manifest: bytes | None, *names: Reference, parent: str = "") -> Image:
        """Records an image whose layers are all there, and names it. Raises Internal."""
        image = read_config(config)
        record = Record(id=image.id, manifest=digest_of(manifest) if manifest else "", parent=parent)
        known = self._records.get(image.id)
        if known is None or (manifest and not known.manifest):
            try:
                self._write(self.blob(image.id), config)
                if manifest:
                    self._write(self.blob(record.manifest), manifest)
                self._write(self._root / "images" / f"{image.id[7:]}.json", msgspec.json.encode(record))
            except OSError as error:
                raise self._failure(error) from error
            self._records[image.id] = record
            self._images[image.id] = self._named(self._complete(image, record))
        self.tag(image.id, *names)
        return self._images[image.id]

    def _complete(self, image: Image, record: Record) -> Image:
        layers = [self._layers[diff_id] for diff_id in image.diff_ids]
        return msgspec.structs.replace(
            image,
            parent=record.parent,
            size=sum(layer.size for layer in layers),
            layer_sizes=tuple(layer.size for layer in layers),
            layers=tuple(str(self._layer_folder(layer.diff_id) / "diff") for layer in layers),
        )

    # -- going --------------------------------------------------------------------------------------------------------

    async def delete(self, id_: str) -> list[str]:
        """The image, its names, and what of it no other image has; answers the diff ids of the layers that went."""
        self._write_names({name: found for name, found in self._names.items() if found != id_})
        (self._root / "images" / f"{id_[7:]}.json").unlink(missing_ok=True)
        del self._images[id_], self._records[id_]
        return await self.collect()

    async def collect(self) -> list[str]:
        """Takes away what no image and no work under way needs; answers the diff ids of layers."""
        trash = Path(tempfile.mkdtemp(dir=self._root / "staging"))
        layers, blobs = self._needed()
        gone = [diff_id for diff_id in self._layers if diff_id not in layers]
        for diff_id in gone:
            del self._layers[diff_id]
            self._layer_folder(diff_id).rename(trash / diff_id[7:])
        for path in (self._root / "blobs").iterdir():
            if path.name not in blobs:
                path.rename(trash / f"blob-{path.name}")
        await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)
        return gone

    def _needed(self) -> tuple[set[str], set[str]]:
        """Diff ids of layers and file names of blobs that an image, or work under way, counts on."""
        layers = {diff_id for image in self._images.values() for diff_id in image.diff_ids} | set(self._held)
        digests = {self._layers[diff_id].digest for diff_id in layers if diff_id in self._layers}
        for record in self._records.values():
            digests |= {record.id, record.manifest}
        return layers, {digest[7:] for digest in digests}

    # -- files --------------------------------------------------------------------------------------------------------

    def _layer_folder(self, diff_id: str) -> Path:
        return self._root / "layers" / diff_id.removeprefix("sha256:")

    def _read(self) -> None:
        for folder in (self._root / "layers").iterdir():
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
                layer = msgspec.json.decode((folder / "layer.json").read_bytes(), type=Layer)
                self._layers[layer.diff_id] = layer
        for path in (self._root / "images").iterdir():
            try:
                record = msgspec.json.decode(path.read_bytes(), type=Record)
                image = self._complete(read_config(self.blob(record.id).read_bytes()), record)
            except (FileNotFoundError, KeyError, LinkspanError, msgspec.MsgspecError):
                continue  # somebody has taken away what it names: it is no image any more, and swept
            self._records[record.id], self._images[record.id] = record, image
        with contextlib.suppress(FileNotFoundError):
            try:
                names = msgspec.json.decode((self._root / "names.json").read_bytes(), type=dict[str, str])
            except msgspec.MsgspecError as error:
                raise Internal(f"{self._root / 'names.json'} cannot be read: {error}") from None
            self._names = {name: id_ for name, id_ in names.items() if id_ in self._images}
        self._images = {id_: self._named(image) for id_, image in self._images.items()}

    def _sweep(self) -> None:
        """What work that was cut short has left: nothing of it is named by an image."""
        layers, blobs = self._needed()
        keep = {diff_id[7:] for diff_id in layers}
        folders = {
            "staging": set[str](),
            "layers": keep,
            "blobs": blobs,
            "images": {f"{id_[7:]}.json" for id_ in self._images},
        }
        for name, kept in folders.items():
            for path in (self._root / name).iterdir():
                if path.name in kept:
                    continue
                if path.is_dir():
                    _remove_tree(path)
                else:
                    path.unlink(missing_ok=True)
        self._layers = {diff_id: layer for diff_id, layer in self._layers.items() if diff_id in layers}

    def _write(self, path: Path, content: bytes) -> None:
        """The file is there whole, or not at all."""
        temporary = self._root / "staging" / f"{path.name}.{os.getpid()}.new"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> LinkspanError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Internal(f"write {self._root}: no space left on device")
        return Internal(f"the images in {self._root} cannot be written: {error.filename or ''}: {error.strerror}")


def with_tag(reference: Reference, tag: str) -> Reference:
    """Docker's `tag` parameter: a tag, or a digest."""
    if not tag:
        return reference
    if tag.startswith("sha256:"):
        return parse_reference(f"{reference.repository}@{tag}")
    return dataclasses.replace(reference, tag=parse_reference(f"x:{tag}").tag, digest="")


def _remove_tree(folder: Path) -> None:
    """What a killed daemon took along may be about to end only now, and put one more file there."""
    deadline = time.monotonic() + _ENDING
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)
