"""What happened, in the form in which clients of /events read it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is container, network, image or volume; `action` Docker's verb (`start`, `die`, `exec_create: sh`)."""

    kind: str
    action: str
    id: str
    attributes: Mapping[str, str] = msgspec.field(default_factory=dict)
    time: int = 0  # nanoseconds since the epoch; the daemon stamps it
