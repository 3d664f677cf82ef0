"""conmon's k8s-file log, read as Docker's: `TIME STREAM TAG text`, tag F where the line is whole, P where not.

TIME is RFC 3339 with nanoseconds, in the zone that conmon ran in. A piece tagged P has no newline of its own: the next
piece of its stream goes on with it. A terminal's output is all on stdout, carriage returns included.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from linkspan.runtime.attachment import STDERR, STDOUT
from linkspan.runtime.inotify import IN_ATTRIB, IN_MODIFY, Inotify

_BLOCK = 256 << 10  # bytes
_CHANGES = IN_MODIFY | IN_ATTRIB  # more in it; or its name was given to another file


async def read(
    path: Path,
    *,
    stdout: bool = True,
    stderr: bool = True,
    since: float = 0.0,
    until: float = 0.0,
    tail: int | None = None,
    follow: bool = False,
    timestamps: bool = False,
    ended: asyncio.Event | None = None,
) -> AsyncIterator[tuple[int, bytes]]:
    """(STDOUT or STDERR, piece of output), in the order of the file; a piece is a line, or what there is of one.

    `since` and `until` are Unix times in seconds, 0 is none; `tail` counts the last lines of both streams together, as
    Docker does. `follow` goes on with what comes until `ended` is set and the file is drained, or `until` has passed.
    A file that is not there is an empty one. One that another has taken the place of, as conmon does where it grows too
    large, is read to its end, and then the other.
    """
    wanted = {name for name, asked in ((b"stdout", stdout), (b"stderr", stderr)) if asked}
    if follow:
        path.touch()  # conmon appends to it
    try:
        file: BinaryIO = path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    # Today's times as floats are exact to a quarter of a microsecond; a line's own stamp must find that line.
    first = int(since * 1e6 - 0.5) * 1000 if since else 0
    last = int(until * 1e6 + 1.5) * 1000 if until else 0
    whole = {STDOUT: True, STDERR: True}  # per stream: the next piece begins a line
    if tail is not None:
        file.seek(_tail_offset(file, tail))
    with contextlib.ExitStack() as held:
        held.enter_context(file)
        watch = held.enter_context(Inotify(path, _CHANGES)) if follow else None
        rest = b""
        while True:
            over = ended is not None and ended.is_set()  # asked before reading: what was written before is then read
            block = file.read(_BLOCK)
            if not block:
                if watch is not None and (newer := _newer(path, file)):
                    held.close()
                    file, rest = held.enter_context(newer), b""
                    watch = held.enter_context(Inotify(path, _CHANGES))
                    continue
                if watch is None or over or (last and time.time_ns() > last):
                    return
                await _news(watch, ended, until)
                continue
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                head, separator, text = line.partition(b" ")
                stream, _, text = text.partition(b" ")
                tag, _, text = text.partition(b" ")
                if not separator or stream not in wanted:
                    continue
                number = STDOUT if stream == b"stdout" else STDERR
                if first or last:
                    stamp = nanoseconds(head.decode(errors="replace"))
                    if stamp < first:
                        continue
                    if last and stamp > last:
                        return
                begins, whole[number] = whole[number], tag[:1] == b"F"
                if timestamps and begins:
                    text = utc(head.decode(errors="replace")).encode() + b" " + text
                yield number, text + b"\n" if whole[number] else text
            await asyncio.sleep(0)


def _newer(path: Path, file: BinaryIO) -> BinaryIO | None:
    """What is at `path` now, where that is another file."""
    try:
        found, known = path.stat(), os.fstat(file.fileno())
        if (found.st_dev, found.st_ino) != (known.st_dev, known.st_ino):
            return path.open("rb", buffering=0)
    except FileNotFoundError:
        pass
    return None


async def _news(watch: Inotify, ended: asyncio.Event | None, until: float) -> None:
    """Waits until the file has grown, the process has ended or `until` has passed."""
    waits: list[asyncio.Task[object]] = [asyncio.ensure_future(watch.names())]
    if ended is not None:
        waits.append(asyncio.ensure_future(ended.wait()))
    timeout = max(0.0, until - time.time()) + 0.001 if until else None
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()


def _tail_offset(file: BinaryIO, count: int) -> int:
    """Where the last `count` lines begin: read backwards, so that the cost does not grow with the file."""
    end = file.seek(0, os.SEEK_END)
    if count <= 0:
        return end
    found, last = 0, True
    for start, line in _backwards(file, end):
        whole = line.split(b" ", 3)[2:3] == [b"F"]
        if whole or last:  # the last line may lack its end
            if found == count:
                return start + len(line) + 1
            found += 1
        last = False
    return 0


def _backwards(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset, line without its newline) from the last line to the first; what follows the last newline is no line."""
    rest, at = b"", end
    newest = True
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        block = file.read(size) + rest
        first, *lines = block.split(b"\n")
        if lines:
            lines.pop()  # behind the last newline: an unfinished line, or nothing
            newest = False
        offset = at + len(first) + 1 + sum(len(line) + 1 for line in lines)
        for line in reversed(lines):
            offset -= len(line) + 1
            yield offset, line
        # What was cut off at the block's start is completed by the block before it; its newline must be kept.
        rest = first + b"\n" if not newest else block
    if rest.endswith(b"\n"):
        yield 0, rest[:-1]


def nanoseconds(stamp: str) -> int:
    """Unix time in nanoseconds of an RFC 3339 time; 0 where it is none."""
    whole, _, rest = stamp.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0]
    zone = rest[len(digits) :] if rest else ""
    try:
        seconds = int(datetime.datetime.fromisoformat(whole + (zone or "+00:00")).timestamp())
        return seconds * 10**9 + int(digits.ljust(9, "0")[:9] or 0)
    except ValueError:
        return 0


def utc(stamp: str) -> str:
    """The same time in UTC, with nine digits, as Docker prints it."""
    if stamp.endswith("+00:00") and len(stamp) == 35:
        return stamp[:-6] + "Z"
    seconds, fraction = divmod(nanoseconds(stamp), 10**9)
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
