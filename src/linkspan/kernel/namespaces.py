"""Network namespaces as files in one folder, and how a thread steps into one and back.

A namespace is held open by a bind mount of its /proc file, so that it outlives the daemon and any process in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_SELF = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


class Namespaces:
    """Belongs to the thread that made it: that thread's namespace is the host."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. OSError where that is impossible."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._home = os.open(_SELF, os.O_RDONLY | os.O_CLOEXEC)
        self._device = os.fstat(self._home).st_dev  # of nsfs: what a held namespace has, and a left-over file has not
        self._sweep()

    def close(self) -> None:
        os.close(self._home)

    def paths(self) -> list[str]:
        """The namespaces in the folder; other files there are none."""
        return sorted(
            entry.path for entry in os.scandir(self._folder) if entry.stat(follow_symlinks=False).st_dev == self._device
        )

    def _sweep(self) -> None:
        """Removes empty files, of namespaces whose making was cut short: they hold nothing, and nobody reads them."""
        for entry in os.scandir(self._folder):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_dev != self._device and not found.st_size:
                Path(entry.path).unlink(missing_ok=True)

    def exists(self, path: str) -> bool:
        try:
            return Path(path).stat().st_dev == self._device
        except FileNotFoundError:
            return False

    def create(self, path: str, prepare: Callable[[], None]) -> None:
        """Makes a namespace, calls `prepare` inside it, and holds it at `path`; a failure leaves nothing.

        It is there only once it is ready. unshare() concerns the calling thread alone, so no thread is started for it.
        """
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
        try:
            _check(_libc.unshare(_CLONE_NEWNET))
            try:
                prepare()
                _check(_libc.mount(_SELF.encode(), path.encode(), b"none", _MS_BIND, None))
            finally:
                self._return()
        except BaseException:
            with contextlib.suppress(OSError):
                Path(path).unlink()
            raise

    def hold(self, path: str, descriptor: int) -> None:
        """Holds a namespace that is there, by an open descriptor of it, at `path`."""
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
        _check(_libc.mount(f"/proc/thread-self/fd/{descriptor}".encode(), path.encode(), b"none", _MS_BIND, None))

    def hold_that_of(self, pid: int, path: str) -> None:
        """Holds the namespace that a process is in, unless that is the host's."""
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not os.path.sameopenfile(descriptor, self._home):
                self.hold(path, descriptor)
        finally:
            os.close(descriptor)

    def delete(self, path: str) -> None:
        """Lets go of a namespace: it ends with its last process. What is not there is no error."""
        if _libc.umount2(path.encode(), _MNT_DETACH) and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
            _check(-1)
        Path(path).unlink(missing_ok=True)

    def open(self, path: str) -> int:
        """A descriptor of the namespace, "" is the host's own. FileNotFoundError if there is none at `path`."""
        if not path:
            return os.dup(self._home)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(descriptor).st_dev == self._device:
            return descriptor
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    @contextlib.contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """The calling thread is in the namespace meanwhile; "" is the host's own."""
        if not path:
            yield
            return
        descriptor = self.open(path)
        try:
            _check(_libc.setns(descriptor, _CLONE_NEWNET))
        finally:
            os.close(descriptor)
        try:
            yield
        finally:
            self._return()

    def _return(self) -> None:
        _check(_libc.setns(self._home, _CLONE_NEWNET))


def enter(path: str) -> None:
    """Moves the calling thread into a namespace for good. For threads and processes made for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, _CLONE_NEWNET))
    finally:
        os.close(descriptor)


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
