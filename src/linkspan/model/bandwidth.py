"""How much of a network one container may use: `rate` and `burst` as tc writes them, each way."""

from __future__ import annotations

import re

from linkspan.errors import InvalidArgument
from linkspan.model.wire import Wire

RATE, BURST = "rate", "burst"  # options of an endpoint

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z]*)", re.ASCII)
_RATES = {"": 1, "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}
_LEAST_RATE, _MOST_RATE = 8_000, 10**12
_LEAST_BURST, _MOST_BURST = 2_000, 1 << 30
# Any packet fits into it, also one that the kernel has put together from many.
_USUAL_BURST = 1 << 16


class Bandwidth(Wire, frozen=True, kw_only=True):
    """Bits a second, and the bytes that may go at once after a pause; the same each way."""

    rate: int
    burst: int


def parse_bandwidth(rate: str, burst: str = "") -> Bandwidth | None:
    """`10mbit` and `32kb`; no rate, or 0, is no limit. Without a burst: 10 ms of the rate, at least 64 KiB.

    Raises InvalidArgument.
    """
    bits = _parse(RATE, rate, _RATES, "10mbit") if rate else 0
    if not bits:
        if burst:
            raise InvalidArgument(f"invalid burst: {burst!r}: it belongs to a rate, such as rate=10mbit")
        return None
    if not _LEAST_RATE <= bits <= _MOST_RATE:
        raise InvalidArgument(f"invalid rate: {rate!r}: use 8kbit to 1tbit")
    size = _parse(BURST, burst, _SIZES, "32kb") if burst else max(bits // 800, _USUAL_BURST)
    if not _LEAST_BURST <= size <= _MOST_BURST:
        raise InvalidArgument(f"invalid burst: {burst!r}: use 2000 (what is smaller lets no whole packet pass) to 1gb")
    return Bandwidth(rate=bits - bits % 8, burst=size)


def _parse(what: str, text: str, units: dict[str, int], example: str) -> int:
    found = _NUMBER.fullmatch(text.lower())
    if not found or found[2] not in units or len(text) > 30:
        raise InvalidArgument(
            f"invalid {what}: {text[:40]!r}: use a number and {', '.join(filter(None, units))}: {example}"
        )
    return int(float(found[1]) * units[found[2]])
