"""Looks at the health of what runs: one task for each container that has a check, as long as it runs."""

from __future__ import annotations

import asyncio
import logging

from linkspan.containers import health as rules
from linkspan.daemon.background import Background
from linkspan.daemon.execs import Execs
from linkspan.daemon.identity import now, seconds_since
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.errors import LinkspanError
from linkspan.model.container import Container, ExecConfig
from linkspan.model.duration import span_text
from linkspan.model.event import Event
from linkspan.model.health import Health, Probe
from linkspan.model.snapshot import put
from linkspan.runtime.attachment import Attachment

log = logging.getLogger(__name__)

_STARTING = 30.0  # seconds that making the process may take: they are no part of the check's own time
_TURNS = ("start", "die", "pause", "unpause", "destroy")  # the events after which it is another question


class HealthChecks:
    """What came of a look is kept in the container's record, so that the next daemon goes on from it."""

    def __init__(self, ledger: Ledger, lifecycle: Lifecycle, execs: Execs) -> None:
        self._ledger, self._lifecycle, self._execs = ledger, lifecycle, execs
        self._background = Background()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def heard(self, event: Event) -> None:
        if event.kind == "container" and event.action in _TURNS:
            self.follow(event.id)

    def follow(self, container_id: str) -> None:
        """Begins anew where there is something to look at, and ends where not."""
        if task := self._tasks.pop(container_id, None):
            task.cancel()
        container = self._ledger.now.containers.get(container_id)
        if container and container.state.status == "running" and rules.command(container):
            self._tasks[container_id] = self._background.run(self._watch(container))

    async def close(self) -> None:
        await self._background.end()

    async def _watch(self, container: Container) -> None:
        started = container.state.started_at
        while True:
            await asyncio.sleep(rules.delay(container, seconds_since(started)))
            ran = seconds_since(started)
            probe = await self._probe(container)
            async with self._lifecycle.lock(container.id):
                current = self._ledger.now.containers.get(container.id)
                if current is None or current.state.started_at != started or not current.state.running:
                    return  # it has ended, which is about to be heard
                container = rules.observed(current, probe, ran)
                # What a power cut takes away, the next look brings back.
                self._ledger.commit([put(container)], durable=False)
            before, after = current.state.health or Health(), container.state.health or Health()
            if after.status != before.status:
                self._lifecycle.publish(f"health_status: {after.status}", container)

    async def _probe(self, container: Container) -> Probe:
        begun, output = now(), bytearray()
        try:
            code = await self._run(container, output)
            text = _text(output)
        except TimeoutError:
            code, text = -1, f"Health check exceeded timeout ({span_text(rules.timeout(container))})"
            if output:
                text = f"{text}: {_text(output)}"
        except LinkspanError as error:
            code, text = -1, str(error)
            log.info("the health of container %s cannot be checked: %s", container.name, error)
        return Probe(start=begun, end=now(), exit_code=code, output=text)

    async def _run(self, container: Container, output: bytearray) -> int:
        """The command's exit status; what it prints is added to `output`. Raises TimeoutError, or why it cannot run."""
        config = ExecConfig(cmd=rules.command(container), attach_stdout=True, attach_stderr=True)
        exec_id = self._execs.create(container, config)
        streams: Attachment | None = None
        try:
            async with asyncio.timeout(_STARTING):
                streams = await self._execs.start(exec_id, detach=False, size=None)
            async with asyncio.timeout(rules.timeout(container)):
                while streams and (piece := await streams.read()):
                    output += piece[1][: max(0, rules.OUTPUT + 1 - len(output))]
                return await self._execs.ended(exec_id)
        finally:
            await self._execs.end(exec_id)
            if streams:
                await streams.close()


def _text(output: bytearray) -> str:
    kept = output[: rules.OUTPUT].decode(errors="replace")
    return kept + "..." if len(output) > rules.OUTPUT else kept
