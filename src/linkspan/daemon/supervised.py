"""A program of others that works for us and outlives the daemon: one that routes or encrypts between hosts, say.

It is started in a session of its own and known again by a word in its environment, so that a restart of the daemon
interrupts nothing that it does. When it ends it is started again, after a pause that grows while it ends at once. Where
it was started with another command than it should have now, it is started anew. What it writes goes to a file, of which
the last lines are told when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

log = logging.getLogger(__name__)
_PAUSES = (0.1, 10.0)  # seconds before it is started again: after the first end, and at most
_LASTING = 10.0  # seconds after which it has not ended at once
_GRACE = 5.0  # seconds between the request to end and the end by force
_MOST = 1 << 20  # bytes of its words that are kept
_LOOK = 60.0  # seconds between two looks at how much that is
_LAST_WORDS = 400  # characters
_MARK = b"LINKSPAN_SUPERVISED="  # in its environment: whose it is, and a digest of the command that it was started with


@dataclasses.dataclass(frozen=True, slots=True)
class _Process:
    """`ticks` is when it was started, as /proc has it: a number that comes again for another process has others."""

    pid: int
    ticks: int
    mark: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """The process as it is now. `restarts` counts those that this daemon has seen."""

    pid: int
    restarts: int


class Supervised:
    def __init__(self, name: str, folder: Path, command: Sequence[str]) -> None:
        """`name` is its name in the log, and that of its files in `folder`."""
        self.name, self._folder, self._command = name, folder, tuple(command)
        digest = hashlib.sha256("\0".join(command).encode()).hexdigest()[:16]
        self._whose = f"{folder}/{name} ".encode()
        self._mark = self._whose + digest.encode()
        self._known: _Process | None = None
        self._restarts = 0
        self._up = asyncio.Event()

    async def run(self, started: Callable[[], Awaitable[None]] | None = None) -> None:
        """Until cancelled; the process stays. `started` is called each time that there is a new one."""
        pause, said = _PAUSES[0], ""
        while True:
            process, before = self._find(), time.monotonic()
            if process is not None and process.mark != self._mark:
                await _end(process)
                process = None
            try:
                if process is None:
                    process = self._start()
                    if started:
                        await started()
                self._up.set()
                await self._gone(process)
                why = f"it has ended: {self.last_words() or 'it said nothing'}"
            except OSError as error:
                why = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            finally:
                self._up.clear()
            self._restarts += 1
            lasted = time.monotonic() - before > _LASTING
            pause = _PAUSES[0] if lasted else min(2 * pause, _PAUSES[1])
            if why != said or lasted:
                log.error("%s: %s; it is started again", self.name, why)
            said = why
            await asyncio.sleep(pause)

    async def up(self) -> None:
        """Returns once there is one."""
        await self._up.wait()

    async def end(self) -> None:
        """Ends the process, whoever started it, and returns once it is gone. That there is none is no error. Cancel
        `run` first, or it starts another."""
        if process := self._find():
            await _end(process)
        self.log.unlink(missing_ok=True)

    def now(self) -> Running | None:
        process = self._find()
        return Running(process.pid, self._restarts) if process else None

    def last_words(self) -> str:
        try:
            text = self.log.read_bytes()[-_LAST_WORDS:].decode(errors="replace")
        except OSError:
            return ""
        return "; ".join(line.strip() for line in text.splitlines()[-4:] if line.strip())

    @property
    def log(self) -> Path:
        return self._folder / f"{self.name}.log"

    def _find(self) -> _Process | None:
        if self._known is not None and _ticks(self._known.pid) != self._known.ticks:
            _reap(self._known)
            self._known = None
        if self._known is None:
            self._known = next(_marked(self._whose), None)
        return self._known

    def _start(self) -> _Process:
        """Raises OSError: the program is not there, say."""
        self._folder.mkdir(parents=True, exist_ok=True)
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        _keep_to_ourselves()
        try:
            pid = os.posix_spawnp(
                self._command[0],
                self._command,
                os.environb | {_MARK[:-1]: self._mark},
                file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 0)] + [(os.POSIX_SPAWN_DUP2, output, n) for n in (1, 2)],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGHUP),
            )
        finally:
            os.close(output)
            os.close(nothing)
        self._known = _Process(pid, _ticks(pid) or 0, self._mark)
        return self._known

    async def _gone(self, process: _Process) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    return await _wait(process)
            except TimeoutError:
                with contextlib.suppress(OSError):
                    if self.log.stat().st_size > _MOST:
                        os.truncate(self.log, 0)


def _keep_to_ourselves() -> None:
    """What libraries have opened without a word about programs that are started. libnftables has: the table is owned by
    its socket, and would be as long as that is open anywhere."""
    for path in Path("/proc/self/fd").iterdir():
        descriptor = int(path.name)
        with contextlib.suppress(OSError):  # the one that the folder is read by
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.set_inheritable(descriptor, False)


async def _wait(process: _Process) -> None:
    """Returns once the process is gone, be it a child of ours or of an earlier daemon."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        if _ticks(process.pid) == process.ticks:
            loop.add_reader(pidfd, ended.set)
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    _reap(process)


def _reap(process: _Process) -> None:
    with contextlib.suppress(ChildProcessError):  # an earlier daemon's
        os.waitpid(process.pid, os.WNOHANG)


async def _end(process: _Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _ticks(process.pid) != process.ticks:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_wait(process), _GRACE)


def _marked(whose: bytes) -> Iterator[_Process]:
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):  # it is no process, has gone, or is another user's
            pid = int(folder.name)
            words = (folder / "environ").read_bytes().split(b"\0")
            mark = next((w.removeprefix(_MARK) for w in words if w.startswith(_MARK)), b"")
            first = mark.startswith(whose) and os.getsid(pid) == pid  # not a child of its own
            if first and (ticks := _ticks(pid)) is not None:
                yield _Process(pid, ticks, mark)


def _ticks(pid: int) -> int | None:
    """When the process was started, in ticks since the machine was; None where there is none, or it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else int(after_name[19])
