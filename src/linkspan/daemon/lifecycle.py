"""A container's life, carried out: start, stop, exit, restart, removal.

One lock a container: whatever changes it holds the lock, and waits for nothing that the change itself must bring about.
So `stop` signals without the lock and waits for the exit, which takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal as signals
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from linkspan.containers import lifecycle as rules
from linkspan.containers.signals import stop_signal
from linkspan.daemon.events import Events
from linkspan.daemon.host_ports import Busy, carry_out
from linkspan.daemon.identity import new_id, now, seconds_since, timestamp
from linkspan.daemon.launch import Launch
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.waiting import Waiting, answer
from linkspan.drivers.contract import Driver
from linkspan.engine.change import Change
from linkspan.engine.join import Surroundings, join, leave, sandbox_owner
from linkspan.engine.reservations import release
from linkspan.errors import Conflict, NotModified
from linkspan.ipam.ports import PortSpace
from linkspan.model.container import Container
from linkspan.model.event import Event
from linkspan.model.snapshot import drop, put
from linkspan.runtime.processes import Exit
from linkspan.state.host import HostFacts

log = logging.getLogger(__name__)
T = TypeVar("T")

STOP_TIMEOUT = 10  # seconds between the stop signal and SIGKILL, as Docker's
_CLOSING = 15.0  # seconds that the daemon's end waits for changes under way
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
        occupied: Callable[[], frozenset[tuple[str, int]]] = frozenset,
    ) -> None:
        """`occupied` are addresses, by network id, that strangers on its wire have."""
        self._ledger, self._mutation, self.launch, self._events = ledger, mutation, launch, events
        self._drivers, self._host, self._occupied = drivers, host, occupied
        self.waiting = Waiting()
        self._locks: dict[str, asyncio.Lock] = {}
        self._delays: dict[str, float] = {}  # before the next restart, seconds
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._restarting: set[str] = set()  # stopped to be started again: --rm does not apply
        self._running: set[asyncio.Task[Any]] = set()

    def lock(self, container_id: str) -> asyncio.Lock:
        """Who holds a container's lock may take that of the container whose sandbox it shares; never the reverse."""
        return self._locks.setdefault(container_id, asyncio.Lock())

    async def to_its_end(self, verb: Coroutine[Any, Any, T]) -> T:
        """A client that goes away does not stop a change half-way, nor does the daemon's own end."""
        return await asyncio.shield(self.begin(verb))

    def begin(self, verb: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """The same for who does not wait for it."""
        task = asyncio.ensure_future(verb)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def surroundings(self, endpoints: int, busy: Busy = frozenset()) -> Surroundings:
        """What joining is decided with: fresh ids for a sandbox and so many endpoints, and the host's ports."""
        host = self._host()
        first, last = host.ephemeral_ports
        ids = tuple(new_id() for _ in range(endpoints + 1))
        space = PortSpace(first, last, host.reserved_ports, busy, host.ipv6, host.relay)
        return Surroundings(self._drivers, host.namespaces, space, ids, host.host_id, self._occupied())

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
            container = msgspec.structs.replace(self._ledger.now.container(container_id), restart_count=0)
            await self._start(container)

    async def _start(self, container: Container) -> None:
        """`container` may differ from its record in the count of restarts."""
        rules.after(container, "start")
        if container.id in self._ledger.now.moves:
            raise Conflict(f"container {container.name} is on its way to another host")
        owner = sandbox_owner(self._ledger.now, container)
        # The sandbox that it shares must not go while it is on its way into it.
        sharing = self.lock(owner.id) if owner.id != container.id else contextlib.nullcontext()
        self.launch.processes.expect()
        try:
            async with sharing:
                await self._join(container)
                pid = await self.launch.start(container)
                current = self._ledger.now.container(container.id)
                counted = msgspec.structs.replace(current, restart_count=container.restart_count)
                self._ledger.commit([put(rules.started(counted, pid, now()))])
        except Exception as error:
            await self._failed(container, error)
            raise
        self.publish("start", container)

    async def _failed(self, container: Container, error: Exception) -> None:
        """Nothing is left of a start that failed but the reason for it."""
        try:
            await self._give_back(container)
        except Exception:
            log.exception("container %s did not start, and not all of it could be taken away", container.name)
        code = getattr(error, "exit_code", 128)
        current = self._ledger.now.container(container.id)
        self._ledger.commit([put(rules.failed(current, str(error), code))])
        self.publish("die", container, exitCode=str(code))
        if container.host_config.auto_remove:
            await self._remove(container.id, volumes=True)

    async def _join(self, container: Container) -> None:
        """Its sandbox and endpoints."""

        def decide(busy: Busy) -> Change:
            return join(self._ledger.now, container, self.surroundings(len(container.networks), busy))

        await carry_out(self._mutation, container, decide)

    async def _give_back(self, container: Container) -> None:
        """What a container that does not run any more, or never did, holds of processes, mounts and network.

        Goes on to its end; raises what it met on the way, as one.
        """
        failures: list[Exception] = []
        try:
            await self.launch.stop(container)
        except Exception as error:
            failures.append(error)
        try:
            await self._leave(container)
        except Exception as error:
            failures.append(error)
        if failures:
            raise ExceptionGroup(f"container {container.name} could not be cleaned up", failures)

    async def _leave(self, container: Container) -> None:
        """The network; of a sandbox that it shared, where it was the last in it."""
        owner = sandbox_owner(self._ledger.now, container)
        if owner.id == container.id:
            await self._mutation.carry_out(leave(self._ledger.now, self._ledger.now.container(container.id)))
            return
        async with self.lock(owner.id):
            found = self._ledger.now.containers.get(owner.id)
            if found and not found.state.running:
                await self._mutation.carry_out(leave(self._ledger.now, found))

    # -- the end of a run ---------------------------------------------------------------------------------------------

    async def exited(self, exit_: Exit) -> None:
        """The process has ended, by itself or otherwise: everything that follows from it."""
        async with self.lock(exit_.id):
            container = self._ledger.now.containers.get(exit_.id)
            if container is None or not container.state.running:
                return
            when = timestamp(int(exit_.finished * 1e9))
            self._ledger.commit([put(rules.ending(container, exit_.code, when, oom=exit_.oom))], durable=False)
            ended = rules.exited(container, exit_.code, when, oom=exit_.oom)
            policy = container.host_config.restart_policy
            again = rules.restarts(
                policy, exit_.code, container.restart_count, stopped_by_user=container.stopped_by_user
            )
            if again:
                state = msgspec.structs.replace(ended.state, status=rules.after(ended, "await restart"))
                ended = msgspec.structs.replace(ended, state=state)
            # Whoever sees that it has ended finds its address and ports free. Only a sandbox that it shares is left
            # afterwards: the records say who else is in it.
            sharing = sandbox_owner(self._ledger.now, container).id != container.id
            await self._clean_up(container, self.launch.stop(container) if sharing else self._give_back(container))
            self._ledger.commit([put(ended)])
            waiting = self.waiting.take(container.id)
            if exit_.oom:
                self.publish("oom", container)
            ran = seconds_since(container.state.started_at)
            self.publish("die", container, exitCode=str(exit_.code), execDuration=str(int(ran)))
            if sharing:
                await self._clean_up(container, self._leave(container))
            answer(waiting, exit_.code)
            if again:
                self._restart_later(ended, ran)
            elif container.host_config.auto_remove and container.id not in self._restarting:
                await self._remove_by_itself(ended)

    async def _clean_up(self, container: Container, work: Coroutine[Any, Any, None]) -> None:
        """A container whose cleaning up fails has ended all the same; the next look over the kernel finds the rest."""
        try:
            await work
        except Exception:
            log.exception("container %s has ended, and not all of it could be taken away", container.name)

    async def _remove_by_itself(self, container: Container) -> None:
        """--rm. Whoever waits for the removal is answered also where it fails."""
        try:
            await self._remove(container.id, volumes=True)
        except Exception as error:
            log.exception("container %s could not be removed", container.name)
            self.waiting.removed(container.id, container.state.exit_code, str(error))

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
            try:
                await self._start(msgspec.structs.replace(container, restart_count=container.restart_count + 1))
            except Exception as error:
                log.error("container %s could not be restarted: %s", container.name, error)
                self.waiting.ended(container_id, getattr(error, "exit_code", 128), str(error))

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
                self.waiting.ended(container_id, state.exit_code)
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
                async with self.lock(container.id):
                    await self._thaw(container.id)
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(ended)), None if patience < 0 else patience)
                return
            except TimeoutError:
                continue
        raise _still_there(container)

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
            if signal == stop_signal(container):
                await self._thaw(container_id)
        if signal == signals.SIGKILL:
            try:
                await asyncio.wait_for(ended, _KILL_TIMEOUT)
            except TimeoutError:
                raise _still_there(container) from None

    async def _thaw(self, container_id: str) -> None:
        """A paused container gets its stop signal only when it runs again."""
        container = self._ledger.now.containers.get(container_id)
        if container and container.state.status == "paused":
            await self._pause(container, "unpause")

    async def restart(self, container_id: str, timeout: int | None, signal: int | None) -> None:
        self._restarting.add(container_id)
        try:
            with contextlib.suppress(NotModified):
                # Who shares the sandbox keeps it, and this container finds it again.
                await self.stop(container_id, timeout, signal)
            await self.start(container_id)
        finally:
            self._restarting.discard(container_id)
        self.publish("restart", self._ledger.now.container(container_id))

    async def pause(self, container_id: str, verb: str) -> None:
        """`verb` is pause or unpause."""
        async with self.lock(container_id):
            container = self._ledger.now.container(container_id)
            await self._pause(container, verb)

    async def _pause(self, container: Container, verb: str) -> None:
        status = rules.after(container, verb)
        await (self.launch.processes.pause if verb == "pause" else self.launch.processes.resume)(container.id)
        state = msgspec.structs.replace(container.state, status=status)
        self._ledger.commit([put(msgspec.structs.replace(container, state=state))])
        self.publish(verb, container)

    # -- removal ------------------------------------------------------------------------------------------------------

    async def remove(self, container_id: str, *, force: bool, volumes: bool, moved: bool = False) -> None:
        """Raises Conflict with Docker's words where it runs and no force is asked for. `moved`: it is on another host
        now, where its addresses are its own."""
        while True:
            async with self.lock(container_id):
                container = self._ledger.now.containers.get(container_id)
                if container is None:
                    return  # --rm was quicker
                if (why := _in_the_way(container)) and not force:
                    raise Conflict(f'cannot remove container "{container.name}": {why}')
                if not container.state.running:
                    self._forget_restart(container_id)
                    await self._remove(container_id, volumes=volumes, moved=moved)
                    return
                self._ledger.commit([put(msgspec.structs.replace(container, stopped_by_user=True))])
            # Also where the process is dead and its end not dealt with yet: this waits, and gives that its turn.
            await self._end(container, signals.SIGKILL, 0)

    async def _remove(self, container_id: str, *, volumes: bool, moved: bool = False) -> None:
        container = self._ledger.now.container(container_id)
        change = leave(self._ledger.now, container, removed=True)
        kept = tuple(release(self._ledger.now, container, now(), moved=moved))
        await self._mutation.carry_out(dataclasses.replace(change, writes=(*change.writes, *kept)))
        await self.launch.remove(container)
        gone = [drop(container)]
        if volumes:
            gone += await self.launch.remove_anonymous_volumes(container)
        self._ledger.commit(gone)
        self._locks.pop(container_id, None)
        self.publish("destroy", container)
        self.waiting.removed(container_id, container.state.exit_code)

    async def close(self) -> None:
        """Forgets restarts that were to come; a daemon that starts again finds the containers by their policy.

        What is under way goes on to its end, for a while.
        """
        for task in self._restarts.values():
            task.cancel()
        await asyncio.gather(*self._restarts.values(), return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSING)


def _in_the_way(container: Container) -> str:
    """Why it is not removed without force, in Docker's words; "" where nothing speaks against it."""
    match container.state.status:
        case "paused":
            return "container is paused and must be unpaused first"
        case "running" | "restarting" as status:
            return f"container is {status}: stop the container before removing or force remove"
    return ""


def _still_there(container: Container) -> Conflict:
    return Conflict(f"container {container.name} did not end {_KILL_TIMEOUT} seconds after SIGKILL")
