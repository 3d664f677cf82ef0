"""Images as Docker prints them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from linkspan.api.times import seconds
from linkspan.daemon.views import ImageView
from linkspan.model.image import Image, ImageConfig


def summary(view: ImageView, version: tuple[int, int]) -> dict[str, Any]:
    """One line of `GET /images/json`."""
    image = view.image
    result: dict[str, Any] = {
        "Id": image.id,
        "ParentId": image.parent,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Created": int(_created(image.created)),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": image.config.labels or {},
        "Containers": view.containers,
    }
    if version < (1, 43) and not image.tags and not image.digests:
        result |= {"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}  # clients of then list no other
    if version < (1, 44):
        result["VirtualSize"] = image.size
    return result


def disk_usage(views: Sequence[ImageView], version: tuple[int, int]) -> dict[str, Any]:
    """The images' part of `GET /system/df`: what several share counts once in the whole."""
    layers = [dict(zip(view.image.layers, view.image.layer_sizes, strict=True)) for view in views]
    users = Counter(layer for own in layers for layer in own)
    return {
        "LayersSize": sum({layer: size for own in layers for layer, size in own.items()}.values()),
        "Images": [
            summary(view, version) | {"SharedSize": sum(size for layer, size in own.items() if users[layer] > 1)}
            for view, own in zip(views, layers, strict=True)
        ],
    }


def inspect(view: ImageView, version: tuple[int, int]) -> dict[str, Any]:
    image = view.image
    result = {
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": image.parent,
        "Comment": image.comment,
        "Created": image.created,
        "DockerVersion": "",
        "Author": image.author,
        "Config": _config(image.config),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Data": {"LowerDir": ":".join(reversed(image.layers))}, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
    }
    if version < (1, 45):
        settings = image.container_config if image.container else _config(ImageConfig())
        result |= {"Container": image.container, "ContainerConfig": settings}
    return result


def history(image: Image) -> list[dict[str, Any]]:
    """Newest first."""
    lines: list[dict[str, Any]] = []
    sizes = [*image.layer_sizes]
    for index, entry in enumerate(reversed(image.history)):
        lines.append(
            {
                "Id": image.id if index == 0 else "<missing>",
                "Created": int(_created(entry.created)),
                "CreatedBy": entry.created_by,
                "Tags": (image.tags or None) if index == 0 else None,
                "Size": sizes.pop() if sizes and not entry.empty_layer else 0,
                "Comment": entry.comment,
            }
        )
    return lines


def _config(config: ImageConfig) -> dict[str, Any]:
    result: dict[str, Any] = {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": config.env or [],
        "Cmd": config.cmd,
        "Image": "",
        "Volumes": config.volumes,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
        "OnBuild": config.on_build,
        "Labels": config.labels,
    }
    optional = {
        "ExposedPorts": config.exposed_ports,
        "Healthcheck": config.healthcheck,
        "StopSignal": config.stop_signal,
        "Shell": config.shell,
    }
    return result | {key: value for key, value in optional.items() if value}


def _created(stamp: str) -> float:
    return seconds(stamp) if stamp else 0.0
