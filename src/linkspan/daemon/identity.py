"""Randomness and the clock, which those who decide are given rather than take."""

from __future__ import annotations

import datetime
import secrets
import time
import uuid
from pathlib import Path


def new_id() -> str:
    """64 hexadecimal digits. Never all digits in the first twelve: such a short id could be read as a number."""
    while (id_ := secrets.token_hex(32))[:12].isdigit():
        pass
    return id_


def now() -> str:
    """RFC 3339 in UTC, with nanoseconds, as Docker writes times."""
    return timestamp(time.time_ns())


def seconds_since(stamp: str) -> float:
    """Since a time as `now` writes it; never negative."""
    moment = datetime.datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00")
    return max(0.0, time.time() - moment.timestamp())


def timestamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def engine_id(data_root: Path) -> str:
    """What this engine is known by, for as long as its data is kept: what it derives from it stays the same too."""
    path = data_root / "engine-id"
    try:
        if known := path.read_text().strip():
            return known
    except FileNotFoundError:
        pass
    made = str(uuid.uuid4())
    path.write_text(made + "\n")
    return made
