"""Signals by name, as clients send them."""

from __future__ import annotations

import signal as signals

from linkspan.errors import InvalidArgument
from linkspan.model.container import Container


def stop_signal(container: Container) -> int:
    return parse_signal(container.config.stop_signal) if container.config.stop_signal else int(signals.SIGTERM)


def parse_signal(text: str) -> int:
    """KILL, SIGKILL, sigkill or 9. Raises InvalidArgument with Docker's words."""
    if text.isdigit() and 1 <= int(text) <= 64:
        return int(text)
    name = text.upper().removeprefix("SIG")
    if name.startswith(("RTMIN", "RTMAX")):
        base, _, offset = name.partition("+" if name.startswith("RTMIN") else "-")
        start = int(getattr(signals, "SIG" + base, 0))
        shift = int(offset) if offset.isdigit() else 0
        number = start + shift if base == "RTMIN" else start - shift
        if signals.SIGRTMIN <= number <= signals.SIGRTMAX:
            return number
    elif isinstance(found := getattr(signals, "SIG" + name, None), signals.Signals):
        return int(found)
    raise InvalidArgument(f"invalid signal: {text}")
