"""Containers as processes: runc makes them, conmon watches them, the kernel is asked directly for the rest.

All that is known of a container lies in folders under `exec_root`, so that a daemon with an empty memory finds every
running container again:

    containers/<id>/    the OCI bundle (config.json); conmon's pid, attach, ctl, oom; `exit` once the exit was told
    containers/<id>/exec/<exec id>/   the same of an exec
    exits/<id>          written by conmon when the process has ended (see exits)
    runc/<id>/          runc's own state

Where runc only passes a word to the kernel (start, signals, freezing) we say it ourselves: each runc command costs
10 ms or more of loading it. What that relies on is runc's state.json and exec.fifo, unchanged since its 1.0, and on the
runc command itself where they are not as expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal as signals
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from linkspan.errors import Conflict, Internal, InvalidArgument, NotFound
from linkspan.runtime import cgroups
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.conmon import Child, Gate, Line, Streams, connect, readable, resize
from linkspan.runtime.exits import KILLED, Exits
from linkspan.runtime.exits import Exit as Exit  # part of what Processes gives

_CREATE_FAILED = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_EXEC_FAILED = "OCI runtime exec failed: "


class StartFailed(Internal):
    """The process could not be made. `exit_code` is what Docker records in the container's state: 128."""

    exit_code = 128


class NotRunnable(InvalidArgument):
    """The command cannot be run: `exit_code` 127 where it is not there, 126 where it cannot be executed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a container's process, as far as its folders and the kernel tell.

    `phase` is `absent` (never created, or deleted), `created`, `running`, `paused` or `exited`. `exit_code` is None
    until conmon has told it; `monitored` says whether conmon still lives to tell. `finished` is Unix time, in seconds.
    """

    phase: str
    pid: int = 0
    exit_code: int | None = None
    finished: float = 0.0
    oom: bool = False
    monitored: bool = False


