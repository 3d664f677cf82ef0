"""Attached streams: a container's output to ours, our input to it.

Without a terminal the daemon sends frames: one byte for the stream (1 output, 2 error), three zeros, four of length.
With one it sends bytes as they are. Our end of input is a half-close; its end of output ends the stream.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator

from linkspan.cli.client import Client, Wire
from linkspan.cli.failure import EngineError, Failure

PIECE = 64 * 1024
READER_GONE = 128 + signal.SIGPIPE  # the status of a process that has nobody to write to
DEFAULT_DETACH_KEYS = b"\x10\x11"  # ctrl-p, ctrl-q
FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT")


class Demultiplexer:
    """Takes frames apart, however they are cut into pieces."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._stream = 1

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """(stream, output) for everything that `piece` completes. Raises Failure with the daemon's own error."""
        self._buffer += piece
        while self._buffer:
            if not self._left:
                if len(self._buffer) < 8:
                    return
                self._stream, self._left = self._buffer[0], int.from_bytes(self._buffer[4:8], "big")
                self._buffer = self._buffer[8:]
                continue
            output, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(output)
            if self._stream == 3:
                raise Failure(f"error from daemon in stream: {output.decode(errors='replace')}")
            if self._stream not in (0, 1, 2):
                raise Failure(f"Unrecognized input header: {self._stream}")
            yield self._stream, output


def write_all(descriptor: int, data: bytes) -> None:
    """Writes everything, also to a descriptor that does not block."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def copy_output(pieces: Iterable[bytes], *, tty: bool) -> None:
    """Writes a container's output, as it comes, to standard output and error."""
    sys.stdout.flush()
    frames = Demultiplexer()
    for piece in pieces:
        if tty:
            write_all(1, piece)
            continue
        for stream, output in frames.feed(piece):
            write_all(2 if stream == 2 else 1, output)


def end_with_reader() -> None:
    """From now on the process ends as soon as nobody reads its output any more, also while it has none to write."""
    threading.Thread(target=_reader_gone, daemon=True).start()


def _reader_gone() -> None:
    output = select.poll()
    output.register(1, 0)  # the other end's going is always told
    if output.poll()[0][1] & (select.POLLERR | select.POLLHUP):
        os._exit(READER_GONE)


class DetachKeys:
    """Looks for the key sequence that leaves a terminal. What may yet become one is held back."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence is complete)."""
        passed = b""
        for position in range(len(typed)):
            self._held += typed[position : position + 1]
            while self._held and not self._sequence.startswith(self._held):
                passed, self._held = passed + self._held[:1], self._held[1:]
            if self._sequence and self._held == self._sequence:
                self._held = b""
                return passed, True
        return passed, False


def detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` or `ctrl-x,z` as bytes; the default for "". Raises Failure."""
    if not text:
        return DEFAULT_DETACH_KEYS
    result = b""
    for key in text.split(","):
        if len(key) == 1:
            result += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and (key[5].isalpha() or key[5] in "@[\\]^_"):
            result += bytes([ord(key[5].upper()) & 0x1F])
        else:
            raise Failure(f"invalid detach keys ({text}): Unknown character: '{key}'")
    return result


def pump(wire: Wire, *, stdin: bool, tty: bool, keys: bytes = b"") -> bool:
    """Copies both ways until the daemon ends the stream; True where `keys` were typed instead."""
    sys.stdout.flush()
    connection = wire.socket
    connection.setblocking(False)
    frames, detach = Demultiplexer(), DetachKeys(keys if tty else b"")
    outgoing, reading = b"", stdin
    if not stdin:
        _half_close(connection)  # it would wait for input that never comes
    if wire.buffer:
        _write(frames, wire.buffer, tty)
    while True:
        sources: list[int | socket.socket] = [connection]
        if reading and not outgoing:
            sources.append(0)
        pending = getattr(connection, "pending", None)  # TLS may hold bytes that select does not see
        wait = 0 if pending is not None and pending() else None
        readable, writable, _ = select.select(sources, [connection] if outgoing else [], [], wait)
        if connection in readable or wait == 0:
            piece = _receive(connection)
            if piece == b"":
                return False
            if piece:
                _write(frames, piece, tty)
        if writable:
            try:
                outgoing = outgoing[connection.send(outgoing) :]
            except BlockingIOError:
                pass
            except OSError:
                outgoing, reading = b"", False  # it reads no more; what it writes is still to come
        if 0 in readable:
            typed = os.read(0, PIECE)
            outgoing, done = detach.feed(typed) if detach and tty else (typed, False)
            if done:
                return True
            if not typed:
                reading = False
                _half_close(connection)


def _half_close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the method of a TLS socket: that one would end the reading direction too.
        socket.socket.shutdown(connection, socket.SHUT_WR)


def _receive(connection: socket.socket) -> bytes | None:
    """b"" at the end, None where there is nothing yet."""
    try:
        return connection.recv(PIECE)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b""
    except OSError as error:
        # ssl.SSLWantReadError and SSLWantWriteError, without importing ssl for a unix socket.
        if type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError"):
            return None
        return b""


def _write(frames: Demultiplexer, piece: bytes, tty: bool) -> None:
    if tty:
        write_all(1, piece)
        return
    for stream, output in frames.feed(piece):
        write_all(2 if stream == 2 else 1, output)


def input_is_terminal() -> bool:
    return os.isatty(0)


def output_is_terminal() -> bool:
    return os.isatty(1)


def terminal_size() -> tuple[int, int]:
    """Rows and columns of our terminal; (0, 0) where there is none."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return size.lines, size.columns


@contextlib.contextmanager
def raw_terminal(wanted: bool) -> Iterator[None]:
    """While it lasts, every key goes to the container, ctrl-C too."""
    if not wanted or not input_is_terminal():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead is the container's
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def follow_size(client: Client, path: str) -> None:
    """Tells the terminal at `path` (`/containers/ID`, `/exec/ID`) the size of ours, now and when it changes."""

    def tell(*_: object) -> None:
        height, width = terminal_size()
        if height and width:
            with contextlib.suppress(Failure):  # it may have ended, or not begun: the next change tells it again
                client.request("POST", f"{path}/resize", {"h": height, "w": width}, own=True).close()

    signal.signal(signal.SIGWINCH, tell)
    tell()


def forward_signals(client: Client, container: str) -> None:
    """From now on our signals are the container's."""

    def forward(number: int, _: object) -> None:
        with contextlib.suppress(EngineError):
            client.request(
                "POST",
                f"/containers/{container}/kill",
                {"signal": signal.Signals(number).name.removeprefix("SIG")},
                own=True,
            ).close()

    for name in FORWARDED:
        signal.signal(getattr(signal, name), forward)


def restore_signals() -> None:
    """Our signals are ours again."""
    for name in FORWARDED:
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
