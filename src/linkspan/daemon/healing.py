"""What somebody else takes away of ours is put back at once: links, addresses, routes, the firewall's table.

And where another firewall begins to drop what is forwarded, that is dealt with as soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from linkspan.daemon.programmer import Programmer
from linkspan.errors import LinkspanError
from linkspan.kernel.contract import Losses

log = logging.getLogger(__name__)
_SETTLE = 0.05  # seconds: a flush or a restart of the host's network comes as a burst
_UNASKED = 1.0  # seconds
_PAUSE = 1.0  # seconds, after what nobody expected: it may well happen again at once


class Healing:
    """Looks only when the kernel says that something happened."""

    def __init__(
        self, programmer: Programmer, converge: Callable[[], Awaitable[int]], look_around: Callable[[], Awaitable[None]]
    ) -> None:
        """`converge` puts back, and answers in how many steps; `look_around` deals with other firewalls."""
        self._programmer, self._converge, self._look_around = programmer, converge, look_around
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
                # Not everything tells of its changes: `stirred` knows what has to be looked at unasked.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._happened.wait(), _UNASKED)
                self._forget(watch)
                lost, stirred = await self._programmer.run(lambda _: (watch.lost(), watch.stirred()))
                if lost or stirred:
                    await asyncio.sleep(_SETTLE)
                    await self._deal_with(watch, self._put_back if lost else self._look_around)
        finally:
            self._forget(watch)

    def _forget(self, watch: Losses) -> None:
        for descriptor in watch.descriptors:
            asyncio.get_running_loop().remove_reader(descriptor)
        self._happened.clear()

    async def _deal_with(self, watch: Losses, deal: Callable[[], Awaitable[None]]) -> None:
        """What goes wrong because more was taken away in the midst of it is tried again, until nothing more goes."""
        while True:
            try:
                return await deal()
            except LinkspanError as error:
                if not await self._programmer.run(lambda _: watch.lost()):
                    log.error("something of ours was taken away and could not be put back: %s", error)
                    return None
            await asyncio.sleep(_SETTLE)
            deal = self._put_back

    async def _put_back(self) -> None:
        steps = await self._converge()
        if steps:
            log.warning("something of ours was taken away by another program: put back in %d steps", steps)
