"""From a record to a running process and back: root file system, files, volumes, spec, process.

Nothing here decides. What is made under one container's folder is found there by a daemon with an empty memory:

    containers/<id>/{diff,work,merged}                   the overlay: what it wrote, and where it is mounted
    containers/<id>/{hosts,hostname,resolv.conf}         bind-mounted over /etc/…
    containers/<id>/container.log                        written by conmon
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from linkspan.containers import logging
from linkspan.daemon.attachments import Attachments
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.sandbox_files import SandboxFiles
from linkspan.daemon.volumes import Volumes
from linkspan.engine import links
from linkspan.engine.join import sandbox_owner
from linkspan.errors import Conflict, Internal, InvalidArgument
from linkspan.model.container import Container, ExecConfig, Mount
from linkspan.model.snapshot import Write, drop
from linkspan.runtime import archive, rootfs, spec, volumes
from linkspan.runtime.host_facts import HostFacts, block_limits, devices
from linkspan.runtime.processes import Processes
from linkspan.runtime.resources import cgroup
from linkspan.runtime.users import resolve


class Launch:
    def __init__(
        self,
        ledger: Ledger,
        processes: Processes,
        attachments: Attachments,
        files: SandboxFiles,
        volume_verbs: Volumes,
        *,
        folder: Path,
        cgroup_parent: str,
        host_facts: HostFacts,
    ) -> None:
        """`folder` holds one folder for each container, by id."""
        self._ledger, self.processes, self._attachments, self.files = ledger, processes, attachments, files
        self._volumes, self._folder, self._cgroup, self._facts = volume_verbs, folder, cgroup_parent, host_facts

    def log_path(self, container_id: str) -> Path:
        return self._folder / container_id / "container.log"

    def cgroup_path(self, container: Container) -> str:
        """Below every cgroup mount."""
        return f"{container.host_config.cgroup_parent or self._cgroup}/{container.id}"

    def sandbox_owner(self, container: Container) -> Container:
        """Whose sandbox, and whose files in /etc, this one uses."""
        return sandbox_owner(self._ledger.now, container)

    # -- before the first start ---------------------------------------------------------------------------------------

    async def prepare(self, container: Container) -> Container:
        """Checks what only the host can tell, and makes the volumes that are not there. Raises InvalidArgument."""
        spec.validate(container.config, container.host_config)
        try:
            (self._folder / container.id).mkdir(mode=0o710)
        except OSError as error:
            raise Internal(f"cannot make the container's folder in {self._folder}: {error.strerror}") from error
        mounts: list[Mount] = []
        try:
            for mount in container.mounts:
                if mount.type == "bind":
                    self._check_bind(mount)
            for mount in container.mounts:
                mounts.append(await self._volume(container, mount) if mount.type == "volume" else mount)
        except BaseException:
            self.abandon(msgspec.structs.replace(container, mounts=tuple(mounts)))
            raise
        return msgspec.structs.replace(container, mounts=tuple(mounts))

    def abandon(self, container: Container) -> None:
        """What `prepare` made for a container that is not to be after all."""
        rootfs.remove(self._folder / container.id)
        self._ledger.commit(self._forsaken_volumes(container))

    def _check_bind(self, mount: Mount) -> None:
        source = Path(mount.source)
        if source.exists():
            return
        if "create" not in mount.options:
            raise InvalidArgument(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
            )
        try:
            source.mkdir(parents=True)
        except OSError as error:
            raise Internal(
                f"error while creating mount source path '{mount.source}': mkdir {mount.source}: {error.strerror}"
            ) from error

    async def _volume(self, container: Container, mount: Mount) -> Mount:
        """A new volume takes what the image has at its place."""
        known = self._ledger.now.volumes.get(mount.name) if mount.name else None
        volume = known or self._volumes.make(mount.name, mount.labels)
        volumes.create(self._volumes.folder, volume.name)  # its making or removal may have been cut short
        if "nocopy" not in mount.options:
            layers = [Path(layer) for layer in container.layers]
            try:
                await asyncio.to_thread(volumes.copy_up, layers, mount.destination, Path(volume.mountpoint))
            except BaseException:
                if known is None:
                    self._ledger.commit([drop(volume)])
                    volumes.remove(self._volumes.folder, volume.name)
                raise
        return msgspec.structs.replace(mount, name=volume.name, source=volume.mountpoint)

    # -- a run --------------------------------------------------------------------------------------------------------

    async def start(self, container: Container) -> int:
        """The pid of the container's process. Raises what stands in the way; `stop` takes away what was made."""
        try:
            merged = rootfs.mount(self._folder / container.id, [Path(layer) for layer in container.layers])
            self._write_files(container)
            for mount in container.mounts:
                if mount.type == "bind":
                    self._check_bind(mount)
            around = self._surroundings(container, merged)
            config, log = container.config, container.host_config.log_config
            pid = await self.processes.create(
                container.id,
                spec.oci_spec(container, around),
                log_path=None if log.type == logging.NONE else self.log_path(container.id),
                log_limit=logging.largest(log),
                tty=config.tty,
                stdin=config.open_stdin,
                stdin_once=config.stdin_once,
            )
            await self._attachments.created(container.id)
            await self.processes.start(container.id)
        except BaseException as error:
            self._attachments.failed(container.id)
            if isinstance(error, OSError):
                raise Internal(f"cannot start container {container.name}: {error}") from error
            raise
        return pid

    async def stop(self, container: Container) -> None:
        """What a run left of processes and mounts; nothing there is success."""
        await self.processes.delete(container.id)
        # In a thread: taking an overlay off writes out what the file system below has not written yet.
        await asyncio.to_thread(rootfs.unmount, self._folder / container.id)

    async def update(self, container: Container) -> None:
        await self.processes.update(container.id, cgroup(container.host_config, swap=self._facts["swap_accounting"]))

    def exec_process(self, container: Container, config: ExecConfig) -> dict[str, object]:
        merged = self._folder / container.id / "merged"
        identity = resolve(merged, config.user or container.config.user, container.host_config.group_add or ())
        around = msgspec.structs.replace(self._surroundings(container, merged), identity=identity)
        return spec.exec_process(container, config, around)

    def _surroundings(self, container: Container, merged: Path) -> spec.Surroundings:
        owner = self.sandbox_owner(container)
        sandbox = self._ledger.now.sandbox(owner)
        host, files = container.host_config, self.files
        return spec.Surroundings(
            **self._facts,
            rootfs=str(merged),
            identity=resolve(merged, container.config.user, host.group_add or ()),
            cgroup=self.cgroup_path(container),
            hostname=owner.config.hostname,
            network_namespace=sandbox.path if sandbox and sandbox.kind != "host" else "",
            pid_namespace=self._namespace(host.pid_mode, "pid"),
            ipc_namespace=self._namespace(host.ipc_mode, "ipc"),
            hosts=str(files.hosts(owner.id)),
            hostname_file=str(files.hostname(owner.id)),
            resolv_conf=str(files.resolv_conf(owner.id)),
            devices=devices(host.devices, privileged=host.privileged),
            link_environment=tuple(links.environment(self._ledger.now, container)),
            block_limits=block_limits(host),
        )

    def _namespace(self, mode: str, kind: str) -> str:
        """The namespace that `--pid container:X` or `--ipc container:X` joins; "" where it is not another's."""
        if not mode.startswith("container:"):
            return ""
        peer = self._ledger.now.container(mode.removeprefix("container:"))
        if not peer.state.running:
            raise Conflict(f"cannot join {kind} namespace of a non running container: {peer.id}")
        return f"/proc/{peer.state.pid}/ns/{kind}"

    def _write_files(self, container: Container) -> None:
        if not container.shares_sandbox:
            self.files.write(self._ledger.now, container)

    # -- the end, and looking in --------------------------------------------------------------------------------------

    async def remove(self, container: Container) -> None:
        """Everything of the container but its volumes."""
        await self.stop(container)
        self._attachments.failed(container.id)
        await asyncio.to_thread(rootfs.remove, self._folder / container.id)

    async def remove_anonymous_volumes(self, container: Container) -> list[Write]:
        """The directories of anonymous volumes that nobody else uses; answers their records' removal."""
        return await asyncio.to_thread(self._forsaken_volumes, container)

    def _forsaken_volumes(self, container: Container) -> list[Write]:
        gone = []
        for mount in container.mounts:
            volume = self._ledger.now.volumes.get(mount.name) if mount.type == "volume" else None
            if volume and volume.anonymous and set(self._volumes.view(volume.name).used_by) <= {container.id}:
                volumes.remove(self._volumes.folder, volume.name)
                gone.append(drop(volume))
        return gone

    @contextlib.asynccontextmanager
    async def root(self, container: Container) -> AsyncIterator[Path]:
        """The container's file system, mounted for as long as it is looked at where it does not run."""
        folder = self._folder / container.id
        if rootfs.is_mounted(folder):
            yield folder / "merged"
            return
        merged = rootfs.mount(folder, [Path(layer) for layer in container.layers])
        try:
            yield merged
        finally:
            current = self._ledger.now.containers.get(container.id)
            if current is None or not current.state.running:
                await asyncio.to_thread(rootfs.unmount, folder)

    @contextlib.asynccontextmanager
    async def written(self, container: Container) -> AsyncIterator[AsyncIterator[bytes]]:
        """What the container has changed, as the tar of a layer."""
        async with self.root(container):
            yield archive.layer(self._folder / container.id / "diff")

    @contextlib.asynccontextmanager
    async def seen(self, container: Container, path: str, *, write: bool) -> AsyncIterator[tuple[Path, str]]:
        """(a root directory, the path in it) of what the container sees at `path`, also in its volumes and binds.

        Raises InvalidArgument for writing where the container may only read.
        """
        if write and container.host_config.readonly_rootfs:
            raise InvalidArgument("container rootfs is marked read-only")
        if container.state.running:
            yield Path(f"/proc/{container.state.pid}/root"), path
            return
        async with self.root(container) as root:
            inside = Path("/", rootfs.resolve_in_root(root, path).relative_to(root))
            mounts = [m for m in container.mounts if inside.is_relative_to(m.destination) and Path(m.source).is_dir()]
            if not mounts:
                yield root, path
                return
            mount = max(mounts, key=lambda m: len(m.destination))
            if write and not mount.writable:
                raise InvalidArgument("mounted volume is marked read-only")
            ending = path[len(path.rstrip("/.")) :] if path.endswith(("/", "/.")) else ""
            yield Path(mount.source), f"/{inside.relative_to(mount.destination)}{ending}"

    async def sizes(self, container: Container) -> tuple[int, int]:
        """(bytes written by the container, bytes of its whole root file system)."""
        layers = [Path(layer) for layer in container.layers]
        return await asyncio.to_thread(rootfs.sizes, self._folder / container.id, layers)

    async def changes(self, container: Container) -> list[tuple[int, str]]:
        layers = [Path(layer) for layer in container.layers]
        return await asyncio.to_thread(archive.changes, self._folder / container.id / "diff", layers)
