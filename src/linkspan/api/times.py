"""Docker's time stamps, spans and ages."""

from __future__ import annotations

import datetime
import math
import re

from linkspan.errors import InvalidArgument
from linkspan.model.duration import parse_span

_STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d{1,9})?)?)?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
_NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,9})?", re.ASCII)


def seconds(stamp: str) -> float:
    """An RFC 3339 time stamp (date alone will do) as seconds since the epoch. Raises InvalidArgument."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        raise InvalidArgument(f"invalid time {stamp!r}: RFC 3339 is needed, as in 2026-01-02T15:04:05Z")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime.datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=datetime.UTC
        )
    except ValueError as error:
        raise InvalidArgument(f"invalid time {stamp!r}: {error}") from None
    offset = 0
    if zone and zone not in "Zz":
        offset = (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60) * (-1 if zone[0] == "-" else 1)
    return moment.timestamp() - offset + float(fraction or 0)


def parse_moment(text: str, now: float) -> float:
    """`since` and `until`: seconds (with a fraction), RFC 3339, or a span back from `now` (`1h30m`). "" is 0."""
    if not text:
        return 0.0
    if _NUMBER.fullmatch(text):
        return float(text)
    if (span := parse_span(text)) is not None:
        return now - span
    return seconds(text)


def age(span: float) -> str:
    """How long something took or lasts, as people say it: `About an hour`, `3 weeks`."""
    whole = max(0, int(span))
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
    hours = math.floor(span / 3600 + 0.5)
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
