"""conmon's log, read as Docker's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.runtime import logs
from linkspan.runtime.attachment import STDERR, STDOUT

LOG = """2026-11-23T10:00:00.000000001+00:00 stdout F one
2026-11-23T10:00:01.500000000+00:00 stderr F two
2026-11-23T10:00:02.000000000+00:00 stdout P thr
2026-11-23T10:00:02.000000009+00:00 stdout F ee
2026-11-23T12:00:03.000000000+02:00 stdout F\x20
2026-11-23T10:00:04.123456789+00:00 stderr F five spaced  words
"""
TEN = 1795428000.0  # 10:00:00 of that day, Unix time


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "ctr.log"
    path.write_text(LOG)
    return path


def read(path: Path, **options: Any) -> list[tuple[int, bytes]]:
    async def collect() -> list[tuple[int, bytes]]:
        return [piece async for piece in logs.read(path, **options)]

    return asyncio.run(collect())


def text(path: Path, **options: Any) -> bytes:
    return b"".join(piece for _, piece in read(path, **options))


def test_whole(log: Path) -> None:
    assert read(log) == [
        (STDOUT, b"one\n"),
        (STDERR, b"two\n"),
        (STDOUT, b"thr"),
        (STDOUT, b"ee\n"),
        (STDOUT, b"\n"),
        (STDERR, b"five spaced  words\n"),
    ]


def test_streams(log: Path) -> None:
    assert text(log, stderr=False) == b"one\nthree\n\n"
    assert text(log, stdout=False) == b"two\nfive spaced  words\n"


def test_timestamps_are_utc_with_nine_digits_once_a_line(log: Path) -> None:
    assert text(log, timestamps=True).decode().splitlines() == [
        "2026-11-23T10:00:00.000000001Z one",
        "2026-11-23T10:00:01.500000000Z two",
        "2026-11-23T10:00:02.000000000Z three",
        "2026-11-23T10:00:03.000000000Z ",
        "2026-11-23T10:00:04.123456789Z five spaced  words",
    ]


def test_since_and_until(log: Path) -> None:
    assert text(log, since=TEN + 3) == b"\nfive spaced  words\n"
    assert text(log, until=TEN + 1.5) == b"one\ntwo\n"
    assert text(log, since=TEN + 1, until=TEN + 2.5) == b"two\nthree\n"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (0, b""),
        (1, b"five spaced  words\n"),
        (2, b"\nfive spaced  words\n"),
        (3, b"three\n\nfive spaced  words\n"),
        (5, b"one\ntwo\nthree\n\nfive spaced  words\n"),
        (500, b"one\ntwo\nthree\n\nfive spaced  words\n"),
    ],
)
def test_tail(log: Path, tail: int, expected: bytes) -> None:
    assert text(log, tail=tail) == expected


def test_last_line_without_an_end(log: Path) -> None:
    with log.open("a") as file:
        file.write("2026-11-23T10:00:05.000000000+00:00 stdout P prompt> \n2026-11-23T10:00:05.0000")
    assert text(log, tail=1) == b"prompt> "
    assert text(log, tail=2) == b"five spaced  words\nprompt> "


@given(st.lists(st.integers(0, 3000), max_size=60), st.integers(0, 70))
def test_tail_of_any_lines(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], tail: int) -> None:
    path = tmp_path_factory.mktemp("log") / "ctr.log"
    lines = [str(number).encode() + b"x" * length for number, length in enumerate(lengths)]
    path.write_bytes(b"".join(b"2026-11-23T10:00:00.000000000+00:00 stdout F " + line + b"\n" for line in lines))
    block, logs._BLOCK = logs._BLOCK, 1024  # so that lines lie across blocks
    try:
        assert text(path, tail=tail) == b"".join(line + b"\n" for line in lines[max(0, len(lines) - tail) :])
    finally:
        logs._BLOCK = block


def test_missing_file_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []


def test_follow_until_the_end(log: Path) -> None:
    async def follow() -> list[bytes]:
        ended, seen = asyncio.Event(), []
        reader = logs.read(log, tail=1, follow=True, ended=ended)
        seen.append((await anext(reader))[1])
        with log.open("a", buffering=1) as file:
            for word in ("six", "seven"):
                file.write(f"2026-11-23T10:00:05.000000000+00:00 stdout F {word}\n")
                seen.append((await asyncio.wait_for(anext(reader), 5))[1])
            ended.set()
            file.write("2026-11-23T10:00:06.000000000+00:00 stdout F last\n")
            seen.append((await asyncio.wait_for(anext(reader), 5))[1])
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(reader), 5)
        return seen

    assert asyncio.run(follow()) == [b"five spaced  words\n", b"six\n", b"seven\n", b"last\n"]


def test_follow_ends_while_waiting(log: Path) -> None:
    async def follow() -> int:
        ended = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, ended.set)
        return len([piece async for piece in logs.read(log, follow=True, ended=ended)])

    assert asyncio.run(asyncio.wait_for(follow(), 5)) == 6


def test_follow_until_a_time(log: Path) -> None:
    assert len(read(log, follow=True, until=4e9, ended=_set())) == 6
    assert read(log, follow=True, until=TEN + 1, ended=asyncio.Event()) == [(STDOUT, b"one\n")]


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@given(st.binary())
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "ctr.log"
    path.write_bytes(data + b"\n2026 stdout F x\n\xff stdout F y\n")
    for options in ({}, {"timestamps": True}, {"since": 5.0}, {"tail": 2}):
        read(path, **options)


def test_another_file_takes_the_place(log: Path) -> None:
    """conmon begins a log anew by rename: what was not read yet comes first, then the new one's lines."""
    stamp = "2026-11-23T10:00:05.000000000+00:00"

    async def follow() -> list[bytes]:
        ended, found = asyncio.Event(), []
        async for _, piece in logs.read(log, follow=True, tail=1, ended=ended):
            found.append(piece)
            if len(found) == 1:
                with log.open("a") as old:
                    old.write(f"{stamp} stdout F last of the old\n")
                newer = log.with_suffix(".tmp")
                newer.write_text(f"{stamp} stdout F first of the new\n")
                newer.rename(log)
            if len(found) == 3:
                with log.open("a") as new:
                    new.write(f"{stamp} stdout F second\n")
                ended.set()
        return found[1:]

    assert asyncio.run(asyncio.wait_for(follow(), 5)) == [b"last of the old\n", b"first of the new\n", b"second\n"]
