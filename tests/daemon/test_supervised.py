"""A program that is looked after: real processes, with what is asked of them seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from linkspan.daemon.supervised import Supervised

SLEEP = ("sleep", "60")


@contextlib.asynccontextmanager
async def looked_after(folder: Path, command: Sequence[str] = SLEEP) -> AsyncIterator[Supervised]:
    """As one daemon does it: what was started stays."""
    supervised = Supervised("engine", folder, command)
    task = asyncio.create_task(supervised.run())
    try:
        yield supervised
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def pid_of(supervised: Supervised) -> int:
    await asyncio.wait_for(supervised.up(), 10)
    running = supervised.now()
    assert running
    # A program that the kernel still loads has no environment yet: a daemon that restarted just now would not know it.
    await until(lambda: Path(f"/proc/{running.pid}/environ").read_bytes() != b"")
    return running.pid


async def another(supervised: Supervised, before: int) -> int:
    def is_there() -> bool:
        running = supervised.now()
        return running is not None and running.pid != before

    await until(is_there)
    return await pid_of(supervised)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is asked as a user would ask
            await asyncio.sleep(0.01)


def test_a_restarted_daemon_finds_it_again_and_another_command_replaces_it(tmp_path: Path) -> None:
    async def whole() -> None:
        async with looked_after(tmp_path) as first:
            pid = await pid_of(first)
        async with looked_after(tmp_path) as second:
            assert await pid_of(second) == pid
        async with looked_after(tmp_path, ("sleep", "61")) as third:
            assert await pid_of(third) != pid
        assert not Path(f"/proc/{pid}").exists()
        await third.end()
        assert third.now() is None and not first.log.exists()

    asyncio.run(whole())


def test_nothing_is_left_of_one_that_ends_while_nobody_looks(tmp_path: Path) -> None:
    async def whole() -> None:
        async with looked_after(tmp_path) as one:
            pid = await pid_of(one)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: one.now() is None)
        assert not Path(f"/proc/{pid}").exists()
        await one.end()

    asyncio.run(whole())


def test_one_that_is_killed_comes_back_also_where_another_daemon_had_started_it(tmp_path: Path) -> None:
    async def whole() -> None:
        async with looked_after(tmp_path) as first:
            pid = await pid_of(first)
            os.kill(pid, signal.SIGKILL)
            pid = await another(first, pid)
        async with looked_after(tmp_path) as second:
            assert await pid_of(second) == pid
            os.kill(pid, signal.SIGKILL)
            os.kill(await another(second, pid), signal.SIGKILL)
            running = second.now()
        assert running is None or running.restarts >= 1
        await second.end()
        assert second.now() is None

    asyncio.run(whole())


def test_one_that_ends_at_once_is_said_with_its_last_words_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def whole() -> None:
        async with looked_after(tmp_path, ("sh", "-c", "echo first; echo no such table >&2; exit 3")) as one:
            await until(lambda: one.log.exists() and len(caplog.messages) == 1)
            await asyncio.sleep(0.6)  # it ends twice more, and that is known already
        await one.end()

    asyncio.run(whole())
    (said,) = caplog.messages
    assert said == "engine: it has ended: first; no such table; it is started again"


def test_a_program_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def whole() -> None:
        async with looked_after(tmp_path, ("no-such-program",)):
            await until(lambda: bool(caplog.messages))

    asyncio.run(whole())
    assert caplog.messages == ["engine: No such file or directory: no-such-program; it is started again"]


def test_one_that_does_not_heed_the_request_is_ended_by_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkspan.daemon.supervised._GRACE", 0.1)

    async def whole() -> None:
        async with looked_after(tmp_path, ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")) as one:
            await pid_of(one)
            await until(lambda: one.last_words() == "deaf")
        await one.end()
        assert one.now() is None

    asyncio.run(whole())


def test_it_has_nothing_of_what_the_daemon_holds_open(tmp_path: Path) -> None:
    """Nor what a library has opened for programs to inherit: its end would not be noticed while the program runs."""

    async def whole() -> None:
        ours, theirs = os.pipe()
        os.set_inheritable(theirs, True)
        try:
            async with looked_after(tmp_path) as supervised:
                open_there = Path(f"/proc/{await pid_of(supervised)}/fd")
                # While it loads its libraries it has one of them open.
                await until(lambda: {path.name for path in open_there.iterdir()} == {"0", "1", "2"})
            await supervised.end()
        finally:
            os.close(ours)
            os.close(theirs)

    asyncio.run(whole())
