"""conmon's side of a process: how it is started, what it says on its pipes, its attach socket and its control fifo.

conmon forks twice and lives on when we die. It tells the process's pid, or why there is none, as a line of JSON on a
pipe; it serves the process's streams on `attach`, a SOCK_SEQPACKET socket whose packets are one byte of stream number
and up to 8 KiB of output; `ctl` is a fifo that takes terminal sizes. Format and order are those of conmon 2.1.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from linkspan.errors import Internal
from linkspan.runtime.attachment import STDERR, STDOUT

_STREAMS = {2: STDOUT, 3: STDERR}  # conmon numbers its pipes from 1
_PACKET = 8192  # bytes; conmon reads each packet into one buffer and would cut a longer one
_HELD = 8 << 20  # bytes of output that an attachment holds for a client that is slow


class Child:
    """A process that we started; it is reaped also when nobody waits for it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        input: bytes = b"",
        cwd: Path | None = None,
    ) -> None:
        """Standard error is kept (64 KiB of it) for the error text. Raises Internal where the program is missing."""
        read_end, write_end = os.pipe()
        stdin: int = subprocess.DEVNULL
        if input:
            stdin = os.memfd_create("input")
            os.write(stdin, input)
            os.lseek(stdin, 0, os.SEEK_SET)
        try:
            # Without a preexec_fn this is vfork: no page table is copied, however large the daemon.
            self._process = subprocess.Popen(
                argv, env=env, stdin=stdin, stdout=subprocess.DEVNULL, stderr=write_end, pass_fds=pass_fds, cwd=cwd
            )
        except OSError as error:
            os.close(read_end)
            raise Internal(f"cannot run {argv[0]}: {error.strerror}") from error
        finally:
            os.close(write_end)
            if input:
                os.close(stdin)
        self._stderr = read_end
        self.pid = self._process.pid
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[tuple[int, str]] = self._loop.create_future()
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        os.set_blocking(self._stderr, False)  # conmon's second fork may still hold the other end
        try:
            text = os.read(self._stderr, 65536)
        except BlockingIOError:
            text = b""
        os.close(self._stderr)
        if not self._ended.done():
            self._ended.set_result((code, text.decode(errors="replace").strip()))

    async def wait(self) -> tuple[int, str]:
        """(exit status, standard error)."""
        return await asyncio.shield(self._ended)


