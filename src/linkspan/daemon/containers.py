"""The container verbs, as the front doors call them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import platform
import posixpath
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from linkspan.containers import logging
from linkspan.containers.create import CreateRequest, create, name_in_use
from linkspan.containers.limits import check_limits
from linkspan.containers.names import check_name, invent_name
from linkspan.containers.signals import parse_signal
from linkspan.daemon.attachments import Attachments
from linkspan.daemon.execs import Execs
from linkspan.daemon.identity import new_id, now
from linkspan.daemon.images import Images
from linkspan.daemon.launch import Launch
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.views import Attachment as NetworkPlace
from linkspan.daemon.views import ContainerView, ExecView
from linkspan.engine import links
from linkspan.engine.change import Change
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, NotFound, Unsupported
from linkspan.model.container import Config, Container, EndpointSettings, ExecConfig, HostConfig, LogConfig
from linkspan.model.snapshot import put
from linkspan.runtime import archive, logs, stats
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.host_facts import processors_online
from linkspan.runtime.top import top


class Containers:
    """`ref` is a name, an id or a unique prefix of an id. NotFound's text is `No such container: REF`."""

    def __init__(
        self,
        ledger: Ledger,
        lifecycle: Lifecycle,
        launch: Launch,
        attachments: Attachments,
        execs: Execs,
        images: Images,
        programmer: Programmer,
        mutation: Mutation,
        *,
        default_log: LogConfig,
    ) -> None:
        self._ledger, self._lifecycle, self._launch, self._mutation = ledger, lifecycle, launch, mutation
        self._attachments, self._execs, self._images, self._programmer = attachments, execs, images, programmer
        self._default_log = default_log

    def _find(self, ref: str) -> Container:
        return self._ledger.now.container(ref)

    # -- looking ------------------------------------------------------------------------------------------------------

    def view(self, ref: str) -> ContainerView:
        return self._view(self._find(ref))

    def views(self) -> list[ContainerView]:
        """Every container, newest first."""
        found = sorted(self._ledger.now.containers.values(), key=lambda c: c.created, reverse=True)
        return [self._view(container) for container in found]

    def _view(self, container: Container) -> ContainerView:
        snapshot = self._ledger.now
        endpoints = {e.network_id: e for e in snapshot.endpoints_in(container)}
        places = tuple(
            NetworkPlace(snapshot.networks[id_], endpoints.get(id_))
            for id_ in container.networks
            if id_ in snapshot.networks
        )
        try:
            image = self._images.view(container.image_id).image
        except LinkspanError:
            image = None
        owner = self._launch.sandbox_owner(container)
        files = self._launch.files
        return ContainerView(
            container,
            snapshot.sandbox(container),
            places,
            image,
            "" if container.host_config.log_config.type == logging.NONE else str(self._launch.log_path(container.id)),
            str(files.hosts(owner.id)),
            str(files.hostname(owner.id)),
            str(files.resolv_conf(owner.id)),
            self._execs.of(container.id),
            tuple(f"/{child.name}:/{container.name}/{alias}" for alias, child in links.children(snapshot, container)),
            tuple(f"/{owner.name}/{alias}" for alias, owner in links.parents(snapshot, container)),
        )

    # -- creation -----------------------------------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        config: Config,
        host_config: HostConfig,
        networks: Mapping[str, EndpointSettings],
        *,
        wanted_platform: str = "",
        container_id: str = "",
    ) -> tuple[str, list[str]]:
        """The new container's id, and warnings. `networks` is by the name the user typed; `name` may be empty.

        NotFound where the image is not here, or only for another platform: clients answer it by pulling the image.
        """
        if not config.image:
            raise InvalidArgument("config cannot be empty in order to create a container: no image given")
        image = self._images.view(config.image, wanted_platform).image
        taken = self._ledger.now.container_names
        request = CreateRequest(
            id=container_id or new_id(),
            created=now(),
            name=name.removeprefix("/") or invent_name(secrets.randbits(64), lambda n: n in taken),
            config=config,
            host_config=host_config,
            networks=networks,
            image=image,
            hostname=platform.node(),
            processors=processors_online(),
            log_config=self._default_log,
        )
        try:
            container, warnings = create(self._ledger.now, request)
        except NotFound as error:
            # 404 is for the image alone: clients answer it by pulling the image.
            raise InvalidArgument(str(error)) from error
        container = await self._launch.prepare(container)
        if container.name in self._ledger.now.container_names:  # somebody was quicker while volumes were filled
            self._launch.abandon(container)
            create(self._ledger.now, request)
        gone = [m.name for m in container.mounts if m.type == "volume" and m.name not in self._ledger.now.volumes]
        if gone:
            self._launch.abandon(container)
            raise Conflict(f"volume {gone[0]} was removed while container {container.name} was being created")
        self._ledger.commit([put(container)])
        self._lifecycle.publish("create", container)
        return container.id, list(warnings)

    # -- the life cycle -----------------------------------------------------------------------------------------------

    async def start(self, ref: str) -> None:
        """Raises NotModified where it runs already."""
        await self._lifecycle.to_its_end(self._lifecycle.start(self._find(ref).id))

    async def stop(self, ref: str, timeout: int | None, signal: str) -> None:
        """`timeout` None is the container's own (10 s); negative waits for ever. NotModified where it does not run."""
        await self._lifecycle.to_its_end(self._lifecycle.stop(self._find(ref).id, timeout, _signal(signal)))

    async def restart(self, ref: str, timeout: int | None, signal: str) -> None:
        await self._lifecycle.to_its_end(self._lifecycle.restart(self._find(ref).id, timeout, _signal(signal)))

    async def kill(self, ref: str, signal: str) -> None:
        """`signal` is KILL, SIGKILL or 9; empty is KILL."""
        try:
            container, number = self._find(ref), parse_signal(signal or "KILL")
        except LinkspanError as error:
            raise type(error)(f"cannot kill container: {ref}: {error}") from error
        await self._lifecycle.to_its_end(self._lifecycle.kill(container.id, number))

    async def pause(self, ref: str) -> None:
        await self._lifecycle.to_its_end(self._lifecycle.pause(self._find(ref).id, "pause"))

    async def unpause(self, ref: str) -> None:
        await self._lifecycle.to_its_end(self._lifecycle.pause(self._find(ref).id, "unpause"))

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        await self._lifecycle.to_its_end(self._lifecycle.remove(self._find(ref).id, force=force, volumes=volumes))

    async def rename(self, ref: str, name: str) -> None:
        name = name.removeprefix("/")
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        check_name(name)
        async with self._lifecycle.lock(self._find(ref).id):
            container = self._find(ref)
            if holder := self._ledger.now.container_names.get(name):
                if holder == container.id:
                    raise InvalidArgument("Renaming a container with the same name as its current name")
                raise name_in_use(name, holder)
            renamed = msgspec.structs.replace(container, name=name)
            await self._mutation.carry_out(Change((put(renamed),)))
            self._lifecycle.publish("rename", renamed, oldName="/" + container.name)

    async def update(self, ref: str, changes: bytes) -> list[str]:
        """`changes` is the JSON of a partial HostConfig; answers warnings."""
        async with self._lifecycle.lock(self._find(ref).id):
            container = self._find(ref)
            current = msgspec.structs.replace(container, host_config=_updated(container, changes))
            if current.state.running:
                await self._launch.update(current)
            self._ledger.commit([put(current)])
            self._lifecycle.publish("update", current)
        return []

    async def prune(self, keep: Callable[[ContainerView], bool]) -> tuple[list[str], int]:
        """Removes what does not run, except what `keep` says; answers the ids and the bytes freed."""
        removed, freed = [], 0
        for view in self.views():
            status = view.container.state.status
            if status in ("created", "exited", "dead") and not keep(view):
                written, _ = await self.size(view.container.id)
                with contextlib.suppress(Conflict, NotFound):
                    await self.remove(view.container.id, force=False, volumes=False)
                    removed.append(view.container.id)
                    freed += written
        return removed, freed

    def wait(self, ref: str, condition: str) -> Awaitable[tuple[int, str]]:
        """Registers at once; awaiting gives (exit status, error). `condition`: not-running, next-exit or removed."""
        container = self._find(ref)
        state = container.state
        if (condition or "not-running") == "not-running" and not state.running and state.status != "restarting":
            answer: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
            answer.set_result((state.exit_code, ""))
            return answer
        return self._lifecycle.waiting.register(container.id, condition or "not-running")

    # -- streams ------------------------------------------------------------------------------------------------------

    async def attach(self, ref: str, *, stdin: bool) -> Attachment:
        """Also before the start: the streams are then those of the next run."""
        container = self._find(ref)
        if container.state.status == "paused":
            raise Conflict(f"container {ref} is paused, unpause the container before attach")
        streams = await self._attachments.attach(container, stdin=stdin)
        self._lifecycle.publish("attach", container)
        return streams

    def logs(
        self,
        ref: str,
        *,
        stdout: bool,
        stderr: bool,
        since: float,
        until: float,
        tail: int | None,
        follow: bool,
        timestamps: bool,
    ) -> AsyncIterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, one piece of output), with Docker's time stamp in front of each line where asked for.

        Raises Unsupported, at once, where nothing is kept.
        """
        container = self._find(ref)
        if container.host_config.log_config.type == logging.NONE:
            raise Unsupported("configured logging driver does not support reading")

        def read(ended: asyncio.Event) -> AsyncIterator[tuple[int, bytes]]:
            return logs.read(
                self._launch.log_path(container.id),
                stdout=stdout,
                stderr=stderr,
                since=since,
                until=until,
                tail=tail,
                follow=follow,
                timestamps=timestamps,
                ended=ended,
            )

        return self._until_its_end(container, read, condition="next-exit" if follow else "removed")

    async def _until_its_end(
        self,
        container: Container,
        read: Callable[[asyncio.Event], AsyncIterator[tuple[int, bytes]]],
        *,
        condition: str,
    ) -> AsyncIterator[tuple[int, bytes]]:
        ended = asyncio.Event()
        if not container.state.running:
            ended.set()
        watching = asyncio.ensure_future(self._lifecycle.waiting.register(container.id, condition))
        watching.add_done_callback(lambda _: ended.set())
        try:
            async for piece in read(ended):
                yield piece
        finally:
            watching.cancel()

    async def resize(self, ref: str, height: int, width: int) -> None:
        await self._launch.processes.resize(self._running(ref).id, height, width)

    async def exec_create(self, ref: str, config: ExecConfig) -> str:
        return self._execs.create(self._find(ref), config)

    async def exec_start(
        self, exec_id: str, *, detach: bool, tty: bool, console_size: tuple[int, int] | None
    ) -> Attachment | None:
        """None where detached."""
        return await self._execs.start(exec_id, detach=detach, size=console_size)

    async def exec_resize(self, exec_id: str, height: int, width: int) -> None:
        await self._execs.resize(exec_id, height, width)

    def exec_view(self, exec_id: str) -> ExecView:
        """NotFound's text is `No such exec instance: ID`."""
        return self._execs.view(exec_id)

    # -- numbers ------------------------------------------------------------------------------------------------------

    async def top(self, ref: str, ps_args: str) -> tuple[list[str], list[list[str]]]:
        """Column titles and rows, as ps prints them."""
        return await top(await self._launch.processes.pids(self._running(ref).id), ps_args)

    async def stats(self, ref: str) -> dict[str, Any]:
        """One sample in Docker's JSON form, without `precpu_stats`."""
        container = self._find(ref)
        sample: dict[str, Any] = {"id": container.id, "name": f"/{container.name}"}
        sample |= stats.sample(self._launch.cgroup_path(container))
        owner = self._launch.sandbox_owner(container)
        sandbox = self._ledger.now.sandbox(owner)
        names = [e.interface for e in self._ledger.now.endpoints_in(owner) if e.interface]
        if container.state.running and sandbox and names:
            counters = await self._programmer.run(
                lambda kernel: {name: kernel.statistics(name, sandbox.path) for name in names}
            )
            sample["networks"] = {name: dataclasses.asdict(found) for name, found in counters.items()}
        return sample

    async def size(self, ref: str) -> tuple[int, int]:
        """(bytes written by the container, bytes of its whole root file system)."""
        return await self._launch.sizes(self._find(ref))

    # -- files --------------------------------------------------------------------------------------------------------

    async def changes(self, ref: str) -> list[tuple[int, str]]:
        """(0 modified, 1 added or 2 deleted; path) of everything that differs from the image."""
        return await self._launch.changes(self._find(ref))

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """The root file system as a tar stream."""
        container = self._find(ref)
        async with self._at_rest(container), self._launch.root(container) as root:
            async for piece in archive.export(root):
                yield piece
        self._lifecycle.publish("export", container)

    async def archive_stat(self, ref: str, path: str) -> dict[str, Any]:
        """Docker's X-Docker-Container-Path-Stat: name, size, mode, mtime, linkTarget."""
        async with self._seen(ref, path) as (root, inside):
            found = await archive.stat(root, inside)
            return found if inside == path else {**found, "name": posixpath.basename(posixpath.normpath(path))}

    async def archive_get(self, ref: str, path: str) -> AsyncIterator[bytes]:
        async with self._seen(ref, path) as (root, inside):
            async for piece in archive.get(root, inside):
                yield piece

    async def archive_put(
        self, ref: str, path: str, body: AsyncIterator[bytes], *, no_overwrite: bool, copy_owner: bool
    ) -> None:
        async with self._seen(ref, path, write=True) as (root, inside):
            await archive.put(root, inside, body, no_overwrite=no_overwrite, copy_owner=copy_owner)

    @contextlib.asynccontextmanager
    async def _at_rest(self, container: Container) -> AsyncIterator[None]:
        """Holds up the start and removal of a container that does not run, whose file system is looked at."""
        if container.state.running:
            yield
            return
        async with self._lifecycle.lock(container.id):
            yield

    @contextlib.asynccontextmanager
    async def _seen(self, ref: str, path: str, *, write: bool = False) -> AsyncIterator[tuple[Path, str]]:
        try:
            container = self._find(ref)
            async with self._at_rest(container), self._launch.seen(container, path, write=write) as found:
                yield found
        except NotFound as error:
            if str(error).startswith("Could not find the file"):  # Docker's words
                raise NotFound(f"Could not find the file {path} in container {ref}") from error
            raise

    def _running(self, ref: str) -> Container:
        container = self._find(ref)
        if not container.state.running:
            raise Conflict(f"container {container.id} is not running")
        return container


def _updated(container: Container, changes: bytes) -> HostConfig:
    """What a client leaves out, or sends empty, stays. Raises InvalidArgument."""
    try:
        asked = msgspec.json.decode(changes, type=dict[str, Any])
        present = msgspec.to_builtins(container.host_config)
        given = {key: value for key, value in asked.items() if key in present and value not in (None, 0, "")}
        if not (given.get("RestartPolicy") or {}).get("Name"):  # docker sends one without a name
            given.pop("RestartPolicy", None)
        updated = msgspec.convert({**present, **given}, type=HostConfig)
    except (msgspec.MsgspecError, AttributeError) as error:
        raise InvalidArgument(f"invalid update of container {container.name}: {error}") from error
    if container.host_config.auto_remove and updated.restart_policy.name not in ("", "no"):
        raise InvalidArgument("Restart policy cannot be updated because AutoRemove is enabled for the container")
    check_limits(updated, processors_online())
    return updated


def _signal(text: str) -> int | None:
    return parse_signal(text) if text else None
