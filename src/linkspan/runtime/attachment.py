"""One client's connection to the standard streams of a process."""

from __future__ import annotations

from typing import Protocol

STDIN, STDOUT, STDERR = 0, 1, 2


class Attachment(Protocol):
    """Reads never stop for long: the process would block on a reader that is away, so the owner drains or closes."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next piece of output as (STDOUT or STDERR, bytes); None when there will be no more."""

    async def write(self, data: bytes) -> None:
        """Bytes for the process's standard input. Raises nothing when the process no longer reads."""

    async def close_input(self) -> None:
        """The client has no more input: end-of-file for the process."""

    async def close(self) -> None:
        """Let go of the streams; the process goes on."""
