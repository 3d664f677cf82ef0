"""What the engine says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from linkspan.model.event import Event


class System:
    async def info(self) -> dict[str, Any]:
        """Docker's /info."""
        raise NotImplementedError

    async def version(self) -> dict[str, Any]:
        """Docker's /version, without ApiVersion and MinAPIVersion, which are the front door's."""
        raise NotImplementedError

    def events(self, *, since: float, until: float, wanted: Callable[[Event], bool]) -> AsyncIterator[Event]:
        """Past events kept since `since` (0: none of them), then new ones until `until` (0: for ever)."""
        raise NotImplementedError
