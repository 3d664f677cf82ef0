"""What every store promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linkspan.model.snapshot import Snapshot, Write


class Store(Protocol):
    def load(self) -> Snapshot:
        """Every record there is. Raises Internal where the store cannot be read."""

    def commit(self, writes: Sequence[Write]) -> None:
        """All of the writes or, raising Internal, none. Blocks until they are safe."""

    def close(self) -> None: ...
