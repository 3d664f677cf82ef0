"""Telling the neighbours of a container that has come where its address is now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from linkspan.daemon.programmer import Programmer
from linkspan.engine.announce import Announcement, announcements
from linkspan.errors import LinkspanError
from linkspan.model.snapshot import Snapshot

log = logging.getLogger(__name__)


class Announcing:
    """`run` lets a coroutine run beside everything else: nobody waits for an announcement."""

    def __init__(
        self,
        programmer: Programmer,
        run: Callable[[Coroutine[Any, Any, None]], object],
        there: Callable[[str], bool] = lambda endpoint: True,
    ) -> None:
        """`there` says whether an endpoint is still in the records."""
        self._programmer, self._run, self._there = programmer, run, there

    def follow(self, before: Snapshot, after: Snapshot, containers: Iterable[str]) -> None:
        for announcement in announcements(before, after, containers):
            self._run(self._announce(announcement))

    async def _announce(self, wanted: Announcement) -> None:
        for number in range(wanted.times):
            if number:
                await asyncio.sleep(wanted.pause)
            if wanted.endpoint and not self._there(wanted.endpoint):
                return  # the address may be another host's by now
            try:
                await self._programmer.run(
                    lambda kernel: kernel.announce(wanted.namespace, wanted.interface, wanted.addresses)
                )
            except LinkspanError as error:  # most likely the container is gone
                log.debug("no more announcements of %s: %s", ", ".join(wanted.addresses), error)
                return
