"""What is lost is put back, whatever went wrong the time before; and the end of the daemon cuts it short."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from linkspan.daemon.healing import Healing
from linkspan.daemon.programmer import Programmer
from linkspan.errors import Unavailable
from linkspan.kernel.fake import FakeKernel


class LossyKernel(FakeKernel):
    """Losses happen when the test says so; the first watches and looks fail where it wants that."""

    def __init__(self) -> None:
        super().__init__()
        self._event = os.eventfd(0, os.EFD_NONBLOCK)
        self.descriptors = (self._event,)
        self.failures: list[Exception] = []
        self.watches = 0

    def lose(self) -> None:
        os.eventfd_write(self._event, 1)

    def watch(self) -> LossyKernel:  # type: ignore[override]
        self.watches += 1
        self._fail()
        return self

    def lost(self) -> bool:
        self._fail()
        try:
            return os.eventfd_read(self._event) > 0
        except BlockingIOError:
            return False

    def stirred(self) -> bool:
        return False

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def close(self) -> None:
        super().close()
        os.close(self._event)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> LossyKernel:
    monkeypatch.setattr("linkspan.daemon.healing._SETTLE", 0)
    monkeypatch.setattr("linkspan.daemon.healing._PAUSE", 0)
    return LossyKernel()


@pytest.fixture
def programmer(kernel: LossyKernel) -> Iterator[Programmer]:
    made = Programmer(lambda: kernel)
    yield made
    if not kernel.closed:
        made.close()


async def cancelled(task: asyncio.Task[None]) -> None:
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_it_survives_anything(kernel: LossyKernel, programmer: Programmer, caplog: pytest.LogCaptureFixture) -> None:
    async def steps() -> None:
        rounds: asyncio.Queue[int] = asyncio.Queue()
        outcomes: Iterator[Callable[[], int]] = iter(
            [lambda: 1 // 0, lambda: refuse(Unavailable("no memory")), lambda: 3, lambda: 4]
        )

        async def converge() -> int:
            rounds.put_nowait(1)
            return next(outcomes)()

        async def one_round(said: int) -> None:
            """Until so much was said in all: the next loss must not come in the midst of dealing with this one."""
            kernel.lose()
            await asyncio.wait_for(rounds.get(), 5)
            async with asyncio.timeout(5):
                while len(caplog.records) < said:  # noqa: ASYNC110 - a log tells nobody
                    await asyncio.sleep(0.001)
            assert not task.done()

        kernel.failures = [OSError("no watch"), RuntimeError("no watch either")]
        task = asyncio.create_task(Healing(programmer, converge, nothing_new).run())
        for said in (3, 4, 5):
            await one_round(said)
        kernel.failures = [ValueError("a look that fails")]
        await one_round(7)
        await cancelled(task)
        assert kernel.watches == 5

    asyncio.run(steps())
    said = [(record.levelname, bool(record.exc_info), record.message.partition(":")[0]) for record in caplog.records]
    failed = ("ERROR", True, "putting back what was taken away failed; the next loss is looked at all the same")
    back = ("WARNING", False, "something of ours was taken away by another program")
    refused = ("ERROR", False, "something of ours was taken away and could not be put back")
    assert said == [failed, failed, failed, refused, back, failed, back]


async def nothing_new() -> None:
    raise AssertionError("no other firewall has changed")


def refuse(error: Exception) -> int:
    raise error


@pytest.mark.parametrize("moment", ["waiting", "looking", "converging"])
def test_the_end_comes_at_any_moment(
    kernel: LossyKernel, programmer: Programmer, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hang(_: object = None) -> int:
        began.set()
        go_on.wait(5)
        raise ZeroDivisionError("nobody is there to hear this")

    async def steps() -> None:
        def converge() -> Awaitable[int]:
            return programmer.run(hang)

        if moment == "looking":
            kernel.lost = hang  # type: ignore[method-assign]
        task = asyncio.create_task(Healing(programmer, converge, nothing_new).run())
        if moment == "waiting":
            await asyncio.sleep(0)
            await programmer.run(lambda _: None)
            assert kernel.watches
        else:
            kernel.lose()
            await asyncio.to_thread(began.wait, 5)
        await cancelled(task)
        go_on.set()
        programmer.close()  # what runs still in its thread ends first
        assert kernel.closed

    asyncio.run(steps())
    assert not caplog.records


def test_more_is_lost_meanwhile(kernel: LossyKernel, programmer: Programmer, caplog: pytest.LogCaptureFixture) -> None:
    """What could not be put back as its bridge had gone since is put back with the bridge, and nothing is wrong."""

    async def steps() -> None:
        done: asyncio.Queue[int] = asyncio.Queue()
        rounds = 0

        async def converge() -> int:
            nonlocal rounds
            rounds += 1
            if rounds == 1:
                kernel.lose()
                raise Unavailable("no such device")
            done.put_nowait(rounds)
            return 8

        task = asyncio.create_task(Healing(programmer, converge, nothing_new).run())
        kernel.lose()
        assert await asyncio.wait_for(done.get(), 5) == 2
        await asyncio.sleep(0)
        await cancelled(task)

    asyncio.run(steps())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
