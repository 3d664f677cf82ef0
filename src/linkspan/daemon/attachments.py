"""Clients' connections to the standard streams of containers."""

from __future__ import annotations

import asyncio

from linkspan.model.container import Container
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.processes import Processes


class EarlyAttachment:
    """An attachment made before its container runs, as `docker run` makes it: it waits for the process's streams."""

    def __init__(self, *, stdin: bool) -> None:
        self.stdin = stdin
        self._streams: asyncio.Future[Attachment | None] = asyncio.get_running_loop().create_future()

    def arrive(self, streams: Attachment | None) -> None:
        """The streams are there; None where the start failed, or the container was removed."""
        if not self._streams.done():
            self._streams.set_result(streams)

    async def read(self) -> tuple[int, bytes] | None:
        streams = await asyncio.shield(self._streams)
        return await streams.read() if streams else None

    async def write(self, data: bytes) -> None:
        if streams := await asyncio.shield(self._streams):
            await streams.write(data)

    async def close_input(self) -> None:
        if streams := await asyncio.shield(self._streams):
            await streams.close_input()

    async def close(self) -> None:
        if self._streams.done():
            if streams := self._streams.result():
                await streams.close()
        else:
            self.arrive(None)

    @property
    def gone(self) -> bool:
        return self._streams.done()


class Attachments:
    """Attachments that wait for a start, by container."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._early: dict[str, list[EarlyAttachment]] = {}

    async def attach(self, container: Container, *, stdin: bool) -> Attachment:
        """`stdin` is granted where the container has a standard input at all."""
        stdin = stdin and container.config.open_stdin
        if container.state.running:
            return await self._processes.attach(container.id, stdin)
        early = EarlyAttachment(stdin=stdin)
        waiting = [old for old in self._early.get(container.id, []) if not old.gone]
        self._early[container.id] = [*waiting, early]
        return early

    async def created(self, container_id: str) -> None:
        """The process is there and has not begun: who waited gets its streams, and misses nothing."""
        for early in self._early.pop(container_id, ()):
            if early.gone:
                continue
            streams = await self._processes.attach(container_id, early.stdin)
            if early.gone:  # the client left meanwhile
                await streams.close()
            else:
                early.arrive(streams)

    def failed(self, container_id: str) -> None:
        for early in self._early.pop(container_id, ()):
            early.arrive(None)
