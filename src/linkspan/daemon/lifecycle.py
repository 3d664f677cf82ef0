"""A container's life, carried out: start, stop, exit, restart, removal.

One lock a container: whatever changes it holds the lock, and waits for nothing that the change itself must bring about.
So `stop` signals without the lock and waits for the exit, which takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import signal as signals
import time
from collections.abc import Callable, Mapping

import msgspec

from linkspan.containers import lifecycle as rules
from linkspan.containers.signals import stop_signal
from linkspan.daemon.events import Events
from linkspan.daemon.identity import new_id, now, timestamp
from linkspan.daemon.launch import Launch
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.waiting import Waiting
from linkspan.drivers.contract import Driver
from linkspan.engine.join import Surroundings, external_connectivity, join, leave, port_requests
from linkspan.errors import Conflict, LinkspanError, NotModified, PortInUse
from linkspan.ipam.ports import PortSpace, chosen_freely
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint
from linkspan.model.event import Event
from linkspan.model.snapshot import drop, put
from linkspan.runtime.processes import Exit
from linkspan.state.host import HostFacts

log = logging.getLogger(__name__)

STOP_TIMEOUT = 10  # seconds between the stop signal and SIGKILL, as Docker's
_KILL_TIMEOUT = 30  # seconds for the kernel to end a process that got SIGKILL


class Lifecycle:
    def __init__(
        self,
        ledger: Ledger,
        mutation: Mutation,
        launch: Launch,
        events: Events,
        *,
        drivers: Mapping[str, Driver],
        host: Callable[[], HostFacts],
    ) -> None:
        self._ledger, self._mutation, self.launch, self._events = ledger, mutation, launch, events
        self._drivers, self._host = drivers, host
        self.waiting = Waiting()
        self._locks: dict[str, asyncio.Lock] = {}
        self._delays: dict[str, float] = {}  # before the next restart, seconds
        self._restarts: dict[str, asyncio.Task[None]] = {}

    def lock(self, container_id: str) -> asyncio.Lock:
        return self._locks.setdefault(container_id, asyncio.Lock())

    def surroundings(self, endpoints: int, busy: frozenset[tuple[str, str, int]] = frozenset()) -> Surroundings:
        """What joining is decided with: fresh ids for a sandbox and so many endpoints, and the host's ports."""
        host = self._host()
        first, last = host.ephemeral_ports
        ids = tuple(new_id() for _ in range(endpoints + 1))
        return Surroundings(self._drivers, host.namespaces, PortSpace(first, last, host.reserved_ports, busy), ids)

    def publish(self, action: str, container: Container, **attributes: str) -> None:
        """A container's event, with its labels, image and name, as Docker's clients expect."""
        labels = container.config.labels or {}
        known = {**labels, "image": container.config.image, "name": container.name}
        self._events.publish(
            Event(kind="container", action=action, id=container.id, attributes={**known, **attributes})
        )

    # -- start --------------------------------------------------------------------------------------------------------

    async def start(self, container_id: str) -> None:
        """Raises NotModified where it runs already; else what stood in the way, and nothing of the start is left."""
        async with self.lock(container_id):
            self._forget_restart(container_id)
            await self._start(self._ledger.now.container(container_id))

    async def _start(self, container: Container) -> None:
        rules.after(container, "start")
        try:
            await self._join(container)
            try:
                pid = await self.launch.start(container)
            except BaseException:
                await self._give_back(container)
                raise
        except LinkspanError as error:
            code = getattr(error, "exit_code", 128)
            current = self._ledger.now.container(container.id)
            self._ledger.commit([put(rules.failed(current, str(error), code))])
            self.publish("die", container, exitCode=str(code))
            if container.host_config.auto_remove:
                await self._remove(container.id, volumes=True)
            raise
        current = self._ledger.now.container(container.id)
        self._ledger.commit([put(rules.started(current, pid, now()))])
        self.publish("start", container)

    async def _join(self, container: Container) -> None:
        """Its sandbox and endpoints. A port of free choice that another process turns out to hold is chosen again."""
        busy: frozenset[tuple[str, str, int]] = frozenset()
        requests = port_requests(container)
        while True:
            around = self.surroundings(len(container.networks), busy)
            change = join(self._ledger.now, container, around)
            try:
                await self._mutation.carry_out(change)
                return
            except PortInUse as error:
                endpoints = [w.record for w in change.writes if isinstance(w.record, Endpoint)]
                taken = (error.protocol, error.address, error.port)
                for endpoint in endpoints:
                    for binding in endpoint.bindings:
                        if (binding.protocol, binding.address, binding.port) != taken:
                            continue
                        if not chosen_freely(requests, binding):
                            raise external_connectivity(container, endpoint.id, error) from error
                if taken in busy:
                    raise
                busy |= {taken}

    async def _give_back(self, container: Container) -> None:
        """What a container that does not run any more, or never did, holds of processes, mounts and network."""
        await self.launch.stop(container)
        await self._mutation.carry_out(leave(self._ledger.now, self._ledger.now.container(container.id)))

    # -- the end of a run ---------------------------------------------------------------------------------------------

    async def exited(self, exit_: Exit) -> None:
        """The process has ended, by itself or otherwise: everything that follows from it."""
        async with self.lock(exit_.id):
            container = self._ledger.now.containers.get(exit_.id)
            if container is None or not container.state.running:
                return
            ended = rules.exited(container, exit_.code, timestamp(int(exit_.finished * 1e9)), oom=exit_.oom)
            policy = container.host_config.restart_policy
            again = rules.restarts(
                policy, exit_.code, container.restart_count, stopped_by_user=container.stopped_by_user
            )
            if again:
                state = msgspec.structs.replace(ended.state, status=rules.after(ended, "await restart"))
                ended = msgspec.structs.replace(ended, state=state)
            if exit_.oom:
                self.publish("oom", container)
            # The record first: a container whose cleaning up fails has ended all the same.
            self._ledger.commit([put(ended)])
            self.publish("die", container, exitCode=str(exit_.code), execDuration=str(int(_ran(container))))
            try:
                await self._give_back(ended)
            except LinkspanError:
                log.exception("container %s has ended, and not all of it could be taken away", container.name)
            self.waiting.ended(container.id, exit_.code)
            if again:
                self._restart_later(ended, _ran(container))
            elif container.host_config.auto_remove:
                await self._remove(container.id, volumes=True)

    def _restart_later(self, container: Container, ran: float) -> None:
        delay = rules.restart_delay(self._delays.get(container.id, 0.0), ran)
        self._delays[container.id] = delay
        self._restarts[container.id] = asyncio.create_task(self._restart_after(container.id, delay))

    async def _restart_after(self, container_id: str, delay: float) -> None:
        await asyncio.sleep(delay)
        async with self.lock(container_id):
            self._restarts.pop(container_id, None)
            container = self._ledger.now.containers.get(container_id)
            if container is None or container.state.status != "restarting":
                return
            counted = msgspec.structs.replace(container, restart_count=container.restart_count + 1)
            self._ledger.commit([put(counted)])
            try:
                await self._start(counted)
            except LinkspanError as error:
                log.error("container %s could not be restarted: %s", container.name, error)

    def _forget_restart(self, container_id: str) -> None:
        self._delays.pop(container_id, None)
        if task := self._restarts.pop(container_id, None):
            task.cancel()

    # -- asked to end -------------------------------------------------------------------------------------------------

    async def stop(self, container_id: str, timeout: int | None, signal: int | None) -> None:
        """The stop signal, and SIGKILL after `timeout` seconds. Raises NotModified where it does not run."""
        async with self.lock(container_id):
            container = self._ledger.now.container(container_id)
            self._forget_restart(container_id)
            if container.state.status == "restarting":
                state = msgspec.structs.replace(container.state, status=rules.after(container, "stop"))
                self._ledger.commit([put(msgspec.structs.replace(container, state=state, stopped_by_user=True))])
                return
            if not container.state.running:
                raise NotModified(f"container {container.name} is not running")
            self._ledger.commit([put(msgspec.structs.replace(container, stopped_by_user=True))])
        if timeout is None:
            timeout = container.config.stop_timeout if container.config.stop_timeout is not None else STOP_TIMEOUT
        await self._end(container, signal or stop_signal(container), timeout)
        self.publish("stop", container)

    async def _end(self, container: Container, signal: int, timeout: int) -> None:
        """Returns when the exit has been dealt with. A negative timeout waits for ever."""
        ended = self.waiting.register(container.id, "next-exit")
        steps = [(int(signals.SIGKILL), _KILL_TIMEOUT)]
        if timeout != 0 and signal != signals.SIGKILL:
            steps.insert(0, (signal, timeout))
        for sent, patience in steps:
            with contextlib.suppress(Conflict):  # it ended by itself meanwhile
                await self.launch.processes.kill(container.id, sent)
            self.publish("kill", container, signal=str(sent))
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(ended)), None if patience < 0 else patience)
                return
            except TimeoutError:
                continue
        raise Conflict(f"container {container.name} did not end {_KILL_TIMEOUT} seconds after SIGKILL")

    async def kill(self, container_id: str, signal: int) -> None:
        """One signal; SIGKILL and the stop signal count as the user's wish that it ends. Raises Conflict."""
        async with self.lock(container_id):
            container = self._ledger.now.container(container_id)
            if not container.state.running:
                raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
            if signal in (signals.SIGKILL, stop_signal(container)):
                self._ledger.commit([put(msgspec.structs.replace(container, stopped_by_user=True))])
            ended = self.waiting.register(container.id, "next-exit")
            await self.launch.processes.kill(container.id, signal)
            self.publish("kill", container, signal=str(signal))
        if signal == signals.SIGKILL:
            await asyncio.wait_for(ended, _KILL_TIMEOUT)

    async def restart(self, container_id: str, timeout: int | None, signal: int | None) -> None:
        container = self._ledger.now.container(container_id)
        with contextlib.suppress(NotModified):
            # Who shares the sandbox keeps it, and this container finds it again.
            await self.stop(container_id, timeout, signal)
        await self.start(container_id)
        self.publish("restart", container)

    async def pause(self, container_id: str, verb: str) -> None:
        """`verb` is pause or unpause."""
        async with self.lock(container_id):
            container = self._ledger.now.container(container_id)
            status = rules.after(container, verb)
            await (self.launch.processes.pause if verb == "pause" else self.launch.processes.resume)(container.id)
            state = msgspec.structs.replace(container.state, status=status)
            self._ledger.commit([put(msgspec.structs.replace(container, state=state))])
            self.publish(verb, container)

    # -- removal ------------------------------------------------------------------------------------------------------

    async def remove(self, container_id: str, *, force: bool, volumes: bool) -> None:
        """Raises Conflict with Docker's words where it runs and no force is asked for."""
        container = self._ledger.now.container(container_id)
        if container.state.running and not force:
            why = (
                "container is paused and must be unpaused first"
                if container.state.status == "paused"
                else "container is running: stop the container before removing or force remove"
            )
            raise Conflict(f'cannot remove container "{container.name}": {why}')
        if container.state.running:
            with contextlib.suppress(Conflict):
                await self.kill(container_id, signals.SIGKILL)
        async with self.lock(container_id):
            self._forget_restart(container_id)
            if container_id in self._ledger.now.containers:
                await self._remove(container_id, volumes=volumes)

    async def _remove(self, container_id: str, *, volumes: bool) -> None:
        container = self._ledger.now.container(container_id)
        await self._mutation.carry_out(leave(self._ledger.now, container, removed=True))
        await self.launch.remove(container)
        gone = [drop(container)]
        if volumes:
            gone += await self.launch.remove_anonymous_volumes(container)
        self._ledger.commit(gone)
        self._locks.pop(container_id, None)
        self.publish("destroy", container)
        self.waiting.removed(container_id, container.state.exit_code)

    def rewrite_files(self, container_id: str) -> None:
        """/etc/hosts after a network was connected or disconnected."""
        self.launch.rewrite_hosts(self._ledger.now.container(container_id))

    async def close(self) -> None:
        """Forgets restarts that were to come; a daemon that starts again finds the containers by their policy."""
        for task in self._restarts.values():
            task.cancel()
        await asyncio.gather(*self._restarts.values(), return_exceptions=True)


def _ran(container: Container) -> float:
    """Seconds since its start."""
    started = datetime.datetime.fromisoformat(container.state.started_at[:26].rstrip("Z") + "+00:00")
    return max(0.0, time.time() - started.timestamp())
