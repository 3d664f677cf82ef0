"""Image layers and manifests from directories: an OCI layout (https://github.com/opencontainers/image-spec)."""

import gzip
import hashlib
import json
import os
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Layer:
    """A layer in the layout: digest and size of the compressed blob, digest of what is in it, and who made it."""

    digest: str
    size: int
    diff_id: str
    created_by: str


class _Digesting:
    """A file to write to that counts and digests what passes."""

    def __init__(self, below: Any) -> None:
        self._below = below
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._below.write(data)
        return len(data)

    def flush(self) -> None:
        self._below.flush()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


class Layout:
    """An OCI image layout in a folder, being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._manifests: list[dict[str, Any]] = []

    def add_layer(self, tree: Path, created_by: str, leave_out: tuple[str, ...] = ()) -> Layer:
        """Packs a directory tree, or the upper directory of an overlay mount, whose deletions become whiteouts.

        `leave_out` names paths, without a leading slash, that are left out with everything in them.
        """
        part = self._blobs / ".part"
        with part.open("wb") as file:
            packed = _Digesting(file)
            # Level 1: the registry is on this machine, and time is what a reader of the demo waits for.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=packed, mtime=0) as squeeze:
                plain = _Digesting(squeeze)
                _pack(tree, plain, leave_out)  # type: ignore[arg-type]
        part.rename(self._blobs / packed.digest.removeprefix("sha256:"))
        return Layer(packed.digest, packed.size, plain.digest, created_by)

    def add_image(
        self, name: str, tags: list[str], layers: list[Layer], config: dict[str, Any], created: str, architecture: str
    ) -> None:
        """Writes the configuration and the manifest of an image, and names it `name:tag` for each tag."""
        body = {
            "created": created,
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": created, "created_by": layer.created_by} for layer in layers],
        }
        digest, size = self._blob(body)
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size},
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": x.digest, "size": x.size}
                for x in layers
            ],
        }
        digest, size = self._blob(manifest)
        for tag in tags:
            self._manifests.append(
                {
                    "mediaType": manifest["mediaType"],
                    "digest": digest,
                    "size": size,
                    "annotations": {"org.opencontainers.image.ref.name": f"{name}:{tag}"},
                }
            )
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._manifests}))

    def _blob(self, value: dict[str, Any]) -> tuple[str, int]:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self._blobs / digest).write_bytes(data)
        return "sha256:" + digest, len(data)


def _pack(tree: Path, into: BinaryIO, leave_out: tuple[str, ...]) -> None:
    """Writes the tree as a tar stream, parents first, in an order that does not depend on the file system."""
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for folder, folders, files in os.walk(tree):
            folders.sort()
            here = os.path.relpath(folder, tree)
            inside = "" if here == "." else here + "/"
            folders[:] = [name for name in folders if inside + name not in leave_out]
            if inside and _opaque(folder):
                tar.addfile(tarfile.TarInfo(inside + ".wh..wh..opq"))
            for name in sorted(folders + files):
                path, member = Path(folder, name), inside + name
                if member in leave_out:
                    continue
                status = path.lstat()
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                    tar.addfile(tarfile.TarInfo(f"{inside}.wh.{name}"))
                    continue
                if stat.S_ISSOCK(status.st_mode):
                    continue
                info = tar.gettarinfo(path, member)
                if info.isreg():
                    with path.open("rb") as file:
                        tar.addfile(info, file)
                else:
                    tar.addfile(info)


def _opaque(folder: str) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False
