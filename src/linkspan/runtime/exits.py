"""The ends of processes, each told once: from conmon's exit files, and where conmon itself was killed.

conmon writes `exits/<id>` when the process has ended, its output delivered and logged. Taking note of it moves the file
to `containers/<id>/exit`, so that it is told once and still known to who asks later. A conmon that dies without that
word leaves a process whose output nobody reads: it is ended, and its end told as 137, as if killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from linkspan.runtime import cgroups
from linkspan.runtime.inotify import IN_CLOSE_WRITE, IN_MOVED_TO, Inotify

KILLED = 128 + signal.SIGKILL


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a container's process (`exec_id` None) or of an exec's. `finished` is Unix time, in seconds."""

    id: str
    exec_id: str | None
    code: int
    oom: bool = False
    finished: float = 0.0


class Exits:
    def __init__(self, folder: Path, containers: Path, cgroup: Callable[[str], str]) -> None:
        """`folder` is conmon's exit directory, `cgroup` gives the control group of a container."""
        self._folder, self._containers, self._cgroup = folder, containers, cgroup
        self._news: asyncio.Queue[str | Exit] = asyncio.Queue()
        self._monitors: dict[str, int] = {}  # pidfds of conmons, by container

    def put(self, end: Exit) -> None:
        self._news.put_nowait(end)

    async def each(self) -> AsyncIterator[Exit]:
        """Also those from before this call. One caller at a time."""
        with Inotify(self._folder, IN_MOVED_TO | IN_CLOSE_WRITE) as watch:
            for name in sorted(path.name for path in self._folder.iterdir()):
                self._news.put_nowait(name)
            for home in self._containers.iterdir():
                self.watch(home.name)
            watcher = asyncio.create_task(self._follow(watch))
            try:
                while True:
                    item = await self._news.get()
                    told = item if isinstance(item, Exit) else self._take(item)
                    if told:
                        yield told
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)

    async def _follow(self, watch: Inotify) -> None:
        while True:
            for _, name in await watch.names():
                self._news.put_nowait(name)

    def _take(self, name: str) -> Exit | None:
        home = self._containers / name
        try:
            text = (self._folder / name).read_text()
            if not text:
                return None  # conmon writes beside it and renames
            (self._folder / name).rename(home / "exit")
        except OSError:
            return None  # told already, or of a run that was deleted
        oom = (home / "oom").exists() or cgroups.oom_killed(self._cgroup(name))
        return Exit(id=name, exec_id=None, code=int(text), oom=oom, finished=(home / "exit").stat().st_mtime)

    def recorded(self, id: str) -> tuple[int, float] | None:
        """(exit status, when) of the last run, told already or not; None while there is none."""
        for path in (self._folder / id, self._containers / id / "exit"):
            with contextlib.suppress(OSError, ValueError):
                return int(path.read_text()), path.stat().st_mtime
        return None

    def forget(self, id: str) -> None:
        """The container is being removed: what its conmon still has to say is of no interest."""
        self._unwatch(id)
        (self._folder / id).unlink(missing_ok=True)

    # -- conmon itself -----------------------------------------------------------------------------------------------

    def monitor(self, id: str) -> int:
        """The pid of the container's conmon; 0 where it does not live."""
        home = self._containers / id
        try:
            pid = int((home / "conmon.pid").read_text())
            return pid if os.fsencode(home) in Path(f"/proc/{pid}/cmdline").read_bytes() else 0
        except (OSError, ValueError):
            return 0

    def watch(self, id: str) -> None:
        """From now on the death of the container's conmon is noticed."""
        if id in self._monitors:
            return
        pid = self.monitor(id)
        if not pid:
            self._monitor_gone(id)
            return
        with contextlib.suppress(ProcessLookupError):
            self._monitors[id] = pidfd = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(pidfd, self._monitor_gone, id)

    def _unwatch(self, id: str) -> None:
        if (pidfd := self._monitors.pop(id, -1)) >= 0:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def _monitor_gone(self, id: str) -> None:
        self._unwatch(id)
        home = self._containers / id
        if self.recorded(id) or self.monitor(id) or not (home / "conmon.pid").exists():
            return
        if left := cgroups.pids(self._cgroup(id)):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                cgroups.freeze(self._cgroup(id), False)
            asyncio.get_running_loop().call_later(0.01, self._monitor_gone, id)
            return
        with contextlib.suppress(OSError):
            # As conmon would have: the rest follows from it.
            beside = home / "killed"
            beside.write_text(str(KILLED))
            beside.rename(self._folder / id)

    def close(self) -> None:
        for id in list(self._monitors):
            self._unwatch(id)
