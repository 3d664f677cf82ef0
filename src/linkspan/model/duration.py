"""Spans of time as Go writes and reads them: `1h30m`, `90s`, `1.5h`, `700ms`."""

from __future__ import annotations

import re

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)", re.ASCII)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def parse_span(text: str) -> float | None:
    """In seconds; None where it is not one."""
    total, at = 0.0, 0
    for match in _SPAN.finditer(text):
        if match.start() != at:
            return None
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    return total if at == len(text) and at else None


def span_text(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return (f"{hours:.0f}h" if hours else "") + (f"{minutes:.0f}m" if hours or minutes else "") + f"{rest:g}s"
