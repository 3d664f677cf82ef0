"""What the rest of the daemon needs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from linkspan.errors import Conflict
from linkspan.model.snapshot import Snapshot, Write


class Overtaken(Conflict):
    """Another host was quicker: what was decided does not hold any more. Decide anew once `revision` is known here: of
    the endpoints on a network, or of what all hosts follow where that is ""."""

    def __init__(self, message: str, revision: int, network_id: str = "") -> None:
        super().__init__(message)
        self.revision, self.network_id = revision, network_id


class Unfollowed(Overtaken):
    """It was decided without knowing who is on a network. Decide anew once this host follows it."""

    def __init__(self, network_id: str) -> None:
        super().__init__("who is on the network is not yet known here", 0, network_id)


class Publishing(Protocol):
    async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
        """Makes what the writes change known to the other hosts, before anything follows from it here.

        Raises Overtaken, and Unavailable where the store cannot be reached and something new is claimed.
        """

    def withdraw(self) -> None:
        """What was published did not come about: soon, what is published is made as the records say."""

    async def follow(self, network_id: str) -> None:
        """Returns once the records say who is on a network, and are kept so. Raises Unavailable."""

    async def caught_up(self, revision: int, network_id: str = "") -> None:
        """Returns once the records say what the store said at a revision of the endpoints on a network, or of what all
        hosts follow; or after a moment."""
