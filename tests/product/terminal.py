"""A client on a terminal, as a person has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

from tests.product.engine import Engine


class Terminal:
    """What is typed, what is seen, and the client that has it as its terminal."""

    def __init__(self, descriptor: int, client: subprocess.Popen[bytes]) -> None:
        self._descriptor, self.client = descriptor, client
        self.seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def until(self, text: bytes, within: float = 10) -> bytes:
        """Everything seen, once `text` is in what has come since the last call."""
        deadline, new = time.monotonic() + within, b""
        while text not in new:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._descriptor], [], [], left)[0], f"{text!r} not in {new!r}"
            with contextlib.suppress(OSError):  # nobody has the other side open any more
                if piece := os.read(self._descriptor, 4096):
                    new += piece
                    continue
            raise AssertionError(f"the client is gone, and said {new!r}")
        self.seen += new
        return new

    def ends(self, within: float = 10) -> int:
        """The client's exit status; what it still says is read meanwhile, so that it can end."""
        deadline = time.monotonic() + within
        while self.client.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if select.select([self._descriptor], [], [], 0.05)[0]:
                    self.seen += os.read(self._descriptor, 4096)
        return self.client.wait(0.1)

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def terminal(place: Engine, *arguments: str, program: str = "") -> Iterator[Terminal]:
    """The client with these arguments, on a terminal of 33 rows and 77 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    client = place.popen(
        *arguments,
        program=program,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
    )
    os.close(theirs)
    try:
        yield Terminal(ours, client)
    finally:
        client.kill()
        client.wait()
        os.close(ours)
