"""Volumes as Docker prints them."""

from __future__ import annotations

from typing import Any

from linkspan.daemon.views import VolumeView


def volume(view: VolumeView) -> dict[str, Any]:
    record = view.volume
    return {
        "CreatedAt": record.created,
        "Driver": record.driver,
        "Labels": record.labels or None,
        "Mountpoint": record.mountpoint,
        "Name": record.name,
        "Options": record.options or None,
        "Scope": "local",
    }
