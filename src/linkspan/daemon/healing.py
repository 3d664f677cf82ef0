"""What somebody else takes away of ours is put back at once: links, addresses, routes, the firewall's table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from linkspan.daemon.programmer import Programmer
from linkspan.errors import LinkspanError
from linkspan.kernel.contract import Losses

log = logging.getLogger(__name__)
_SETTLE = 0.05  # seconds: a flush or a restart of the host's network comes as a burst
_PAUSE = 1.0  # seconds, after what nobody expected: it may well happen again at once


class Healing:
    """Looks only when the kernel says that something happened."""

    def __init__(self, programmer: Programmer, converge: Callable[[], Awaitable[int]]) -> None:
        self._programmer, self._converge = programmer, converge
        self._happened = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled: whatever goes wrong is said, and the next loss is dealt with."""
        while True:
            try:
                await self._follow(await self._programmer.run(lambda kernel: kernel.watch()))
            except Exception:
                log.exception("putting back what was taken away failed; the next loss is looked at all the same")
                await asyncio.sleep(_PAUSE)

    async def _follow(self, watch: Losses) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                for descriptor in watch.descriptors:
                    loop.add_reader(descriptor, self._happened.set)
                await self._happened.wait()
                self._forget(watch)
                if await self._programmer.run(lambda _: watch.lost()):
                    await asyncio.sleep(_SETTLE)
                    await self._put_back()
        finally:
            self._forget(watch)

    def _forget(self, watch: Losses) -> None:
        for descriptor in watch.descriptors:
            asyncio.get_running_loop().remove_reader(descriptor)
        self._happened.clear()

    async def _put_back(self) -> None:
        try:
            steps = await self._converge()
        except LinkspanError as error:
            log.error("something of ours was taken away and could not be put back: %s", error)
            return
        if steps:
            log.warning("something of ours was taken away by another program: put back in %d steps", steps)
