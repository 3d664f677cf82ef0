"""`--volume`, `--mount`, `--tmpfs`, `--device`: what of the host's a container sees."""

# ruff: noqa: PTH100, PTH111
# os.path throughout: pathlib takes longer to import than the command takes to run.

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from linkspan.cli.flags import is_true
from linkspan.cli.quantities import fields, size


def volumes(items: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """HostConfig's Binds, and Config's Volumes: the anonymous ones."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for item in items:
        source, colon, rest = item.partition(":")
        if not colon:
            anonymous[item] = {}
            continue
        if source.startswith("."):
            source = os.path.abspath(source)
        elif source.startswith("~"):
            source = os.path.expanduser(source)
        bind = f"{source}:{rest}"
        if bind not in binds:
            binds.append(bind)
    return binds, anonymous


def tmpfs(items: Iterable[str]) -> dict[str, str]:
    """`/run:size=64m,mode=1777` by path."""
    return {path: options for path, _, options in (item.partition(":") for item in items)}


def device(item: str) -> dict[str, str]:
    """`/dev/x[:/dev/y][:rwm]`."""
    parts = item.split(":")
    path, inside, permissions = parts[0], "", "rwm"
    if len(parts) > 3 or not path:
        raise ValueError(f"invalid device specification: {item}")
    if len(parts) == 3:
        inside, permissions = parts[1], parts[2]
    elif len(parts) == 2:
        if _is_device_mode(parts[1]):
            permissions = parts[1]
        else:
            inside = parts[1]
    return {"PathOnHost": path, "PathInContainer": inside or path, "CgroupPermissions": permissions}


def _is_device_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def mount(item: str) -> dict[str, Any]:
    """`type=bind,source=…,target=…,readonly` as the API's Mount. Raises ValueError in Docker's words."""
    result: dict[str, Any] = {"Type": "volume"}
    options: dict[str, dict[str, Any]] = {"Bind": {}, "Volume": {}, "Tmpfs": {}, "Image": {}}
    for field in fields(item):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals:
            if key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive"):
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        _set(result, options, key, value, field)
    kind = result["Type"]
    if not kind:
        raise ValueError("type is required")
    if not result.get("Target"):
        raise ValueError("target is required")
    for name, wanted in (("Bind", "bind"), ("Volume", "volume"), ("Tmpfs", "tmpfs"), ("Image", "image")):
        if options[name]:
            if kind != wanted:
                raise ValueError(f"cannot mix '{wanted}-*' options with mount type '{kind}'")
            result[f"{name}Options"] = options[name]
    return result


def _set(result: dict[str, Any], options: dict[str, dict[str, Any]], key: str, value: str, field: str) -> None:
    volume = options["Volume"]
    match key:
        case "type":
            result["Type"] = value.lower()
        case "source" | "src":
            result["Source"] = os.path.abspath(value) if value.startswith(".") else value
        case "target" | "dst" | "destination":
            result["Target"] = value
        case "readonly" | "ro":
            result["ReadOnly"] = _bool(key, value)
        case "consistency":
            result["Consistency"] = value.lower()
        case "bind-propagation":
            options["Bind"]["Propagation"] = value.lower()
        case "bind-nonrecursive":
            options["Bind"]["NonRecursive"] = _bool(key, value)
        case "bind-recursive":
            _recursive(options["Bind"], value)
        case "volume-nocopy":
            volume["NoCopy"] = _bool(key, value)
        case "volume-subpath":
            volume["Subpath"] = value
        case "volume-label":
            name, _, text = value.partition("=")
            volume.setdefault("Labels", {})[name] = text
        case "volume-driver":
            volume.setdefault("DriverConfig", {})["Name"] = value
        case "volume-opt":
            name, _, text = value.partition("=")
            volume.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = text
        case "image-subpath":
            options["Image"]["Subpath"] = value
        case "tmpfs-size":
            try:
                options["Tmpfs"]["SizeBytes"] = size(value)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case "tmpfs-mode":
            try:
                options["Tmpfs"]["Mode"] = int(value, 8)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case _:
            raise ValueError(f"unexpected key '{key}' in '{field}'")


def _recursive(bind: dict[str, Any], value: str) -> None:
    match value:
        case "enabled":
            pass
        case "disabled":
            bind["NonRecursive"] = True
        case "writable":
            bind["ReadOnlyNonRecursive"] = True
        case "readonly":
            bind["ReadOnlyForceRecursive"] = True
        case _:
            raise ValueError(
                f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )


def _bool(key: str, value: str) -> bool:
    try:
        return is_true(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None
