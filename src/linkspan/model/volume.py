"""Volumes: directories that outlive containers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.model.wire import Wire


class Volume(Wire, frozen=True, kw_only=True):
    """A volume's record; `anonymous` ones are made for an image's VOLUME and pruned first."""

    name: str
    created: str  # RFC 3339
    mountpoint: str
    driver: str = "local"
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    options: Mapping[str, str] = msgspec.field(default_factory=dict)
    anonymous: bool = False
