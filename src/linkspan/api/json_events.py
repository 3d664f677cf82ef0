"""Events as Docker prints them."""

from __future__ import annotations

from typing import Any

from linkspan.api.versions import LEAN, Version
from linkspan.model.event import Event


def event(happened: Event, version: Version) -> dict[str, Any]:
    """One line of `GET /events`. The first three keys are the old form, which only containers and images have."""
    result: dict[str, Any] = {}
    if version < LEAN and happened.kind in ("container", "image"):
        result = {"status": happened.action, "id": happened.id}
        if happened.kind == "container":
            result["from"] = happened.attributes.get("image", "")
    return result | {
        "Type": happened.kind,
        "Action": happened.action,
        "Actor": {"ID": happened.id, "Attributes": happened.attributes},
        "scope": "local",
        "time": happened.time // 1_000_000_000,
        "timeNano": happened.time,
    }
