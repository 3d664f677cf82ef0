"""Work beside everything else: none of it ends unheard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)
_PAUSE = 1.0  # seconds, after what nobody expected: it may well happen again at once


class Background:
    """Tasks that last until they end, or are all ended together."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Once. What it fails of is said at once."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(say_failure)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """What goes on for as long as we do: where it fails of what nobody expected, that is said, and it begins anew.
        It must be such as can be begun at any time."""
        return self.run(_again_and_again(work))

    async def end(self) -> None:
        """Returns once none is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _again_and_again(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            return await work()
        except Exception:
            log.exception("what goes on in the background failed, and is begun anew: this is a fault of linkspan's")
            await asyncio.sleep(_PAUSE)


def say_failure(task: asyncio.Task[Any]) -> None:
    """For tasks that somebody else keeps."""
    if not task.cancelled() and (error := task.exception()):
        log.error("a task of the daemon failed", exc_info=error)
