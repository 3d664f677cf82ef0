"""The kernel thread. RTNL and nftables serialise whatever programs them, so that more threads would only wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from linkspan.kernel.contract import Kernel

T = TypeVar("T")


class Programmer:
    """Runs functions of the kernel in its thread, in the order in which they are asked for."""

    def __init__(self, make: Callable[[], Kernel]) -> None:
        """`make` runs in the kernel thread, and decides by that which namespace is the host's."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kernel")
        self._kernel = self._thread.submit(make).result()

    async def run(self, function: Callable[[Kernel], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(function, self._kernel))

    def close(self) -> None:
        self._thread.submit(self._kernel.close).result()
        self._thread.shutdown()
