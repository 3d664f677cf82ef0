"""`linkspan move`: a stopped container made anew on another host of the cluster, with its address.

The two daemons talk through the records that they share, as hosts of a cluster do: this host writes a Move, the other
makes the container and answers with an Arrival, this one settles the Move and removes its own. Neither has to be
reached by the other, and each goes on where it was when it is started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from linkspan.daemon.containers import Containers
from linkspan.daemon.identity import new_id
from linkspan.daemon.images import Images
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.moving import settled, start_move, work
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, NotFound, Unavailable
from linkspan.model.cluster import Arrival, Move
from linkspan.model.snapshot import Write, drop, put
from linkspan.state.host import HostFacts

log = logging.getLogger(__name__)
_LOOK = 0.1  # seconds between two looks at the records
_PATIENCE = 600.0  # seconds for the other host to get the image and make the container
_SETTLING = 10.0  # seconds for it to say that it knows that it keeps it


class Moving:
    def __init__(
        self,
        ledger: Ledger,
        mutation: Mutation,
        lifecycle: Lifecycle,
        containers: Containers,
        images: Images,
        host: Callable[[], HostFacts],
    ) -> None:
        self._ledger, self._mutation, self._lifecycle = ledger, mutation, lifecycle
        self._containers, self._images, self._host = containers, images, host
        self._asked: set[str] = set()  # moves that somebody here waits for
        self._making: set[str] = set()

    async def move(self, ref: str, host_ref: str) -> None:
        """Returns when the container is the other host's. Raises NotFound, Conflict, Forbidden, Unavailable."""
        await self._lifecycle.to_its_end(self._move(ref, self._target(host_ref)))

    async def _move(self, ref: str, target: str) -> None:
        container = self._ledger.now.container(ref)
        async with self._lifecycle.lock(container.id):
            now = self._ledger.now
            move = start_move(now, now.container(container.id), self._host().host_id, target)
            self._asked.add(move.id)
            try:
                # Of an attempt before this one.
                await self._until(lambda: move.id not in self._ledger.now.arrivals, _SETTLING)
                await self._write(put(move))
                try:
                    await self._arrived(move)
                    await self._write(put(settled(move)))
                except BaseException:
                    await self._write(drop(move))
                    raise
            finally:
                self._asked.discard(move.id)
        # From here on the records say what is left to do, whoever does it.
        await self._until(lambda: move.id not in self._ledger.now.moves, _SETTLING)

    async def _arrived(self, move: Move) -> None:
        def answer() -> Arrival:
            return self._ledger.now.arrivals.get(move.id, Arrival(id=move.id, host_id=move.target))

        if not await self._until(lambda: answer().made or bool(answer().error), _PATIENCE):
            raise Unavailable(f"host {self._name(move.target)} has not made container {move.name} in time")
        if error := answer().error:
            raise Conflict(f"host {self._name(move.target)}: {error}")

    async def run(self) -> None:
        """Until cancelled: what has to be done for moves, of this host's containers and others'."""
        while True:
            await asyncio.sleep(_LOOK)
            if not (self._ledger.now.moves or self._ledger.now.arrivals):
                continue
            todo = work(self._ledger.now, self._host().host_id)
            for move in todo.make:
                if move.id not in self._making:
                    self._making.add(move.id)
                    self._lifecycle.begin(self._quietly(self._make(move)))
            for arrival in todo.undo:
                await self._quietly(self._undo(arrival))
            for arrival in todo.keep:
                await self._quietly(self._write(put(msgspec.structs.replace(arrival, settled=True))))
            for move in todo.unsettled:
                if move.id not in self._asked:  # whoever asked for it has gone with the last daemon
                    await self._quietly(self._write(drop(move)))
            for move in todo.remove:
                await self._quietly(self._lifecycle.remove(move.id, force=False, volumes=False, moved=True))
            for move in todo.forget:
                await self._quietly(self._write(drop(move)))

    async def _make(self, move: Move) -> None:
        """Under an id that is written before: a daemon that follows one which was killed knows what is there of it."""
        known = self._ledger.now.arrivals.get(move.id)
        arrival = known or Arrival(id=move.id, host_id=self._host().host_id, container_id=new_id())
        try:
            if known is None:
                await self._write(put(arrival))
            if arrival.container_id not in self._ledger.now.containers:
                await self._image(move.config.image)
                asked = (move.name, move.config, move.host_config, move.networks)
                await self._containers.create(*asked, container_id=arrival.container_id)
            arrival = msgspec.structs.replace(arrival, made=True)
        except LinkspanError as error:
            arrival = msgspec.structs.replace(arrival, error=str(error))
        finally:
            self._making.discard(move.id)
        await self._write(put(arrival))

    async def _image(self, name: str) -> None:
        with contextlib.suppress(NotFound):
            self._images.view(name)
            return
        async for _ in self._images.pull(name, "", platform="", auth=""):
            pass

    async def _undo(self, arrival: Arrival) -> None:
        """The move is over: it took place, or it did not."""
        if not arrival.settled and arrival.container_id in self._ledger.now.containers:
            await self._lifecycle.remove(arrival.container_id, force=True, volumes=True)
        await self._write(drop(arrival))

    async def _write(self, *writes: Write) -> None:
        await self._mutation.carry_out(Change(writes))

    async def _quietly(self, doing: Coroutine[Any, Any, None]) -> None:
        """What fails now is tried again at the next look."""
        try:
            await doing
        except LinkspanError as error:
            log.warning("a move of a container between hosts: %s", error)
            await asyncio.sleep(1)

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(_LOOK / 2)
        return True

    def _target(self, ref: str) -> str:
        own = self._host().host_id
        if not own:
            raise Conflict("this host is in no cluster: start linkspand with --cluster etcd://HOST:2379,… or --mesh")
        found = [h for h in self._ledger.now.hosts.values() if ref and (ref in (h.name, h.id) or h.id.startswith(ref))]
        if not found:
            raise NotFound(f"no such host: {ref}, or it is this one: `linkspan host ls` shows them")
        if len(found) > 1:
            raise InvalidArgument(f"{ref} is the name of {len(found)} hosts: use an id")
        return found[0].id

    def _name(self, host_id: str) -> str:
        host = self._ledger.now.hosts.get(host_id)
        return host.name if host else host_id
