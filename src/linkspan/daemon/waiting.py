"""Who waits for a container's end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from linkspan.errors import InvalidArgument

CONDITIONS = ("not-running", "next-exit", "removed")
Answer = asyncio.Future[tuple[int, str]]


class Waiting:
    """`docker wait` and its kin: registered at once, answered with (exit status, error text)."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[str, Answer]]] = {}

    def register(self, container_id: str, condition: str) -> Awaitable[tuple[int, str]]:
        """Raises InvalidArgument for a condition that there is not. Whoever does not wait any more is forgotten."""
        if condition not in CONDITIONS:
            raise InvalidArgument(f"invalid condition: {condition!r}")
        future: Answer = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(container_id, []).append((condition, future))
        future.add_done_callback(lambda _: self._forget(container_id, future))
        return future

    def take(self, container_id: str) -> list[Answer]:
        """Those who wait for the end that has just been recorded: whoever asks from now on means the next one."""
        return self._take(container_id, ("not-running", "next-exit"))

    def ended(self, container_id: str, code: int, error: str = "") -> None:
        answer(self.take(container_id), code, error)

    def removed(self, container_id: str, code: int, error: str = "") -> None:
        answer(self._take(container_id, CONDITIONS), code, error)

    def _take(self, container_id: str, conditions: tuple[str, ...]) -> list[Answer]:
        waiting = self._waiting.pop(container_id, [])
        if kept := [entry for entry in waiting if entry[0] not in conditions]:
            self._waiting[container_id] = kept
        return [future for condition, future in waiting if condition in conditions]

    def _forget(self, container_id: str, future: Answer) -> None:
        kept = [entry for entry in self._waiting.pop(container_id, []) if entry[1] is not future]
        if kept:
            self._waiting[container_id] = kept


def answer(futures: Iterable[Answer], code: int, error: str = "") -> None:
    for future in futures:
        if not future.done():
            future.set_result((code, error))
