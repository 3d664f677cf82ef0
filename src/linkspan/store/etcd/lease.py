"""Keeping a lease, and saying honestly when it may be lost.

Time is counted from before each request, as etcd counts from when it hears it: what we take for kept is kept. It goes
on while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from linkspan.errors import LinkspanError
from linkspan.store.etcd.contract import Etcd, LeaseGone

_SHARE = 3  # it is renewed when a third of its time has gone
_AGAIN = 10  # and, where that fails, tried again after a tenth of it


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """It lasts until then at least, by our clock."""

    until: float


@dataclasses.dataclass(frozen=True, slots=True)
class Doubtful:
    """It cannot be renewed. From `until` on, etcd may have taken its keys away."""

    until: float
    reason: str


Health: TypeAlias = Kept | Doubtful
Clock: TypeAlias = Callable[[], float]


def boot_time() -> float:
    """Seconds, counting those in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def keep(
    etcd: Etcd,
    lease: int,
    *,
    now: Clock = boot_time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Health, None]:
    """Renews a lease for as long as this is iterated, and tells each renewal and failure; one is tried at once.

    Raises LeaseGone once it is known to be gone. A cluster that was without a leader gives its leases their whole time
    anew, so that one may be kept after its time.
    """
    until = now()
    ttl = 1
    while True:
        asked = now()
        try:
            ttl = await etcd.keep_alive(lease)
        except LeaseGone:
            raise
        except LinkspanError as error:
            yield Doubtful(until, str(error))
            await sleep(max(ttl / _AGAIN, 0.1))
        else:
            until = asked + ttl
            yield Kept(until)
            await sleep(max(asked + ttl / _SHARE - now(), 0))
