"""Real containers: created, started, attached to, executed in, signalled, frozen, found again, removed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from process_box import Box, box, drain, running

from linkspan.errors import Conflict, Internal
from linkspan.runtime import logs
from linkspan.runtime.attachment import STDOUT
from linkspan.runtime.processes import NotRunnable, Processes, StartFailed

pytestmark = pytest.mark.root


def in_box(folder: Path, steps: Callable[[Box], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with box(folder) as this:
            await steps(this)

    asyncio.run(whole())


def test_short_output_is_never_lost(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        for number in range(8):
            id = f"echo{number}"
            pid = await box.create(id, "sh", "-c", "echo hi; echo ho >&2; exit 7")
            assert (await box.processes.state(id)).phase == "created"
            streams = await box.processes.attach(id, False)
            await box.processes.start(id)
            assert await drain(streams) == (b"hi\n", b"ho\n")
            ended = await box.exit()
            assert (ended.id, ended.exec_id, ended.code, ended.oom) == (id, None, 7, False)
            assert abs(ended.finished - time.time()) < 20
            status = await box.processes.state(id)
            assert (status.phase, status.exit_code, status.finished) == ("exited", 7, ended.finished)
            assert not Path(f"/proc/{pid}").exists()
            await box.processes.delete(id)
            assert (await box.processes.state(id)).phase == "absent"

    in_box(tmp_path, steps)


def test_ten_megabytes_reach_every_client_and_the_log(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("big", "sh", "-c", "yes 012345678 | head -c 10000000")
        clients = [await box.processes.attach("big", False) for _ in range(3)]
        await box.processes.start("big")
        for output, _ in await asyncio.gather(*map(drain, clients)):
            assert len(output) == 10_000_000
        assert (await box.exit()).code == 0
        logged = b"".join([piece async for _, piece in logs.read(box.log("big"))])
        assert logged == b"012345678\n" * 1_000_000

    in_box(tmp_path, steps)


def test_a_slow_client_holds_the_process_but_not_its_death(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("flood", "yes")
        streams = await box.processes.attach("flood", False)
        await box.processes.start("flood")
        assert await streams.read()
        before = -1
        while before != (before := box.log("flood").stat().st_size):  # noqa: ASYNC110
            await asyncio.sleep(0.3)  # until the process stands still
        await box.processes.kill("flood", signal.SIGKILL)
        assert (await box.exit()).code == 137
        output, _ = await drain(streams)
        assert 0 < len(output) <= 9 << 20

    in_box(tmp_path, steps)


def test_half_close_ends_the_input_and_output_goes_on(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("cat", "sh", "-c", "cat; echo done", stdin=True, stdin_once=True)
        watcher = await box.processes.attach("cat", False)
        await watcher.close()  # a client without input must not end the input of others
        streams = await box.processes.attach("cat", True)
        await box.processes.start("cat")
        await streams.write(b"x" * 1_000_000)
        await streams.close_input()
        output, _ = await drain(streams)
        assert output == b"x" * 1_000_000 + b"done\n"
        assert (await box.exit()).code == 0

    in_box(tmp_path, steps)


def test_input_that_stays_open_outlives_its_clients(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("open", "cat", stdin=True)
        await box.processes.start("open")
        for word in (b"one\n", b"two\n"):
            streams = await box.processes.attach("open", True)
            await streams.write(word)
            assert await asyncio.wait_for(streams.read(), 10) == (STDOUT, word)
            await streams.close_input()
            await streams.close()
        assert (await box.processes.state("open")).phase == "running"

    in_box(tmp_path, steps)


def test_terminal_has_the_size_that_it_was_given(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("tty", "sh", "-c", "read x; stty size; echo $x >&2", tty=True, stdin=True, stdin_once=True)
        streams = await box.processes.attach("tty", True)
        await box.processes.start("tty")
        await box.processes.resize("tty", 40, 120)
        await asyncio.sleep(0.2)
        await streams.write(b"word\n")
        output, error = await drain(streams)
        assert (output, error) == (b"word\r\n40 120\r\nword\r\n", b"")
        await box.exit()
        with pytest.raises(Conflict):
            await box.processes.attach("tty", True)

    in_box(tmp_path, steps)


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
        ("/etc", 126, 'exec: "/etc": permission denied'),  # runc 1.2 says "is a directory", Docker's 126 too
        ("/plain", 126, 'exec: "/plain": permission denied'),
    ],
)
def test_command_that_cannot_run(tmp_path: Path, command: str, code: int, reason: str) -> None:
    async def steps(box: Box) -> None:
        (box.rootfs / "plain").write_text("no program")
        with pytest.raises(NotRunnable) as failure:
            await box.create("bad", command)
        assert failure.value.exit_code == code
        assert str(failure.value) == (
            "failed to create task for container: failed to create shim task: OCI runtime create failed: "
            f"runc create failed: unable to start container process: {reason}: unknown"
        )
        assert box.processes.ids() == []
        await box.create("good", "sleep", "60")
        await box.processes.start("good")
        for attach in (True, False):
            with pytest.raises(NotRunnable) as failure:
                await box.processes.exec("good", "e", box.process([command]), attach=attach)
            assert failure.value.exit_code == code
            assert str(failure.value) == (
                f"OCI runtime exec failed: exec failed: unable to start container process: {reason}: unknown"
            )

    in_box(tmp_path, steps)


def test_spec_that_runc_refuses(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        spec = box.spec("bad", ["true"])
        spec["mounts"].append({"destination": "/x", "type": "bind", "source": "/nowhere", "options": ["bind"]})
        with pytest.raises((StartFailed, NotRunnable), match="OCI runtime create failed"):
            await box.processes.create("bad", spec, log_path=box.log("bad"))
        spec = box.spec("bad", ["true"])
        spec["root"]["path"] = str(box.folder / "missing")
        with pytest.raises((StartFailed, NotRunnable), match="OCI runtime create failed"):
            await box.processes.create("bad", spec, log_path=box.log("bad"))
        assert box.processes.ids() == []

    in_box(tmp_path, steps)


def test_exec_with_streams_exit_code_terminal_and_detached(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("c", "sleep", "60")
        await box.processes.start("c")
        command = box.process(["sh", "-c", "echo out; echo err >&2; exit 3"])
        for number in range(5):
            pid, streams = await box.processes.exec("c", f"e{number}", command)
            assert pid > 0 and streams
            assert await drain(streams) == (b"out\n", b"err\n")
            ended = await box.exit()
            assert (ended.id, ended.exec_id, ended.code) == ("c", f"e{number}", 3)
        _, streams = await box.processes.exec("c", "in", box.process(["cat"]), stdin=True)
        assert streams
        await streams.write(b"abc" * 100_000)
        await streams.close_input()
        assert await drain(streams) == (b"abc" * 100_000, b"")
        assert (await box.exit()).code == 0
        size = box.process(["sh", "-c", "read x; stty size"], tty=True)
        _, streams = await box.processes.exec("c", "tty", size, tty=True, stdin=True)
        assert streams
        await box.processes.exec_resize("c", "tty", 30, 90)
        await asyncio.sleep(0.2)
        await streams.write(b"\n")
        assert (await drain(streams))[0].endswith(b"30 90\r\n")
        await box.exit()
        pid, none = await box.processes.exec("c", "away", box.process(["sleep", "60"]), attach=False)
        assert none is None and pid in await box.processes.pids("c")
        with pytest.raises(Conflict):
            await box.processes.exec_resize("c", "in", 1, 1)
        await box.processes.kill("c", signal.SIGKILL)
        assert {(ended.exec_id, ended.code) for ended in [await box.exit(), await box.exit()]} == {
            ("away", 137),
            (None, 137),
        }

    in_box(tmp_path, steps)


def test_pause_resume_signal_and_limits(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("c", "sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.05; done")
        await box.processes.start("c")
        await asyncio.sleep(0.2)  # for the trap
        await box.processes.pause("c")
        assert (await box.processes.state("c")).phase == "paused"
        await box.processes.resume("c")
        assert (await box.processes.state("c")).phase == "running"
        await box.processes.update("c", {"pids": {"limit": 33}})
        await box.processes.kill("c", signal.SIGTERM)
        assert (await box.exit()).code == 5
        with pytest.raises(Conflict):
            await box.processes.kill("c", signal.SIGTERM)
        with pytest.raises(Conflict):
            await box.processes.start("c")
        with pytest.raises(Internal):
            await box.processes.update("c", {"pids": {"limit": 33}})

    in_box(tmp_path, steps)


def test_frozen_process_dies_of_sigkill(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("c", "sleep", "60")
        await box.processes.start("c")
        await box.processes.pause("c")
        await box.processes.kill("c", signal.SIGKILL)
        assert (await box.exit()).code == 137

    in_box(tmp_path, steps)


def test_out_of_memory_is_told(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        spec = box.spec("c", ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"])
        spec["linux"]["resources"] = {"memory": {"limit": 32 << 20, "swap": 32 << 20}}
        await box.processes.create("c", spec, log_path=box.log("c"))
        await box.processes.start("c")
        assert (await box.exit()).oom
        assert (await box.processes.state("c")).oom

    in_box(tmp_path, steps)


def test_daemon_with_an_empty_memory_finds_everything_again(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        for id, command in (("runs", "sleep 60"), ("ended", "exit 9"), ("waits", "sleep 60"), ("told", "exit 4")):
            await box.create(id, "sh", "-c", command)
        await box.processes.start("told")
        assert (await box.exit()).code == 4
        pid = await _started(box, "runs")
        await box.processes.start("ended")
        await _untold_exit(box, "ended")
        again = Processes(box.exec_root)
        assert again.ids() == ["ended", "runs", "told", "waits"]
        runs, ended, waits, told = [await again.state(id) for id in ("runs", "ended", "waits", "told")]
        assert (runs.phase, runs.pid, runs.monitored) == ("running", pid, True)
        assert (ended.phase, ended.exit_code) == ("exited", 9)
        assert (waits.phase, told.exit_code) == ("created", 4)
        exits = again.exits()
        assert (await anext(exits)).id == "ended"  # and "told" is not told twice
        streams = await again.attach("runs", False)
        await again.kill("runs", signal.SIGKILL)
        last = await asyncio.wait_for(anext(exits), 10)
        assert (last.id, last.code) == ("runs", 137)
        assert await drain(streams) == (b"", b"")
        await exits.aclose()
        again.close()

    in_box(tmp_path, steps)


async def _untold_exit(box: Box, id: str) -> None:
    """Waits for the exit without asking `exits`."""
    while (await box.processes.state(id)).exit_code is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def _started(box: Box, id: str) -> int:
    await box.processes.start(id)
    return (await box.processes.state(id)).pid


def test_killed_monitor_ends_its_container(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        pid = await box.create("c", "sleep", "60")
        await box.processes.start("c")
        os.kill(int((box.exec_root / "containers/c/conmon.pid").read_text()), signal.SIGKILL)
        ended = await box.exit()
        assert (ended.id, ended.code) == ("c", 137)
        assert (await box.processes.state("c")).phase == "exited"
        await box.processes.delete("c")
        path = Path(f"/proc/{pid}/cmdline")
        assert not path.exists() or path.read_bytes() == b""  # gone, or a zombie that init has to reap

    in_box(tmp_path, steps)


def test_next_run_is_not_confused_with_the_last(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        await box.create("c", "sh", "-c", "exit 1")
        await box.processes.start("c")
        await _untold_exit(box, "c")
        await box.create("c", "sh", "-c", "exit 2")  # nobody has looked at the exit of the first
        await box.processes.start("c")
        assert (await box.exit()).code == 2

    in_box(tmp_path, steps)


def test_cancelled_create_leaves_nothing(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        for delay in (0, 0.001, 0.003, 0.006):
            task = asyncio.create_task(box.create("c", "sleep", "60"))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert box.processes.ids() == []
            assert running(str(box.exec_root)) == []

    in_box(tmp_path, steps)


def test_delete_kills_and_is_repeatable(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        pid = await box.create("c", "sleep", "60")
        await box.processes.start("c")
        await box.processes.exec("c", "e", box.process(["sleep", "60"]), attach=False)
        await box.processes.delete("c")
        await box.processes.delete("c")
        assert not Path(f"/proc/{pid}").exists()
        assert (await box.exit()).exec_id == "e"

    in_box(tmp_path, steps)


def test_long_folder_names(tmp_path: Path) -> None:
    async def steps(box: Box) -> None:
        id = "f" * 64
        await box.create(id, "echo", "hi")
        streams = await box.processes.attach(id, False)
        await box.processes.start(id)
        assert await drain(streams) == (b"hi\n", b"")
        await box.exit()

    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    in_box(folder, steps)


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(Internal, match="nothere is not installed"):
        Processes(tmp_path, runc="nothere")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
