"""Which of a network's bridges an endpoint is on.

The kernel gives a bridge 1,024 ports, walks over all of them whenever one is added, and loses frames to all where they
are more than its queue holds. So a network with many endpoints has several bridges in a row, of which the first is the
one that everybody knows (docs/decisions/many-endpoints.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

PORTS = 500  # of each bridge, besides those to the one before and the one after


def choose_segment(sizes: Mapping[int, int]) -> int:
    """The first bridge that has room; `sizes` are the endpoints on each."""
    return next(number for number in count() if sizes.get(number, 0) < PORTS)
