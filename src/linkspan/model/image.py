"""What an image says of itself, and how images are named."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.model.health import Healthcheck
from linkspan.model.wire import Wire


class ImageConfig(Wire, frozen=True, kw_only=True):
    """The `config` of an OCI or Docker image: what a container takes where its creator says nothing."""

    user: str = ""
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    working_dir: str = ""
    labels: Mapping[str, str] | None = None
    exposed_ports: Mapping[str, object] | None = None
    volumes: Mapping[str, object] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] | None = None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an image's history, in the OCI config's form."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class Image(Wire, frozen=True, kw_only=True):
    """An image in the store. `id` is `sha256:<64 hex>` of its config."""

    id: str
    tags: tuple[str, ...] = ()  # familiar form: mysql:latest, localhost:5000/a/b:1
    digests: tuple[str, ...] = ()  # mysql@sha256:…
    created: str = ""
    architecture: str = "amd64"
    os: str = "linux"
    author: str = ""
    size: int = 0  # bytes, all layers unpacked
    config: ImageConfig = ImageConfig()
    diff_ids: tuple[str, ...] = ()  # sha256:… of each layer's tar, lowest first
    layers: tuple[str, ...] = ()  # directories of the unpacked layers, lowest first
    layer_sizes: tuple[int, ...] = ()  # bytes of each
    history: tuple[HistoryEntry, ...] = ()
    parent: str = ""  # the id of the image that it was made from by `docker commit`
    comment: str = ""
    container: str = ""  # the container that it was made from, and how that was configured: Docker's JSON as it came
    container_config: msgspec.Raw = msgspec.Raw()
