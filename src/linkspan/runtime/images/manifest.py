"""Manifests and configs: the JSON of OCI and Docker images, as far as it is read."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from linkspan.errors import Internal, InvalidArgument, NotFound
from linkspan.model.image import HistoryEntry, Image, ImageConfig

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_PLAIN = "application/vnd.docker.image.rootfs.diff.tar"
ACCEPTED = ", ".join((DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_LIST, OCI_INDEX))
_MOST_LAYERS = 500  # overlayfs takes no more


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A blob: `size` in bytes, `digest` sha256:…"""

    media_type: str = ""
    digest: str
    size: int = 0
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An image (`config`, `layers` lowest first), or a list of images for several platforms (`manifests`)."""

    schema_version: int = 0
    media_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] | None = None

    @property
    def kind(self) -> str:
        """Its media type; OCI's need not say it."""
        return self.media_type or (OCI_INDEX if self.manifests is not None else OCI_MANIFEST)


class _RootFs(msgspec.Struct, frozen=True, kw_only=True):
    diff_ids: tuple[str, ...] | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    created: str | None = None
    author: str = ""
    architecture: str = ""
    os: str = ""
    comment: str = ""
    container: str = ""
    container_config: msgspec.Raw = msgspec.Raw()
    config: ImageConfig | None = None
    history: tuple[HistoryEntry, ...] | None = None
    rootfs: _RootFs = _RootFs()


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def parse_manifest(raw: bytes, name: str) -> Manifest:
    """Raises Internal where a registry's manifest cannot be used: not JSON, or of the schema 1 that nobody writes."""
    try:
        found = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Internal(f"the manifest of {name} cannot be read: {error}") from None
    if found.manifests is None and found.config is None:
        raise Internal(f"the manifest of {name} is of schema {found.schema_version}, which is no longer supported")
    for blob in (*found.layers, *(found.manifests or ()), *([found.config] if found.config else [])):
        check_digest(blob.digest)
    return found


def check_digest(digest: str) -> None:
    """Digests name files: they must be what they seem. Raises InvalidArgument."""
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise InvalidArgument(f"invalid digest {digest!r}: sha256 with 64 hexadecimal digits is needed")


# Where a platform is one word, it is one of these, or "linux".
_ARCHITECTURES = ("386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x")
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}


def parse_platform(text: str) -> Platform:
    """`linux/arm64/v8`; empty is linux/amd64. Raises InvalidArgument."""
    os, _, rest = (text or "linux/amd64").lower().partition("/")
    architecture, _, variant = rest.partition("/")
    if not rest:
        os, architecture = "linux", os if os != "linux" else "amd64"
        if architecture not in _ARCHITECTURES and architecture not in _ALIASES:
            raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
    if os != "linux":
        raise InvalidArgument(f'"{text}" is not supported: this engine runs linux containers')
    return Platform(os=os, architecture=_ALIASES.get(architecture, architecture), variant=variant)


def check_platform(image: Image, platform: str, name: str) -> None:
    """Raises NotFound in Docker's words where an image is not for the platform asked for; "" asks for none."""
    wanted = parse_platform(platform)
    if platform and (image.os, image.architecture) != (wanted.os, wanted.architecture):
        raise NotFound(
            f"image with reference {name} was found but its platform ({image.os}/{image.architecture}) does not match "
            f"the specified platform ({platform})"
        )


def choose(manifests: tuple[Descriptor, ...], wanted: Platform, name: str) -> Descriptor:
    """The entry of a list for a platform. Raises NotFound in Docker's words."""
    for entry in manifests:
        found = entry.platform or Platform()
        same = (found.os, found.architecture) == (wanted.os, wanted.architecture)
        if same and wanted.variant in ("", found.variant):
            return entry
    text = "/".join(filter(None, (wanted.os, wanted.architecture, wanted.variant)))
    raise NotFound(f"no matching manifest for {text} in the manifest list entries of {name}")


def read_config(raw: bytes) -> Image:
    """An image as its config describes it; size, layers and names are the store's to add. Raises InvalidArgument."""
    try:
        found = msgspec.json.decode(raw, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the config of the image cannot be read: {error}") from None
    diff_ids = found.rootfs.diff_ids or ()
    if len(diff_ids) > _MOST_LAYERS:
        raise InvalidArgument(f"the image has {len(diff_ids)} layers; the kernel's overlay takes {_MOST_LAYERS}")
    for diff_id in diff_ids:
        check_digest(diff_id)
    return Image(
        id=digest_of(raw),
        created=found.created or "",
        architecture=found.architecture or "amd64",
        os=found.os or "linux",
        author=found.author,
        comment=found.comment,
        container=found.container,
        container_config=found.container_config,
        config=found.config or ImageConfig(),
        diff_ids=diff_ids,
        history=found.history or (),
    )


def encode(document: dict[str, Any] | Manifest) -> bytes:
    return msgspec.json.encode(document)
