"""The container verbs, as the front doors call them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from linkspan.daemon.views import ContainerView, ExecView
from linkspan.model.container import Config, EndpointSettings, ExecConfig, HostConfig
from linkspan.runtime.attachment import Attachment

Filters = Mapping[str, Sequence[str]]  # Docker's filters, one list of values a key


class Containers:
    """`ref` is a name, an id or a unique prefix of an id. NotFound's text is `No such container: REF`."""

    def view(self, ref: str) -> ContainerView:
        raise NotImplementedError

    def views(self) -> list[ContainerView]:
        """Every container, newest first."""
        raise NotImplementedError

    async def create(
        self,
        name: str,
        config: Config,
        host_config: HostConfig,
        networks: Mapping[str, EndpointSettings],
    ) -> tuple[str, list[str]]:
        """The new container's id, and warnings. `networks` is by the name the user typed; `name` may be empty."""
        raise NotImplementedError

    async def start(self, ref: str) -> None:
        """Raises NotModified where it runs already."""
        raise NotImplementedError

    async def stop(self, ref: str, timeout: int | None, signal: str) -> None:
        """`timeout` None is the container's own (10 s); negative waits for ever. NotModified where it does not run."""
        raise NotImplementedError

    async def restart(self, ref: str, timeout: int | None, signal: str) -> None:
        raise NotImplementedError

    async def kill(self, ref: str, signal: str) -> None:
        """`signal` is KILL, SIGKILL or 9; empty is KILL."""
        raise NotImplementedError

    async def pause(self, ref: str) -> None:
        raise NotImplementedError

    async def unpause(self, ref: str) -> None:
        raise NotImplementedError

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        raise NotImplementedError

    async def rename(self, ref: str, name: str) -> None:
        raise NotImplementedError

    async def update(self, ref: str, changes: bytes) -> list[str]:
        """`changes` is the JSON of a partial HostConfig; answers warnings."""
        raise NotImplementedError

    async def prune(self, keep: Callable[[ContainerView], bool]) -> tuple[list[str], int]:
        """Removes what does not run, except what `keep` says; answers the ids and the bytes freed."""
        raise NotImplementedError

    def wait(self, ref: str, condition: str) -> Awaitable[tuple[int, str]]:
        """Registers at once; awaiting gives (exit status, error). `condition`: not-running, next-exit or removed."""
        raise NotImplementedError

    async def attach(self, ref: str, *, stdin: bool) -> Attachment:
        """Also before the start: the streams are then those of the next run."""
        raise NotImplementedError

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
        """(STDOUT or STDERR, one piece of output), with Docker's time stamp in front of each line where asked for."""
        raise NotImplementedError

    async def resize(self, ref: str, height: int, width: int) -> None:
        raise NotImplementedError

    async def top(self, ref: str, ps_args: str) -> tuple[list[str], list[list[str]]]:
        """Column titles and rows, as ps prints them."""
        raise NotImplementedError

    async def stats(self, ref: str) -> dict[str, Any]:
        """One sample in Docker's JSON form, without `precpu_stats`."""
        raise NotImplementedError

    async def changes(self, ref: str) -> list[tuple[int, str]]:
        """(0 modified, 1 added or 2 deleted; path) of everything that differs from the image."""
        raise NotImplementedError

    async def size(self, ref: str) -> tuple[int, int]:
        """(bytes written by the container, bytes of its whole root file system)."""
        raise NotImplementedError

    def export(self, ref: str) -> AsyncIterator[bytes]:
        """The root file system as a tar stream."""
        raise NotImplementedError

    async def archive_stat(self, ref: str, path: str) -> dict[str, Any]:
        """Docker's X-Docker-Container-Path-Stat: name, size, mode, mtime, linkTarget."""
        raise NotImplementedError

    def archive_get(self, ref: str, path: str) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def archive_put(
        self, ref: str, path: str, body: AsyncIterator[bytes], *, no_overwrite: bool, copy_owner: bool
    ) -> None:
        raise NotImplementedError

    async def exec_create(self, ref: str, config: ExecConfig) -> str:
        raise NotImplementedError

    async def exec_start(
        self, exec_id: str, *, detach: bool, tty: bool, console_size: tuple[int, int] | None
    ) -> Attachment | None:
        """None where detached."""
        raise NotImplementedError

    async def exec_resize(self, exec_id: str, height: int, width: int) -> None:
        raise NotImplementedError

    def exec_view(self, exec_id: str) -> ExecView:
        """NotFound's text is `No such exec instance: ID`."""
        raise NotImplementedError
