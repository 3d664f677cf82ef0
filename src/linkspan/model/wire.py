"""How a model struct gets Docker's field names."""

from __future__ import annotations

import msgspec


def docker_name(field: str) -> str:
    """`host_config` → `HostConfig`; a field whose Docker name is irregular says so with `msgspec.field(name=…)`."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_"))


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename=docker_name):
    """Base of every struct that is JSON with Docker's names. Unknown fields are ignored, as dockerd does."""