class Line:
    """The reading end of one of conmon's pipes: JSON, a line a message."""

    def __init__(self, fd: int) -> None:
        """Takes the descriptor over."""
        self._fd = fd
        self._buffer = b""
        os.set_blocking(fd, False)

    async def read(self) -> tuple[int, str] | None:
        """The next message as (data, message), None when conmon has closed the pipe."""
        while b"\n" not in self._buffer:
            try:
                piece = os.read(self._fd, 65536)
            except BlockingIOError:
                await readable(self._fd)
                continue
            if not piece:
                return None
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            value = json.loads(line, strict=False)
            return int(value["data"]), str(value.get("message", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise Internal(f"conmon said what is no message: {line[:200]!r}") from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


async def readable(*fds: int) -> None:
    """Waits until one of `fds` has something to read, or its other end is gone; a pidfd: until the process ended."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    for fd in fds:
        loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        for fd in fds:
            loop.remove_reader(fd)


def resize(folder: Path, height: int, width: int) -> None:
    """Sets the terminal's size, in characters. Raises OSError where no conmon listens."""
    fd = os.open(folder / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fd, b"1 %d %d\n" % (height, width))
    finally:
        os.close(fd)


def connect(folder: Path) -> socket.socket:
    """A connection to the attach socket in `folder`, however long its path. Raises OSError."""
    at = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        link.connect(f"/proc/self/fd/{at}/attach")  # a socket's address holds 107 bytes, a folder's name may not fit
    except BaseException:
        link.close()
        raise
    finally:
        os.close(at)
    return link


class Streams:
    """An Attachment on conmon's socket.

    It drains into memory as output comes, up to 8 MiB ahead of its client; beyond that the process waits for the
    client, as with Docker. `hurry` lifts that: once the process has been signalled, its end must not hang on a client.
    """

    def __init__(self, link: socket.socket, *, stdin: bool, park: bool) -> None:
        """`park`: closing would close the process's standard input, so the connection stays, and is drained."""
        self._link, self._stdin, self._park = link, stdin, park
        self._loop = asyncio.get_running_loop()
        self._pieces: collections.deque[tuple[int, bytes]] = collections.deque()
        self._held = 0
        self._ended = self._paused = self._hurried = self._closed = False
        self._exit_told: asyncio.Event | None = None
        self._news = asyncio.Event()
        self._loop.add_reader(link.fileno(), self._receive)

    def _receive(self) -> None:
        for _ in range(32):  # then others get their turn
            try:
                packet = self._link.recv(65536)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                packet = b""
            if not packet:
                self._end()
                break
            if self._closed:
                continue
            if self._held < _HELD or not self._hurried:
                self._pieces.append((_STREAMS.get(packet[0], STDOUT), packet[1:]))
                self._held += len(packet)
            if self._held >= _HELD and not self._hurried:
                self._loop.remove_reader(self._link.fileno())
                self._paused = True
                break
        self._news.set()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._link.fileno())
            self._link.close()
            self._news.set()

    def _resume(self) -> None:
        if self._paused and not self._ended:
            self._paused = False
            self._loop.add_reader(self._link.fileno(), self._receive)

    @property
    def ended(self) -> bool:
        """conmon has closed the connection, or we have."""
        return self._ended

    def hurry(self) -> None:
        """From now on, output beyond what is held is dropped rather than waited with."""
        self._hurried = True
        self._resume()

    def end_after(self, exit_told: asyncio.Event) -> None:
        """Holds the end of the streams back until then: a client asks for the exit status as soon as it sees it."""
        self._exit_told = exit_told

    async def read(self) -> tuple[int, bytes] | None:
        while not self._pieces:
            if self._ended and not self._closed and self._exit_told:
                await self._exit_told.wait()
            if self._ended or self._closed:
                return None
            self._news.clear()
            await self._news.wait()
        stream, data = self._pieces.popleft()
        self._held -= len(data) + 1
        if self._held < _HELD // 2:
            self._resume()
        return stream, data

    async def write(self, data: bytes) -> None:
        if not self._stdin:
            return
        for at in range(0, len(data), _PACKET):
            if self._ended or self._closed:
                return
            try:
                await self._loop.sock_sendall(self._link, data[at : at + _PACKET])
            except OSError:
                return

    async def close_input(self) -> None:
        if self._stdin and not self._ended:
            try:
                self._link.shutdown(socket.SHUT_WR)
            except OSError:
                return

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._pieces.clear()
        if self._park:
            self._resume()
            self._news.set()
        else:
            self._end()


class Gate:
    """Holds an exec back until its client is connected, so that no output is lost: conmon's start and attach pipes."""

    def __init__(self, stdin: bool) -> None:
        self._stdin = stdin
        self._start_read, self._start = os.pipe()
        attached, self._attached_write = os.pipe()
        self._attached = Line(attached)
        self.fds = (self._start_read, self._attached_write)
        self.env = {"_OCI_STARTPIPE": str(self._start_read), "_OCI_ATTACHPIPE": str(self._attached_write)}
        self.streams: Streams | None = None

    def handed_over(self) -> None:
        """conmon has its ends."""
        os.close(self._start_read)
        os.close(self._attached_write)

    async def open(self, home: Path) -> None:
        try:
            os.write(self._start, b"\0")
            if await self._attached.read() is not None:
                self.streams = Streams(connect(home), stdin=self._stdin, park=False)
                os.write(self._start, b"\0")
        except BrokenPipeError:
            pass  # conmon is gone, and says why elsewhere
        finally:
            os.close(self._start)
            self._attached.close()
