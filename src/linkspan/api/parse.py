"""Bodies and query values into model types. Only InvalidArgument comes out."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from linkspan.api.http import Request
from linkspan.api.names import folded
from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, EndpointSettings, HostConfig
from linkspan.model.port import parse_container_ports, parse_port_request

T = TypeVar("T")

# Objects whose keys are the user's: a null in them is a value. Anywhere else a null means "as if absent", as in Go.
_FREE_KEYS = frozenset(
    ("PortBindings", "ExposedPorts", "Volumes", "EndpointsConfig", "Labels", "DriverOpts", "Options", "Sysctls")
)
_ONE_OR_MANY = ("Cmd", "Entrypoint", "Shell")
_KEY_EXPECTED = re.compile(r"object keys must be strings \(byte (\d+)\)")
DEPTH_LIMIT = 64  # of nested JSON


async def read_object(request: Request, *, empty: str = "") -> dict[str, Any]:
    """The body as a JSON object, without meaningless nulls. An absent body is {}, or an error with the text `empty`."""
    return decode_object(await request.body.read(), request.headers.get("content-type", ""), empty=empty)


def decode_object(body: bytes, content_type: str, *, empty: str = "") -> dict[str, Any]:
    if not body.strip():
        if empty:
            raise InvalidArgument(empty)
        return {}
    media = content_type.partition(";")[0].strip().lower()
    if media and media != "application/json":
        raise InvalidArgument(f"unsupported Content-Type header ({media}): must be 'application/json'")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(_malformed(str(error), body)) from None
    if value is None and empty:
        raise InvalidArgument(empty)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument("invalid JSON: an object is needed")
    cleaned = _without_nulls(value, 0)
    assert isinstance(cleaned, dict)
    return cleaned


def _malformed(error: str, body: bytes) -> str:
    """In Docker's words, where they are known."""
    if "trailing characters" in error:
        return "unexpected content after JSON"
    if (found := _KEY_EXPECTED.search(error)) and (at := int(found[1])) < len(body):
        character = body[at : at + 1].decode("ascii", "replace")
        return f"invalid JSON: invalid character '{character}' looking for beginning of object key string"
    return f"invalid JSON: {error}"


def convert(value: object, type_: type[T]) -> T:
    try:
        return msgspec.convert(folded(value, type_), type_)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"invalid request: {error}") from None


def parse_create(body: dict[str, Any]) -> tuple[Config, HostConfig, dict[str, EndpointSettings]]:
    """The body of `POST /containers/create`; networks by the name the user typed. Ports are checked here.

    `default` is Docker's alias of the default bridge network, and leaves here under that name.
    """
    for key in _ONE_OR_MANY:
        if isinstance(body.get(key), str):
            body[key] = [body[key]]
    host = body.pop("HostConfig", {})
    networking = body.pop("NetworkingConfig", {})
    if not isinstance(host, dict) or not isinstance(networking, dict):
        raise InvalidArgument("invalid request: HostConfig and NetworkingConfig are objects")
    if host.get("NetworkMode", "") in ("", "default"):
        host["NetworkMode"] = "bridge"
    config = convert(body, Config)
    if not config.image:
        raise InvalidArgument("config: an image is needed to create a container")
    host_config = convert(host, HostConfig)
    for port in config.exposed_ports or ():
        parse_container_ports(port)
    for port, bindings in (host_config.port_bindings or {}).items():
        for binding in bindings or ():
            parse_port_request(port, binding.host_ip, binding.host_port)
        if not bindings:
            parse_container_ports(port)
    return config, host_config, parse_endpoints(networking.get("EndpointsConfig"))


def parse_endpoints(value: object) -> dict[str, EndpointSettings]:
    endpoints = convert(value or {}, dict[str, EndpointSettings | None])
    return {("bridge" if k == "default" else k): v or EndpointSettings() for k, v in endpoints.items()}


def parse_filters(text: str) -> dict[str, list[str]]:
    """`filters=`: {"key": {"value": true}}, or the older {"key": ["value"]}."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidArgument(f"invalid filter: {text[:200]!r} is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidArgument("invalid filter: an object is needed")
    filters: dict[str, list[str]] = {}
    for key, values in value.items():
        if isinstance(values, dict):
            filters[key] = [name for name, on in values.items() if on]
        elif isinstance(values, list) and all(isinstance(one, str) for one in values):
            filters[key] = values
        else:
            raise InvalidArgument(f"invalid filter '{key}'")
    return filters


def _without_nulls(value: object, depth: int) -> object:
    if depth > DEPTH_LIMIT:
        raise InvalidArgument("invalid JSON: nested too deeply")
    if isinstance(value, dict):
        kept: dict[object, object] = {}
        for key, one in value.items():
            if key in _FREE_KEYS and isinstance(one, dict):
                kept[key] = {k: v if v is None else _without_nulls(v, depth + 1) for k, v in one.items()}
            elif one is not None:
                kept[key] = _without_nulls(one, depth + 1)
        return kept
    if isinstance(value, list):
        return [_without_nulls(one, depth + 1) for one in value]
    return value
