"""Who waits for a container's end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from linkspan.errors import InvalidArgument

CONDITIONS = ("not-running", "next-exit", "removed")


class Waiting:
    """`docker wait` and its kin: registered at once, answered with (exit status, error text)."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[str, asyncio.Future[tuple[int, str]]]]] = {}

    def register(self, container_id: str, condition: str) -> Awaitable[tuple[int, str]]:
        """Raises InvalidArgument for a condition that there is not."""
        if condition not in CONDITIONS:
            raise InvalidArgument(f"invalid condition: {condition!r}")
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(container_id, []).append((condition, future))
        return future

    def ended(self, container_id: str, code: int, error: str = "") -> None:
        self._answer(container_id, ("not-running", "next-exit"), code, error)

    def removed(self, container_id: str, code: int, error: str = "") -> None:
        self._answer(container_id, CONDITIONS, code, error)
        self._waiting.pop(container_id, None)

    def _answer(self, container_id: str, conditions: tuple[str, ...], code: int, error: str) -> None:
        kept = []
        for condition, future in self._waiting.pop(container_id, ()):
            if condition not in conditions:
                kept.append((condition, future))
            elif not future.done():
                future.set_result((code, error))
        if kept:
            self._waiting[container_id] = kept
