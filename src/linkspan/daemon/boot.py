"""What starts by itself when the daemon does: in order, and late where what it needs comes late."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from linkspan.containers.boot import boot_order, cannot_do_without
from linkspan.containers.lifecycle import starts_at_boot
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.errors import NotFound, NotModified, Unavailable
from linkspan.model.event import Event

log = logging.getLogger(__name__)
_PAUSE = 1.0  # seconds, before what the store could not be asked for is tried again


class Boot:
    def __init__(
        self,
        ledger: Ledger,
        lifecycle: Lifecycle,
        events: Events,
        usable: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`usable` returns once the cluster's store can be used."""
        self._ledger, self._lifecycle, self._events, self._usable = ledger, lifecycle, events, usable
        self._late: set[str] = set()  # ids of those that wait for another one to run
        self._unasked: list[str] = []  # of those that wait for the cluster's store

    async def run(self) -> None:
        """Starts what its restart policy wants running. Who needs another that does not run is started after it, when
        that runs: its owner may fail at first, or be started by hand later.

        And what is to be removed at its end goes now, where that end came while no daemon ran.
        """
        for container in boot_order(self._ledger.now):
            await self._start(container.id)
        for container in list(self._ledger.now.containers.values()):
            if container.host_config.auto_remove and container.state.status == "exited":
                try:
                    await self._lifecycle.to_its_end(self._lifecycle.remove(container.id, force=False, volumes=True))
                except Exception as error:
                    log.error("container %s could not be removed: %s", container.name, error)
        await asyncio.gather(self._follow(), self._ask_later())

    async def _ask_later(self) -> None:
        """Where all hosts of a cluster start at once, its store comes later than what needs it."""
        while self._unasked and self._usable:
            await self._usable()
            waiting, self._unasked = self._unasked, []
            for id_ in waiting:
                await self._start(id_)
            if self._unasked:
                await asyncio.sleep(_PAUSE)

    async def _start(self, id_: str) -> None:
        """Success or not, the rest goes on."""
        container = self._ledger.now.containers.get(id_)
        if container is None or container.state.running or not starts_at_boot(container):
            return
        try:
            await self._lifecycle.to_its_end(self._lifecycle.start(id_))
        except NotModified:
            return
        except Exception as error:
            if absent := self._absent(id_):
                self._late.add(id_)
                log.warning("container %s starts when %s does", container.name, " and ".join(absent))
            elif isinstance(error, Unavailable) and self._usable:
                self._unasked.append(id_)
                log.warning("container %s starts when the cluster's store can be used: %s", container.name, error)
            else:
                log.error("container %s could not be started: %s", container.name, error)

    def _absent(self, id_: str) -> list[str]:
        """Names of those that a container cannot do without, and that do not run."""
        now_ = self._ledger.now
        container = now_.containers.get(id_)
        needed = cannot_do_without(now_, container) if container else ()
        return sorted(now_.containers[one].name for one in needed if not now_.containers[one].state.running)

    async def _follow(self) -> None:
        """Until nobody waits any more. Who was started, stopped or removed by hand meanwhile does not."""
        await self._start_late()
        if not self._late:
            return
        happened = self._events.listen(0, 0, _may_end_the_waiting)
        async with contextlib.aclosing(happened):
            async for event in happened:
                self._late.discard(event.id)
                await self._start_late()
                if not self._late:
                    return

    async def _start_late(self) -> None:
        while ready := [id_ for id_ in sorted(self._late, key=self._age) if not self._absent(id_)]:
            self._late.discard(ready[0])
            await self._start(ready[0])

    def _age(self, id_: str) -> str:
        try:
            return self._ledger.now.container(id_).created
        except NotFound:
            return ""


def _may_end_the_waiting(event: Event) -> bool:
    return event.kind == "container" and event.action in ("start", "stop", "destroy")
