"""Verbs that do one thing to each container named: they go on after an error, and print what succeeded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from linkspan.cli.failure import EngineError


def each(names: Iterable[str], act: Callable[[str], None], *, failed: list[str] | None = None) -> int:
    """Acts on each name; prints it when done, or the daemon's error; the exit status. `failed` gathers names."""
    status = 0
    for name in names:
        try:
            act(name)
        except EngineError as error:
            sys.stdout.flush()
            print(error, file=sys.stderr)
            status = 1
            if failed is not None:
                failed.append(name)
        else:
            print(name)
    return status
