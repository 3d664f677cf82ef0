"""The lease that says that this host answers.

It says no more than that: what a host has published is its own for as long as it is a member, answering or not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from linkspan.daemon.identity import now
from linkspan.engine.publication import ALIVE
from linkspan.errors import LinkspanError
from linkspan.store.etcd.contract import Etcd, LeaseGone

TTL = 15  # seconds without a word before a host counts as not answering
_EVERY = 4.0  # seconds between two words


class Liveness:
    def __init__(self, etcd: Etcd, root: str, host_id: str, noticed: Callable[[], None]) -> None:
        """`noticed` is called after a time in which others could not know that this host is there."""
        self._etcd, self._key, self._noticed = etcd, f"{root}{ALIVE}{host_id}", noticed
        self._lease = 0
        self._since = now()

    async def run(self) -> None:
        """For ever."""
        while True:
            with contextlib.suppress(LinkspanError):  # the follower says so
                await self._say()
            await asyncio.sleep(_EVERY)

    async def _say(self) -> None:
        if self._lease:
            try:
                await self._etcd.keep_alive(self._lease)
                return
            except LeaseGone:
                self._lease = 0
                self._noticed()
        lease = await self._etcd.grant(TTL)
        await self._etcd.put(self._key, self._since.encode(), lease=lease.id)
        self._lease = lease.id

    async def end(self) -> None:
        """This daemon ends, and says so. Where the store is away the lease runs out."""
        if self._lease:
            with contextlib.suppress(LinkspanError, TimeoutError):
                await asyncio.wait_for(self._etcd.revoke(self._lease), 1)
