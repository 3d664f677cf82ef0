"""`docker import --change`: lines of a Dockerfile that say what a container of the image takes for granted (pure)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from linkspan.errors import InvalidArgument


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
