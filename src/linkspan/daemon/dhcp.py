"""Addresses of plugs by DHCP: a client runs for each plug that wants one, for as long as its container does.

Which clients there should be follows from the records alone, as kernel objects do: `follow` compares two snapshots.
What a client says becomes the plug's record. A client outlives the daemon, and the next one finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path

from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.engine.plugs import leased
from linkspan.errors import LinkspanError, Unavailable
from linkspan.model.plug import Dhcp, Lease, Plug
from linkspan.model.snapshot import Snapshot
from linkspan.runtime.dhcp import Client, Told
from linkspan.runtime.inotify import IN_CLOSE_WRITE, Inotify

log = logging.getLogger(__name__)
_PATIENCE = 20.0  # seconds that who asked waits for the first address
_PAUSE, _SHORT_PAUSE = (
    10.0,
    0.2,
)  # seconds until a client that got nothing, or one that had an address, is started again

_Wanted = dict[str, tuple[str, str, Plug]]  # by plug id: container id, sandbox id


class DhcpClients:
    def __init__(self, ledger: Ledger, mutation: Mutation, lifecycle: Lifecycle, folder: Path) -> None:
        """`folder` holds one folder for each client, by the plug's id; programs in it can be run."""
        self._ledger, self._mutation, self._lifecycle, self._folder = ledger, mutation, lifecycle, folder
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}  # by plug id; the sandbox that it is in
        self._first: dict[str, asyncio.Future[None]] = {}
        self._closing = False

    async def start(self) -> None:
        """At the daemon's start: ends the clients that nobody wants, and follows the others."""
        wanted = _wanted(self._ledger.now, self._ledger.now.containers)
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name not in wanted:
                await Client(folder).end()
        self._run(wanted)

    def follow(self, before: Snapshot, after: Snapshot, containers: Iterable[str]) -> None:
        """What is new begins, and what is over ends, by itself."""
        ids = [id_ for id_ in containers if _plugs(before, id_) or _plugs(after, id_)]
        if not ids or self._closing:
            return
        wanted = _wanted(after, ids)
        for plug_id, (_, sandbox_id, _) in _wanted(before, ids).items():
            if plug_id in self._tasks and (plug_id not in wanted or wanted[plug_id][1] != sandbox_id):
                self._tasks.pop(plug_id)[1].cancel()
        self._run(wanted)

    @contextlib.contextmanager
    def expecting(self, plug_id: str) -> Iterator[None]:
        """Somebody waits for the first address of a plug that is going to be, and hears why there is none."""
        self._first[plug_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._first.pop(plug_id).cancel()

    async def first(self, plug_id: str) -> None:
        """Returns once it has an address. Raises why there is none."""
        try:
            await asyncio.wait_for(self._first[plug_id], _PATIENCE)
        except TimeoutError:
            raise Unavailable(f"no DHCP server has answered within {_PATIENCE:.0f} seconds") from None

    async def close(self) -> None:
        """Lets go: clients go on."""
        self._closing = True
        for _, task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._tasks.values()), return_exceptions=True)

    def _run(self, wanted: _Wanted) -> None:
        for plug_id, (container_id, sandbox_id, plug) in wanted.items():
            if plug_id not in self._tasks:
                work = self._keep(container_id, sandbox_id, plug)
                self._tasks[plug_id] = sandbox_id, self._lifecycle.begin(work)

    async def _keep(self, container_id: str, sandbox_id: str, plug: Plug) -> None:
        """Until cancelled, or until it has what it came for."""
        client = Client(self._folder / plug.id)
        try:
            await self._lease(client, container_id, sandbox_id, plug)
        except (LinkspanError, OSError) as error:
            if not self._tell(plug.id, error):
                log.error("interface %s of container %s: %s", plug.interface, container_id[:12], error)
        finally:
            if not self._closing:
                await client.end()

    async def _lease(self, client: Client, container_id: str, sandbox_id: str, plug: Plug) -> None:
        """Runs the client until it has ended with a lease; one that stays, again and again."""
        asked = plug.dhcp or Dhcp()
        had = has = plug.lease is not None and plug.lease.sandbox_id == sandbox_id
        while asked.stays or not has:
            if not client.pid:
                sandbox, container = self._ledger.now.sandboxes[sandbox_id], self._ledger.now.containers[container_id]
                await client.start(sandbox.path, plug.interface, container.name, asked)
            async with contextlib.aclosing(_told(client)) as said:
                async for told in said:
                    if told.address or asked.stays:
                        has = bool(told.address)
                        had = had or has
                        lease = _lease(sandbox_id, told)
                        await self._lifecycle.to_its_end(self._record(container_id, sandbox_id, plug, lease))
                    if has:
                        self._tell(plug.id, None)
                    if has and not asked.stays:
                        return
            why = f"DHCP has given no address: {client.last_words() or 'the client has ended'}"
            if self._tell(plug.id, Unavailable(why)):
                return
            # One that had an address has most likely lost its interface, which is there again by now.
            if not had:
                log.error("interface %s of container %s: %s; trying again", plug.interface, container_id[:12], why)
            await asyncio.sleep(_SHORT_PAUSE if had else _PAUSE)
            had = False

    async def _record(self, container_id: str, sandbox_id: str, plug: Plug, lease: Lease | None) -> None:
        async with self._lifecycle.lock(container_id):
            container = self._ledger.now.containers.get(container_id)
            if container is None or sandbox_id not in self._ledger.now.sandboxes:
                return
            change = leased(container, plug.id, lease)
            if change.writes:
                await self._mutation.carry_out(change)

    def _tell(self, plug_id: str, error: Exception | None) -> bool:
        """Whether somebody waits for this."""
        waiting = self._first.get(plug_id)
        if waiting is None or waiting.done():
            return False
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
        return True


async def _told(client: Client) -> AsyncGenerator[Told, None]:
    """What a client says, as it says it, until it ends. Of what it has said meanwhile only the last holds."""
    with Inotify(client.folder, IN_CLOSE_WRITE) as changes:
        ended = asyncio.ensure_future(client.ended())
        try:
            while True:
                over = ended.done()
                if news := client.news():
                    yield news[-1]
                if over:
                    return
                heard = asyncio.ensure_future(changes.names())
                try:
                    await asyncio.wait((heard, ended), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    heard.cancel()
        finally:
            ended.cancel()


def _lease(sandbox_id: str, told: Told) -> Lease | None:
    if not told.address:
        return None
    return Lease(sandbox_id=sandbox_id, address=told.address, prefix_length=told.prefix_length, gateway=told.gateway)


def _plugs(snapshot: Snapshot, container_id: str) -> tuple[Plug, ...]:
    container = snapshot.containers.get(container_id)
    return container.plugs if container else ()


def _wanted(snapshot: Snapshot, containers: Iterable[str]) -> _Wanted:
    found: _Wanted = {}
    for container in filter(None, map(snapshot.containers.get, containers)):
        sandbox = snapshot.sandbox(container)
        for plug in container.plugs if sandbox else ():
            if plug.dhcp and sandbox:
                found[plug.id] = container.id, sandbox.id, plug
    return found
