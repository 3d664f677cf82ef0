"""Times, sizes and names as people read them, in the words of Docker's command."""

from __future__ import annotations

import re
import time

ID_DIGITS = 12


def ago(seconds: float) -> str:
    """`About a minute`, `2 hours`, `3 weeks`: a length of time."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def since(moment: float) -> str:
    """`2 hours ago`; "N/A" for no time at all."""
    return f"{ago(time.time() - moment)} ago" if moment > 0 else "N/A"


def moment_of(text: str) -> float:
    """RFC 3339 as seconds since 1970; 0 for Docker's zero time."""
    from datetime import datetime

    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if match is None or text.startswith("0001-"):
        return 0.0
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    return whole + float(match[2] or 0)


def local_time(moment: float) -> str:
    """`2025-01-31 12:00:00 +0100 CET`, as Go prints a local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(moment))


def size(value: float, *, digits: int = 4) -> str:
    """`1.2MB`: units of 1000, `digits` significant."""
    return _scaled(value, 1000.0, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def binary_size(value: float) -> str:
    """`1.2MiB`: units of 1024."""
    return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 4)


def _scaled(value: float, base: float, units: tuple[str, ...], digits: int) -> str:
    power = 0
    while value >= base and power < len(units) - 1:
        value, power = value / base, power + 1
    return f"{value:.{digits}g}{units[power]}"


def short_id(identity: str) -> str:
    """The 12 digits by which people call an id."""
    return identity.partition(":")[2][:ID_DIGITS] if ":" in identity else identity[:ID_DIGITS]


def ellipsis(text: str, width: int) -> str:
    """At most `width` characters, the last of them `…` where some are missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def iso_time(moment: float) -> str:
    """`2025-01-31T12:00:00+01:00`, in the local zone."""
    zone = time.strftime("%z", time.localtime(moment))
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment)) + zone
