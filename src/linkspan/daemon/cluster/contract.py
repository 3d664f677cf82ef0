"""What the rest of the daemon needs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linkspan.errors import Conflict
from linkspan.model.snapshot import Snapshot, Write


class Overtaken(Conflict):
    """Another host was quicker: what was decided does not hold any more. Decide anew once `revision` is known here."""

    def __init__(self, message: str, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class Publishing(Protocol):
    async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
        """Makes what the writes change known to the other hosts, before anything follows from it here.

        Raises Overtaken, and Unavailable where the store cannot be reached and something new is claimed.
        """

    def withdraw(self) -> None:
        """What was published did not come about: soon, what is published is made as the records say."""

    async def caught_up(self, revision: int) -> None:
        """Returns once the records say what the store said at a revision, or after a moment."""
