"""What every store promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linkspan.model.snapshot import Snapshot, Write


class Store(Protocol):
    def load(self) -> Snapshot:
        """Every record there is. Raises Internal where the store cannot be read."""

    def commit(self, writes: Sequence[Write], *, durable: bool = True) -> None:
        """All of the writes or, raising Internal, none.

        What is `durable` survives a power cut, and so does all that was committed before it; anything else survives the
        end of the process, killed or not.
        """

    def close(self) -> None: ...
