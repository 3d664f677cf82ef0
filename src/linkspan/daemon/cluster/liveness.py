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
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.lease import keep

TTL = 15  # seconds without a word before a host counts as not answering
_PAUSE = 1.0  # seconds, before what failed is tried again


class Liveness:
    def __init__(self, etcd: Etcd, root: str, host_id: str, noticed: Callable[[], None]) -> None:
        """`noticed` is called after a time in which others could not know that this host is there."""
        self._etcd, self._key, self._noticed = etcd, f"{root}{ALIVE}{host_id}", noticed
        self._lease = 0
        self._since = now()

    async def run(self) -> None:
        """For ever. That the store is away others say."""
        while True:
            with contextlib.suppress(LinkspanError):
                lease = await self._etcd.grant(TTL)
                await self._etcd.put(self._key, self._since.encode(), lease=lease.id)
                self._lease = lease.id
                async with contextlib.aclosing(keep(self._etcd, lease.id)) as telling:
                    async for _ in telling:
                        pass
            self._lease = 0
            self._noticed()
            await asyncio.sleep(_PAUSE)

    async def end(self) -> None:
        """This daemon ends, and says so. Where the store is away the lease runs out."""
        if self._lease:
            with contextlib.suppress(LinkspanError, TimeoutError):
                await asyncio.wait_for(self._etcd.revoke(self._lease), 1)
