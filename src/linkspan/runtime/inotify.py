"""The kernel's word that a file changed, for an asyncio loop: no polling.

The standard library has no inotify; three calls of libc are all it takes.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from pathlib import Path

IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_TO = 0x2, 0x4, 0x8, 0x80
IN_MOVE_SELF, IN_DELETE_SELF, IN_Q_OVERFLOW = 0x800, 0x400, 0x4000
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches one path. Use as a context manager, inside a running loop."""

    def __init__(self, path: Path, mask: int) -> None:
        """Events are kept from here on. Raises OSError, FileNotFoundError where `path` is not there."""
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1: " + os.strerror(ctypes.get_errno()))
        if _libc.inotify_add_watch(self._fd, os.fsencode(path), mask) < 0:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(number, os.strerror(number), str(path))
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._changed.set)

    async def names(self) -> list[tuple[int, str]]:
        """Waits, then gives every (event bits, file name inside the watched folder) since the last call."""
        while True:
            try:
                data = os.read(self._fd, 65536)
                break
            except BlockingIOError:
                self._changed.clear()
                await self._changed.wait()
        found, at = [], 0
        while at < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            found.append((mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
            at += length
        return found

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
