"""What happened: kept for a while, and told to who listens."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

import msgspec

from linkspan.model.event import Event

KEPT = 256  # as many as dockerd keeps
_BACKLOG = 4096  # a listener that is further behind than that has gone


class Events:
    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._past: deque[Event] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._followers: list[Callable[[Event], None]] = []

    def publish(self, event: Event) -> None:
        stamped = msgspec.structs.replace(event, time=self._clock())
        self._past.append(stamped)
        for follower in self._followers:
            follower(stamped)
        for queue in tuple(self._listeners):
            if queue.qsize() < _BACKLOG:
                queue.put_nowait(stamped)
            else:
                self._listeners.discard(queue)

    def follow(self, follower: Callable[[Event], None]) -> None:
        """Calls a part of the daemon with each event from now on, at once."""
        self._followers.append(follower)

    async def listen(self, since: float, until: float, wanted: Callable[[Event], bool]) -> AsyncGenerator[Event, None]:
        """Kept events from `since` on (seconds; 0 is none of them), then new ones until `until` (0 is for ever)."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        past = [event for event in self._past if since and event.time >= since * 1e9]
        self._listeners.add(queue)
        try:
            for event in past:
                if wanted(event) and not (until and event.time > until * 1e9):
                    yield event
            while queue in self._listeners:
                left = until - self._clock() / 1e9 if until else None
                if left is not None and left <= 0:
                    return
                try:
                    event = await asyncio.wait_for(queue.get(), left)
                except TimeoutError:
                    return
                if wanted(event):
                    yield event
        finally:
            self._listeners.discard(queue)
