"""Sets of processors or memory nodes as the kernel writes them: `0-2,7`."""

from __future__ import annotations

from linkspan.errors import InvalidArgument

_MOST = 8192  # processors that the kernel can be built for


def parse_numbers(text: str, what: str = "cpus") -> frozenset[int]:
    """Raises InvalidArgument with Docker's words; `what` is cpus or mems."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 5 and int(end) < _MOST for end in ends):
            raise InvalidArgument(f"Invalid value {text} for cpuset {what}")
        if int(ends[0]) > int(ends[1]):
            raise InvalidArgument(f"Invalid value {text} for cpuset {what}")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(found)


def write_numbers(found: frozenset[int]) -> str:
    """The reverse, in its shortest form."""
    ranges: list[list[int]] = []
    for number in sorted(found):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)
