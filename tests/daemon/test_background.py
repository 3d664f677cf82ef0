"""Work beside everything else: what becomes of it, and what is said."""

from __future__ import annotations

import asyncio

import pytest

from linkspan.daemon import background
from linkspan.daemon.background import Background


def test_what_lasts_begins_anew_after_a_fault_and_ends_with_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_PAUSE", 0.0)
    begun, ended = [], []

    async def test() -> None:
        kept = Background()
        there = asyncio.Event()

        async def work() -> None:
            begun.append(len(begun))
            if len(begun) < 3:
                raise ValueError(f"fault {len(begun)}")
            try:
                there.set()
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        kept.keep(work)
        await asyncio.wait_for(there.wait(), 10)
        await kept.end()
        assert ended == [True]
        await kept.end()  # there is nothing left

    asyncio.run(test())
    assert begun == [0, 1, 2]
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["fault 1", "fault 2"]


def test_what_is_done_once_is_not_done_again_but_its_failure_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        kept = Background()

        async def work() -> None:
            raise ValueError("a fault")

        task = kept.run(work())
        await asyncio.wait([task])
        await asyncio.sleep(0)  # those who follow it are told

    asyncio.run(test())
    assert [record.getMessage() for record in caplog.records] == ["a task of the daemon failed"]
    assert "a fault" in caplog.text
