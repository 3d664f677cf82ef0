"""Processes that join a running container: `docker exec`."""

from __future__ import annotations

import asyncio
import dataclasses
import signal

from linkspan.daemon.identity import new_id
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.views import ExecView
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, NotFound
from linkspan.model.container import Container, ExecConfig
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.processes import Exit, Processes

_KEPT = 256  # execs that have ended


@dataclasses.dataclass(slots=True)
class _Exec:
    id: str
    container_id: str
    config: ExecConfig
    started: bool = False
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    size: tuple[int, int] | None = None
    over: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)  # it has ended, and its status is known


class Execs:
    """Execs are known as long as their container runs; none of them outlives it, so that they need no record."""

    def __init__(self, ledger: Ledger, processes: Processes, lifecycle: Lifecycle) -> None:
        self._ledger, self._processes, self._lifecycle = ledger, processes, lifecycle
        self._execs: dict[str, _Exec] = {}

    def of(self, container_id: str) -> tuple[str, ...]:
        return tuple(e.id for e in self._execs.values() if e.container_id == container_id)

    def create(self, container: Container, config: ExecConfig) -> str:
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        _check_running(container)
        self._prune()
        found = _Exec(new_id(), container.id, config)
        self._execs[found.id] = found
        self._lifecycle.publish("exec_create: " + " ".join(config.cmd), container, execID=found.id)
        return found.id

    async def start(self, exec_id: str, *, detach: bool, size: tuple[int, int] | None) -> Attachment | None:
        found = self._find(exec_id)
        if found.started:
            raise Conflict(f"exec {exec_id} was started already")
        container = self._ledger.now.containers.get(found.container_id)
        if container is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        _check_running(container)
        found.started = True
        config = found.config
        self._lifecycle.publish("exec_start: " + " ".join(config.cmd), container, execID=exec_id)
        try:
            process = self._lifecycle.launch.exec_process(container, config)
            found.pid, streams = await self._processes.exec(
                container.id,
                exec_id,
                process,
                tty=config.tty,
                stdin=config.attach_stdin and not detach,
                attach=not detach,
            )
        except LinkspanError as error:
            found.exit_code = getattr(error, "exit_code", 126)
            found.over.set()
            raise
        found.running = found.exit_code is None
        if size or found.size or config.console_size:
            height, width = size or found.size or config.console_size or (0, 0)
            if config.tty and height and width:
                await self.resize(exec_id, height, width)
        return streams

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        found = self._find(exec_id)
        if not found.running:
            found.size = (height, width)
            if found.exit_code is not None:
                raise Conflict(f"exec process {exec_id} is not running")
            return
        await self._processes.exec_resize(found.container_id, exec_id, height, width)

    def exited(self, exit_: Exit) -> None:
        found = self._execs.get(exit_.exec_id or "")
        if found is None:
            return
        found.running, found.exit_code, found.pid = False, exit_.code, 0
        found.over.set()
        if container := self._ledger.now.containers.get(found.container_id):
            self._lifecycle.publish("exec_die", container, execID=found.id, exitCode=str(exit_.code))

    def forget(self, container_id: str) -> None:
        """The container has ended, and with it its execs."""
        for exec_id in self.of(container_id):
            found = self._execs[exec_id]
            if found.running:
                found.running, found.exit_code = False, 137
                found.over.set()

    async def ended(self, exec_id: str) -> int:
        """Waits for the end; its exit status."""
        found = self._find(exec_id)
        await found.over.wait()
        return found.exit_code or 0

    async def end(self, exec_id: str) -> None:
        """Kills what still runs, and forgets it."""
        if (found := self._execs.pop(exec_id, None)) and found.running:
            await self._processes.exec_kill(found.container_id, exec_id, signal.SIGKILL)

    def _prune(self) -> None:
        """Clients ask for the exit status right after the end; what ended long ago goes."""
        if len(self._execs) > 2 * _KEPT:
            for exec_id in [e.id for e in self._execs.values() if e.exit_code is not None][:-_KEPT]:
                del self._execs[exec_id]

    def view(self, exec_id: str) -> ExecView:
        found = self._find(exec_id)
        return ExecView(found.id, found.container_id, found.config, found.running, found.exit_code, found.pid)

    def _find(self, exec_id: str) -> _Exec:
        if exec_id in self._execs:
            return self._execs[exec_id]
        matches = [e for e in self._execs.values() if exec_id and e.id.startswith(exec_id)]
        if len(matches) != 1:
            raise NotFound(f"No such exec instance: {exec_id}")
        return matches[0]


def _check_running(container: Container) -> None:
    if container.state.status == "paused":
        raise Conflict(f"Container {container.id} is paused, unpause the container before exec")
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
