"""`--change` of `import` and `commit`: lines of a Dockerfile that say what a container takes for granted (pure)."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from linkspan.errors import InvalidArgument
from linkspan.model.duration import parse_span
from linkspan.model.port import parse_container_ports

_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply_changes(changes: Sequence[str], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An image's config as JSON, changed by Dockerfile lines. Raises InvalidArgument."""
    config: dict[str, Any] = {key: value for key, value in (before or {}).items() if value is not None}
    for change in _lines(changes):
        verb, _, rest = change.partition(" ")
        rest = rest.strip()
        if not rest:
            raise InvalidArgument(f"{verb.upper()} requires at least one argument")
        match verb.upper():
            case "CMD":
                config["Cmd"] = _command(rest)
            case "ENTRYPOINT":
                config["Entrypoint"] = _command(rest)
            case "ENV":
                env = {entry.partition("=")[0]: entry for entry in config.get("Env", ())}
                env |= {name: f"{name}={value}" for name, value in _pairs(rest, change)}
                config["Env"] = list(env.values())
            case "LABEL":
                config["Labels"] = {**config.get("Labels", {}), **dict(_pairs(rest, change))}
            case "EXPOSE":
                found = [port for text in rest.split() for port in parse_container_ports(text)]
                ports: dict[str, Any] = {str(port): {} for port in found}
                config["ExposedPorts"] = {**config.get("ExposedPorts", {}), **ports}
            case "VOLUME":
                paths = _list(rest) or rest.split()
                config["Volumes"] = {**config.get("Volumes", {}), **{path: {} for path in paths}}
            case "USER":
                config["User"] = rest
            case "WORKDIR":
                config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir", ""), rest))
            case "STOPSIGNAL":
                config["StopSignal"] = rest
            case "ONBUILD":
                config["OnBuild"] = [*config.get("OnBuild", ()), rest]
            case "HEALTHCHECK":
                config["Healthcheck"] = _healthcheck(rest, change)
            case _:
                raise InvalidArgument(f"{verb} is not a valid change command")
    return config


def _lines(changes: Sequence[str]) -> list[str]:
    """They are a Dockerfile together: one text may have several lines, and a backslash joins two."""
    text = re.sub(r"\\[ \t]*\n", "", "\n".join(changes))
    stripped = [line.strip() for line in text.splitlines()]
    return [line for line in stripped if line and not line.startswith("#")]


def _command(text: str) -> list[str]:
    return _list(text) or ["/bin/sh", "-c", text]


def _list(text: str) -> list[str]:
    """The exec form, a JSON array; [] where it is not one."""
    if text.startswith("["):
        try:
            return [str(part) for part in json.loads(text)]
        except ValueError:
            pass
    return []


def _pairs(text: str, change: str) -> list[tuple[str, str]]:
    if "=" not in text.split(" ")[0]:
        name, _, value = text.partition(" ")
        return [(name, value)]
    try:
        parts = [part.partition("=") for part in shlex.split(text)]
    except ValueError as error:
        raise InvalidArgument(f"invalid change {change!r}: {error}") from None
    return [(name, value) for name, _, value in parts]


def _healthcheck(text: str, change: str) -> dict[str, Any]:
    check: dict[str, Any] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option.removeprefix("--").partition("=")
        text = text.strip()
        span = parse_span(value) if name in _TIMES else None
        if span is not None:
            check[_TIMES[name]] = int(span * 1_000_000_000)
        elif name == "retries" and value.isdecimal():
            check["Retries"] = int(value)
        else:
            raise InvalidArgument(f"invalid change {change!r}: {option} is no option of HEALTHCHECK")
    kind, _, rest = text.partition(" ")
    match kind.upper():
        case "NONE" if not rest and not check:
            return {"Test": ["NONE"]}
        case "CMD" if rest.strip():
            words = _list(rest.strip())
            return {"Test": ["CMD", *words] if words else ["CMD-SHELL", rest.strip()], **check}
    raise InvalidArgument(f"invalid change {change!r}: HEALTHCHECK takes NONE, or CMD and a command")
