"""Images as Docker prints them."""

from __future__ import annotations

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
    if version < (1, 43) and not image.tags:
        result["RepoTags"] = ["<none>:<none>"]
    if version < (1, 44):
        result["VirtualSize"] = image.size
    return result


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
    """Newest first. Sizes of single layers are not recorded: the whole stands at the newest line that made a layer."""
    lines: list[dict[str, Any]] = []
    size = image.size
    for index, entry in enumerate(reversed(image.history)):
        lines.append(
            {
                "Id": image.id if index == 0 else "<missing>",
                "Created": int(_created(entry.created)),
                "CreatedBy": entry.created_by,
                "Tags": (image.tags or None) if index == 0 else None,
                "Size": 0 if entry.empty_layer else size,
                "Comment": entry.comment,
            }
        )
        if not entry.empty_layer:
            size = 0
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
