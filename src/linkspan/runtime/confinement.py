"""Starts `confined`: trees of files are read and written by a process whose root directory is the tree."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from linkspan import errors
from linkspan.errors import Internal, LinkspanError

CHUNK = 1 << 18
# A daemon that is killed takes it along, before the next one sweeps away what it has written.
_PROGRAM = ["setpriv", "--pdeathsig=KILL", sys.executable, "-I", "-S", str(Path(__file__).with_name("confined.py"))]

Request = Mapping[str, object]
Result = dict[str, Any]


async def stream(request: Request) -> AsyncIterator[bytes]:
    """What the process writes, in pieces. Raises what it reports, before the first piece where nothing came."""
    async with _started(request, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        reports = asyncio.create_task(_reports(process))
        try:
            while piece := await process.stdout.read(CHUNK):
                yield piece
            await reports
        finally:
            reports.cancel()


async def feed(request: Request, body: AsyncIterator[bytes]) -> Result:
    """The process's result, once it has read all of `body`. Raises what it reports."""
    async with _started(request, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        reports = asyncio.create_task(_reports(process))
        try:
            await _pour(body, process.stdin)
            return await reports
        finally:
            reports.cancel()


async def read_file(request: Request, file: Path, progress: Callable[[int], None]) -> Result:
    """The process's result after reading `file`; `progress` is told how many bytes it has read."""
    with file.open("rb") as source:
        async with _started(request, stdin=source.fileno(), stdout=subprocess.DEVNULL) as process:
            return await _reports(process, progress)


def run(request: Request) -> Result:
    """The same without streams, for callers in a thread."""
    done = subprocess.run(
        [*_PROGRAM, json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    return _result(done.stderr.splitlines()[-1:] or [b""])


@contextlib.asynccontextmanager
async def _started(request: Request, *, stdin: int, stdout: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *_PROGRAM, json.dumps(request), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, limit=CHUNK
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        if process.stdin:
            process.stdin.close()
        # The transport closes in the loop's next round; without it, it would be closed by the collector.
        process._transport.close()  # type: ignore[attr-defined]


async def _pour(body: AsyncIterator[bytes], into: asyncio.StreamWriter | None) -> None:
    assert into
    try:
        async for piece in body:
            into.write(piece)
            await into.drain()
        into.close()
        await into.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the process has found fault with what it read, and says so


async def _reports(process: asyncio.subprocess.Process, progress: Callable[[int], None] | None = None) -> Result:
    assert process.stderr
    last = b""
    async for line in process.stderr:
        last = line
        if progress and line.startswith(b'{"at"'):
            progress(json.loads(line)["at"])
    await process.wait()
    return _result([last])


def _result(lines: list[bytes]) -> Result:
    try:
        result: Result = json.loads(lines[-1])
    except ValueError:
        text = lines[-1].decode(errors="replace").strip()
        raise Internal(f"reading or writing files failed: {text or 'the process was killed'}") from None
    if "error" in result:
        kind = getattr(errors, str(result.get("kind")), Internal)
        assert issubclass(kind, LinkspanError)
        raise kind(result["error"])
    return result