class Processes:
    def __init__(self, exec_root: Path, *, runc: str = "runc", conmon: str = "conmon") -> None:
        """Makes the folders. Raises Internal where runc or conmon is not installed."""
        self._runc, self._conmon = _program(runc), _program(conmon)
        folders = tuple(exec_root / name for name in ("containers", "exits", "runc"))
        self._containers, self._exit_dir, self._state = folders
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._env = {"PATH": os.environ.get("PATH", os.defpath)}
        self._streams: dict[str, set[Streams]] = {}  # by container, those of its execs too
        self._exits = Exits(self._exit_dir, self._containers, self._cgroup)
        self._tasks: set[asyncio.Task[None]] = set()
        self._hastened: asyncio.Future[None] | None = None

    # -- the life of a container's process ---------------------------------------------------------------------------

    def expect(self) -> None:
        """A process is about to be made: the kernel's wait for that begins, while there is other work to do."""
        if self._hastened is None or self._hastened.done():
            self._hastened = asyncio.get_running_loop().run_in_executor(None, cgroups.hasten)

    async def create(
        self,
        id: str,
        spec: Mapping[str, Any],
        *,
        log_path: Path | None,
        log_limit: int = 0,
        tty: bool = False,
        stdin: bool = False,
        stdin_once: bool = False,
    ) -> int:
        """Makes the process, up to where it would execute its program; the answer is its pid on the host.

        What an earlier run of `id` left is removed first. `stdin` opens its standard input (otherwise /dev/null);
        `stdin_once` closes it when the first client that is attached goes away or has no more input. Output is kept
        in `log_path`, which begins anew when it would grow beyond `log_limit` bytes (0: never).
        Raises NotRunnable or StartFailed, with Docker's text; nothing is left then.
        """
        if (self._containers / id).exists():
            await self.delete(id)
        home = self._containers / id
        home.mkdir(mode=0o711)
        (home / "config.json").write_bytes(msgspec.json.encode(spec))
        if stdin_once:
            (home / "stdin-once").touch()
        options = ["--bundle", str(home), "--exit-dir", str(self._exit_dir), "--persist-dir", str(home)]
        options += ["--log-path", f"k8s-file:{log_path}" if log_path else "off", "--no-sync-log"]
        if log_limit:
            options += ["--log-size-max", str(log_limit)]
        if tty:
            options.append("--terminal")
        if stdin:
            options.append("--stdin")
        if stdin and (tty or not stdin_once):  # Docker never closes a terminal's input for a client
            options.append("--leave-stdin-open")
        making = asyncio.ensure_future(self._monitor(id, home, options))
        try:
            pid, text, line = await asyncio.shield(making)
            line.close()
            if pid <= 0:
                raise _failure(_CREATE_FAILED, text)
        except BaseException:
            await asyncio.shield(self._undo(id, making))
            raise
        self._exits.watch(id)
        return pid

    async def _undo(self, id: str, making: asyncio.Future[tuple[int, str, Line]]) -> None:
        """Removes what `making` makes; runc cannot be interrupted without leaving something, so it is waited for."""
        for made in await asyncio.gather(making, return_exceptions=True):
            if isinstance(made, tuple):
                made[2].close()
        await self.delete(id)

    async def _monitor(
        self, id: str, home: Path, options: list[str], gate: Gate | None = None
    ) -> tuple[int, str, Line]:
        """Runs conmon; (pid or what is not positive, error text, conmon's pipe for what it has to say later)."""
        read_end, write_end = os.pipe()
        line = Line(read_end)
        argv = [self._conmon, "--api-version", "1", "--cid", id, "--cuuid", id, "--name", id, "--full-attach"]
        argv += ["--runtime", self._runc, "--container-pidfile", str(home / "pid")]
        argv += ["--conmon-pidfile", str(home / "conmon.pid")]
        argv += ["--runtime-arg", f"--root={self._state}", "--runtime-arg", f"--log={home / 'runc.log'}", *options]
        env = {**self._env, "_OCI_SYNCPIPE": str(write_end), **(gate.env if gate else {})}
        try:
            try:
                # Where a container ran out of memory, conmon says so by a file `oom` in its working directory.
                child = Child(argv, env=env, pass_fds=(write_end, *(gate.fds if gate else ())), cwd=home)
            finally:
                os.close(write_end)
                if gate:
                    gate.handed_over()
            if gate:
                await gate.open(home)
            said = await line.read()
            code, text = await child.wait()
        except BaseException:
            line.close()
            raise
        if said is None:
            return -1, text or f"conmon ended with status {code} and did not say why", line
        return said[0], said[1], line

    async def start(self, id: str) -> None:
        """Lets a created process execute its program. Raises Conflict where it does not wait for that."""
        pid = self._init(id)
        if not pid:
            raise Conflict(f"container {id} has no process that could be started")
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise StartFailed(f"the process of container {id} ended before it was started") from error
        try:
            await self._release(id, pidfd)
        finally:
            os.close(pidfd)

    async def _release(self, id: str, pidfd: int) -> None:
        """The process blocks in opening exec.fifo for writing; reading its byte is all that `runc start` does."""
        fifo = self._state / id / "exec.fifo"
        try:
            fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            await self._run("start", id)
            return
        try:
            await readable(fd, pidfd)
            if not os.read(fd, 1):
                raise StartFailed(f"the process of container {id} ended before it was started")
            fifo.unlink(missing_ok=True)
        finally:
            os.close(fd)

    async def kill(self, id: str, signal: int, all: bool = False) -> None:
        """Sends `signal` to the first process, or to every process of the container.

        Raises Conflict where none runs.
        """
        pid = self._init(id)
        if not pid and not all:
            raise Conflict(f"Container {id} is not running")
        for target in cgroups.pids(self._cgroup(id)) if all else [pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal)
        for streams in self._streams.get(id, ()):
            streams.hurry()
        if signal == signals.SIGKILL and cgroups.frozen(self._cgroup(id)):
            cgroups.freeze(self._cgroup(id), False)  # a frozen process does not even die

    async def pause(self, id: str) -> None:
        self._freeze(id, True)

    async def resume(self, id: str) -> None:
        self._freeze(id, False)

    def _freeze(self, id: str, frozen: bool) -> None:
        try:
            cgroups.freeze(self._cgroup(id), frozen)
        except OSError as error:
            raise Internal(f"cannot {'pause' if frozen else 'unpause'} container {id}: {error.strerror}") from error

    async def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """`resources` is the `linux.resources` of an OCI spec (see spec.resources). Raises Internal."""
        await self._run("update", "--resources", "-", id, input=msgspec.json.encode(resources))

    async def delete(self, id: str) -> None:
        """Kills what still runs, and removes every trace: cgroups, folders. Nothing there is success."""
        home = self._containers / id
        self._exits.forget(id)
        if (self._state / id).exists():
            for streams in self._streams.get(id, ()):
                streams.hurry()
            await self._run("delete", "--force", id)
        if home.exists():
            await self._monitor_gone(id)
            await self._remove_cgroup(self._cgroup(id))
            shutil.rmtree(home, ignore_errors=True)
        self._exits.forget(id)
        self._streams.pop(id, None)

    async def _remove_cgroup(self, path: str) -> None:
        """runc has done it, unless it was killed itself. Raises Internal."""
        for _ in range(100):
            if not (failures := cgroups.remove(path)):
                return
            for pid in cgroups.pids(path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signals.SIGKILL)
            await asyncio.sleep(0.01)
        raise Internal(f"cgroup {path} cannot be removed: {failures[0]}")

    async def _monitor_gone(self, id: str, *, kill: bool = True) -> None:
        """Waits for conmon to end: it still drains, and would write its exit file into the next run."""
        with contextlib.suppress(ProcessLookupError):
            if pid := self._exits.monitor(id):
                pidfd = os.pidfd_open(pid)
                try:
                    await asyncio.wait_for(readable(pidfd), 5)
                except TimeoutError:
                    if kill:
                        os.kill(pid, signals.SIGKILL)
                finally:
                    os.close(pidfd)

    # -- what is known of it -----------------------------------------------------------------------------------------

    async def state(self, id: str) -> Status:
        """From folders and kernel alone. An exit that is told here still comes from `exits` if it has not yet."""
        home = self._containers / id
        if not home.exists():
            return Status(phase="absent")
        oom = (home / "oom").exists() or cgroups.oom_killed(self._cgroup(id))
        if pid := self._init(id):
            if (self._state / id / "exec.fifo").exists():
                phase = "created"
            else:
                phase = "paused" if cgroups.frozen(self._cgroup(id)) else "running"
            return Status(phase=phase, pid=pid, oom=oom, monitored=bool(self._exits.monitor(id)))
        if not self._exits.recorded(id):
            await self._monitor_gone(id, kill=False)  # it is about to tell
        code, finished = self._exits.recorded(id) or (None, 0.0)
        monitored = bool(self._exits.monitor(id))
        return Status(phase="exited", exit_code=code, finished=finished, oom=oom, monitored=monitored)

    async def pids(self, id: str) -> list[int]:
        """The container's processes, by their pids on the host."""
        return cgroups.pids(self._cgroup(id))

    def ids(self) -> list[str]:
        """Every container that has folders here: what a restarted daemon asks about."""
        return sorted(path.name for path in self._containers.iterdir())

    def exits(self) -> AsyncIterator[Exit]:
        """Each end of a process once, also those from before this call. One caller at a time."""
        return self._exits.each()

    def close(self) -> None:
        """Lets go; containers run on."""
        self._exits.close()

    # -- its streams -------------------------------------------------------------------------------------------------

    async def attach(self, id: str, stdin: bool) -> Attachment:
        """Also between create and start. Output from before is in the log. Raises Conflict where nothing runs."""
        home = self._containers / id
        try:
            link = connect(home)
        except OSError as error:
            raise Conflict(f"Container {id} is not running") from error
        streams = Streams(link, stdin=stdin, park=not stdin and (home / "stdin-once").exists())
        return self._keep(id, streams)

    def _keep(self, id: str, streams: Streams) -> Attachment:
        known = self._streams.setdefault(id, set())
        known.difference_update([old for old in known if old.ended])
        known.add(streams)
        return streams

    async def resize(self, id: str, height: int, width: int) -> None:
        """In characters. Raises Conflict where nothing runs."""
        self._resize(self._containers / id, height, width, f"Container {id} is not running")

    def _resize(self, folder: Path, height: int, width: int, text: str) -> None:
        try:
            resize(folder, height, width)
        except OSError as error:
            raise Conflict(text) from error

    # -- exec --------------------------------------------------------------------------------------------------------

    async def exec(
        self,
        id: str,
        exec_id: str,
        process: Mapping[str, Any],
        *,
        tty: bool = False,
        stdin: bool = False,
        attach: bool = True,
    ) -> tuple[int, Attachment | None]:
        """Runs another process in the container: (its pid, its streams; None where not `attach`).

        `process` is the OCI spec's `process` (see spec.exec_process). Its end comes from `exits`. Raises NotRunnable or
        StartFailed, with Docker's text.
        """
        self.expect()
        work = asyncio.ensure_future(self._exec(id, exec_id, process, tty, stdin, attach))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:  # once asked for it runs; its end is told, its output nobody wants
            work.add_done_callback(self._abandon)
            raise

    def _abandon(self, work: asyncio.Future[tuple[int, Attachment | None]]) -> None:
        if not work.cancelled() and not work.exception() and (streams := work.result()[1]):
            self._later(streams.close())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _exec(
        self, id: str, exec_id: str, process: Mapping[str, Any], tty: bool, stdin: bool, attach: bool
    ) -> tuple[int, Attachment | None]:
        home = self._containers / id / "exec" / exec_id
        if not (self._containers / id).exists():
            raise NotFound(f"No such container: {id}")
        home.mkdir(parents=True, mode=0o711)
        (home / "process.json").write_bytes(msgspec.json.encode(process))
        options = ["--exec", "--exec-process-spec", str(home / "process.json"), "--bundle", str(home)]
        options += ["--log-path", "off"]
        if tty:
            options.append("--terminal")
        if stdin:
            options.append("--stdin")
        if tty:
            options.append("--leave-stdin-open")
        gate = Gate(stdin) if attach else None
        if gate:
            options.append("--exec-attach")
        try:
            pid, text, line = await self._monitor(id, home, options, gate)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        if pid <= 0:
            line.close()
            if gate and gate.streams:
                await gate.streams.close()
            shutil.rmtree(home, ignore_errors=True)
            raise _failure(_EXEC_FAILED, text)
        told = asyncio.Event()
        self._later(self._exec_end(id, exec_id, line, home, told))
        if gate and gate.streams:
            gate.streams.end_after(told)
        return pid, self._keep(id, gate.streams) if gate and gate.streams else None

    async def _exec_end(self, id: str, exec_id: str, line: Line, home: Path, told: asyncio.Event) -> None:
        try:
            said = await line.read()
        finally:
            line.close()
        shutil.rmtree(home, ignore_errors=True)
        self._exits.put(Exit(id=id, exec_id=exec_id, code=said[0] if said else KILLED, finished=time.time()))
        told.set()

    async def exec_kill(self, id: str, exec_id: str, signal: int) -> None:
        """One that has ended already is success."""
        with contextlib.suppress(OSError, ValueError):  # its folder goes with it
            os.kill(int((self._containers / id / "exec" / exec_id / "pid").read_text()), signal)

    async def exec_resize(self, id: str, exec_id: str, height: int, width: int) -> None:
        home = self._containers / id / "exec" / exec_id
        self._resize(home, height, width, f"exec process {exec_id} is not running")

    # -- runc and its records ----------------------------------------------------------------------------------------

    async def _run(self, *args: str, input: bytes = b"") -> None:
        child = Child([self._runc, f"--root={self._state}", *args], env=self._env, input=input)
        code, text = await child.wait()
        if code:
            raise Internal(f"runc {args[0]} failed: {text or f'exit status {code}'}")

    def _init(self, id: str) -> int:
        """The pid of the container's first process; 0 where it does not run (any more)."""
        try:
            state = msgspec.json.decode((self._state / id / "state.json").read_bytes(), type=_RuncState)
            after_name = Path(f"/proc/{state.init_process_pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, msgspec.MsgspecError):
            return 0
        # proc(5): state is field 3, the start time field 22; it tells a pid that was given again.
        lives = after_name[0] not in "ZX" and int(after_name[19]) == state.init_process_start
        return state.init_process_pid if lives else 0

    def _cgroup(self, id: str) -> str:
        try:
            spec = msgspec.json.decode((self._containers / id / "config.json").read_bytes(), type=_Bundle)
        except (OSError, msgspec.MsgspecError):
            return f"/linkspan/{id}"
        return spec.linux.cgroups_path


class _RuncState(msgspec.Struct):
    init_process_pid: int
    init_process_start: int


class _Linux(msgspec.Struct):
    cgroups_path: str = msgspec.field(name="cgroupsPath")


class _Bundle(msgspec.Struct):
    linux: _Linux


def _program(name: str) -> str:
    if found := shutil.which(name):
        return str(Path(found).absolute())
    raise Internal(f"{name} is not installed; Debian's package {Path(name).name} has it")


def _failure(prefix: str, text: str) -> StartFailed | NotRunnable:
    """Docker's rules (setExitCodeFromError): what the text says decides the kind and the exit code."""
    message = f"{prefix}{text.strip() or 'no reason was given'}: unknown"
    folded = text.lower()
    if "executable file not found" in folded or "no such file or directory" in folded:
        return NotRunnable(message, 127)
    if "permission denied" in folded or "is a directory" in folded:
        return NotRunnable(message, 126)
    if "not a directory" in folded:
        message += (
            ": Are you trying to mount a directory onto a file (or vice-versa)? "
            "Check if the specified host path exists and is the expected type"
        )
        return NotRunnable(message, 127)
    return StartFailed(message)
