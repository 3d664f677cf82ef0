"""Values of flags: sizes, durations, times, key=value lists. Each parser raises ValueError in Docker's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from linkspan.cli.failure import Failure

_SIZE = re.compile(r"(\d+(?:\.\d+)*) ?([kKmMgGtTpP])?[iI]?[bB]?")
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def size(text: str) -> int:
    """`512`, `64k`, `1.5g`, `10MiB` in bytes; units of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    power = " kmgtp".index((match[2] or " ").lower())
    return int(float(match[1]) * 1024**power)


def size_or_unlimited(text: str) -> int:
    """A size, or -1."""
    return -1 if text == "-1" else size(text)


def duration(text: str) -> int:
    """Go's `1h2m3.5s` in nanoseconds."""
    sign = -1 if text.startswith("-") else 1
    rest = text.lstrip("+-")
    if rest == "0":
        return 0
    total, position = 0.0, 0
    while position < len(rest):
        match = _DURATION.match(rest, position)
        if match is None:
            number = re.match(r"[\d.]+", rest[position:])
            if number is None:
                raise ValueError(f'time: invalid duration "{text}"')
            unit = re.match(r"[^\d.]+", rest[position + number.end() :])
            if unit is None:
                raise ValueError(f'time: missing unit in duration "{text}"')
            raise ValueError(f'time: unknown unit "{unit[0]}" in duration "{text}"')
        total += float(match[1]) * _NANOSECONDS[match[2]]
        position = match.end()
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * int(total)


def cpus(text: str) -> int:
    """`1.5` in billionths of a processor."""
    from fractions import Fraction

    try:
        nano = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return nano.numerator


def timestamp(text: str, now: float) -> str:
    """`--since` and `--until`: seconds, RFC 3339, or a duration before `now`; as seconds for the query."""
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return text
    try:
        before = duration(text)
    except ValueError:
        pass
    else:
        return _seconds(int(now * 10**9) - before)
    from datetime import datetime

    match = re.fullmatch(r"(\d{4}-\d\d-\d\d(?:T\d\d(?::\d\d(?::\d\d)?)?)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", text)
    if match is None:
        raise ValueError(f'failed to parse value as time or duration: "{text}"')
    whole = match[1] + {10: "T00:00:00", 13: ":00:00", 16: ":00", 19: ""}[len(match[1])]
    # Without a zone the time is the user's own.
    moment = datetime.fromisoformat(whole + (match[3] or "").replace("Z", "+00:00"))
    return f"{int(moment.timestamp())}.{(match[2] or '0').ljust(9, '0')}"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def pairs(items: Iterable[str]) -> dict[str, str]:
    """`a=b`, `c` → {"a": "b", "c": ""}."""
    result = {}
    for item in items:
        key, _, value = item.partition("=")
        result[key] = value
    return result


def label(text: str) -> str:
    name = text.partition("=")[0].strip()
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    return text


def environment_entry(text: str) -> str:
    if not text or text.startswith("="):
        raise ValueError(f"invalid environment variable: {text}")
    return text


def lines_of_file(path: str, environment: Mapping[str, str], *, kind: str) -> list[str]:
    """--env-file and --label-file: `name=value` lines. A bare name is the environment's value, if it has one."""
    from pathlib import Path

    try:
        text = Path(path).read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise Failure(f"open {path}: {(error.strerror or str(error)).lower()}") from None
    result = []
    for raw in text.splitlines():
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name:
            raise Failure(f"invalid {kind} file ({path}): no variable name on line '{line}'")
        if any(character.isspace() for character in name):
            raise Failure(f"invalid {kind} file ({path}): variable '{name}' contains whitespaces")
        if equals:
            result.append(f"{name}={value}")
        elif name in environment:
            result.append(f"{name}={environment[name]}")
        elif kind == "label":
            result.append(f"{name}=")
    return result


def filters(items: Iterable[str]) -> str | None:
    """`--filter name=value …` as the API's JSON; None without any."""
    import json

    wanted: dict[str, dict[str, bool]] = {}
    for item in items:
        name, _, value = item.partition("=")
        wanted.setdefault(name.strip().lower(), {})[value.strip()] = True
    return json.dumps(wanted) if wanted else None


def filter_entry(text: str) -> str:
    if "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    return text


def fields(text: str) -> list[str]:
    """`a=1,"b=2,3"` at its commas, as a line of a CSV file."""
    import csv

    try:
        return next(csv.reader([text]), [])
    except csv.Error as error:
        raise ValueError(f"invalid value {text!r}: {error}") from None
