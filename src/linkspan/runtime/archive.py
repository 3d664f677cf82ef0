"""Files in and out of a root file system: `docker cp`, `export` and `diff`.

Paths are the container's: links are followed as a process inside would follow them, never out of the root. Archives
that come in are a stranger's: members that lead outside are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import posixpath
import queue
import shutil
import stat as modes
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from linkspan.errors import InvalidArgument, NotFound
from linkspan.runtime.rootfs import resolve_in_root

MODIFIED, ADDED, DELETED = 0, 1, 2
_CHUNK = 1 << 18
_AHEAD = 8  # pieces that are packed before the client has taken them
# Bits of Go's os.FileMode, which Docker's clients read.
_GO_MODES = (
    (modes.S_ISDIR, 1 << 31),
    (modes.S_ISLNK, 1 << 27),
    (modes.S_ISBLK, 1 << 26),
    (modes.S_ISFIFO, 1 << 25),
    (modes.S_ISSOCK, 1 << 24),
    (modes.S_ISCHR, 1 << 26 | 1 << 21),
)
_GO_BITS = ((modes.S_ISUID, 1 << 23), (modes.S_ISGID, 1 << 22), (modes.S_ISVTX, 1 << 20))


async def stat(root: Path, path: str) -> dict[str, Any]:
    """Docker's X-Docker-Container-Path-Stat: name, size, mode (Go's), mtime, linkTarget. Raises NotFound."""
    found = _find(root, path)
    info = found.lstat()
    mode = modes.S_IMODE(info.st_mode) & 0o777
    mode |= sum(bit for test, bit in _GO_MODES if test(info.st_mode))
    mode |= sum(bit for flag, bit in _GO_BITS if info.st_mode & flag)
    target = ""
    if found.is_symlink():
        target = "/" + str(resolve_in_root(root, path).relative_to(root))
    return {
        "name": found.name if found != root else "/",
        "size": info.st_size,
        "mode": mode,
        "mtime": _time(info.st_mtime_ns),
        "linkTarget": target,
    }


async def get(root: Path, path: str) -> AsyncIterator[bytes]:
    """A tar of the file or directory, under its own name; of `path/.` the directory's content. Raises NotFound."""
    found = _find(root, path)
    content = path.rstrip("/").endswith("/.") or path in (".", "/", "/.")
    if content and not found.is_dir():
        raise NotFound(f"not a directory: {path}")
    async for piece in _packed(lambda tar: _add(tar, found, "." if content else found.name)):
        yield piece


async def export(root: Path) -> AsyncIterator[bytes]:
    """The whole root file system as a tar."""
    async for piece in _packed(lambda tar: _add(tar, root, ".", top=False)):
        yield piece


async def put(root: Path, path: str, body: AsyncIterator[bytes], *, no_overwrite: bool, copy_owner: bool) -> None:
    """Unpacks a tar (plain or compressed) into the directory `path`.

    `no_overwrite` refuses to put a directory in place of a file, or the reverse; `copy_owner` keeps the archive's
    owners, otherwise files belong to root. Raises NotFound, InvalidArgument.
    """
    target = resolve_in_root(root, path)
    if not target.exists():
        raise NotFound(f"Could not find the file {path} in container")
    if not target.is_dir():
        raise InvalidArgument("extraction point is not a directory")
    pieces: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
    unpacking = asyncio.create_task(asyncio.to_thread(_unpack, _Reader(pieces), root, target, no_overwrite, copy_owner))
    try:
        async for piece in body:
            while not unpacking.done():
                try:
                    pieces.put_nowait(piece)
                    break
                except queue.Full:
                    await asyncio.sleep(0.001)
            if unpacking.done():
                break
    finally:
        while not unpacking.done():
            try:
                pieces.put_nowait(None)
                break
            except queue.Full:
                await asyncio.sleep(0.001)
    await unpacking


def changes(upper: Path, layers: Sequence[Path]) -> list[tuple[int, str]]:
    """(MODIFIED, ADDED or DELETED; path) of what an overlay's upper directory holds, in the order of paths."""
    found: dict[str, int] = {}

    def walk(directory: Path, inside: str) -> None:
        for entry in sorted(directory.iterdir()):
            path = f"{inside}/{entry.name}"
            info = entry.lstat()
            if modes.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                found[path] = DELETED
            else:
                found[path] = MODIFIED if _below(layers, path) else ADDED
                if modes.S_ISDIR(info.st_mode):
                    walk(entry, path)

    if upper.is_dir():
        walk(upper, "")
    return [(kind, path) for path, kind in sorted(found.items())]


def _below(layers: Sequence[Path], path: str) -> bool:
    for layer in reversed(layers):
        below = layer / path.lstrip("/")
        with contextlib.suppress(OSError):
            info = below.lstat()
            return not (modes.S_ISCHR(info.st_mode) and info.st_rdev == 0)
    return False


def _find(root: Path, path: str) -> Path:
    """The last part is not followed unless the path ends in a slash: `docker cp` copies the link itself."""
    found = resolve_in_root(root, path, follow_last=path.endswith(("/", "/.")))
    if not os.path.lexists(found):
        raise NotFound(f"Could not find the file {path} in container")
    return found


def _time(nanoseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09d}Z"


# -- packing ----------------------------------------------------------------------------------------------------------


class _Abandoned(Exception):
    """The client has gone: nobody wants the rest."""


class _Writer:
    """What a tar is written to, from a thread: a queue that the event loop reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self.abandoned = False

    def write(self, data: bytes) -> int:
        self._room.acquire()
        if self.abandoned:
            raise _Abandoned
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, bytes(data))
        return len(data)

    def taken(self) -> None:
        self._room.release()

    def finish(self) -> None:
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, None)

    def abandon(self) -> None:
        self.abandoned = True
        self._room.release()


async def _packed(fill: Callable[[tarfile.TarFile], None]) -> AsyncIterator[bytes]:
    writer = _Writer(asyncio.get_running_loop())

    def pack() -> None:
        try:
            with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:  # type: ignore[call-overload]
                fill(tar)
        except _Abandoned:
            return
        finally:
            writer.finish()

    packing = asyncio.create_task(asyncio.to_thread(pack))
    try:
        while (piece := await writer.pieces.get()) is not None:
            writer.taken()
            yield piece
    finally:
        writer.abandon()
        await packing


def _add(tar: tarfile.TarFile, found: Path, name: str, *, top: bool = True) -> None:
    for path, inside in _walk(found, name):
        if path == found and not top:
            continue
        try:
            info = tar.gettarinfo(str(path), inside)
            if info is None:  # a socket: tar has no form for it
                continue
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
        except FileNotFoundError:
            continue  # gone meanwhile


def _walk(top: Path, name: str) -> Iterator[tuple[Path, str]]:
    yield top, name
    if top.is_dir() and not top.is_symlink():
        for entry in sorted(top.iterdir()):
            yield from _walk(entry, f"{name}/{entry.name}" if name != "." else entry.name)


# -- unpacking --------------------------------------------------------------------------------------------------------


class _Reader:
    """What a tar is read from, in a thread."""

    def __init__(self, pieces: queue.Queue[bytes | None]) -> None:
        self._pieces = pieces
        self._rest = b""
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._rest) < size):
            piece = self._pieces.get()
            if piece is None:
                self._ended = True
            else:
                self._rest += piece
        if size < 0:
            size = len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _unpack(source: _Reader, root: Path, target: Path, no_overwrite: bool, copy_owner: bool) -> None:
    inside = "/" + str(target.relative_to(root)) if target != root else ""
    try:
        with tarfile.open(fileobj=source, mode="r|*") as tar:  # type: ignore[call-overload]
            for member in tar:
                _place(tar, member, root, inside, no_overwrite, copy_owner)
    except tarfile.TarError as error:
        raise InvalidArgument(f"the archive cannot be read: {error}") from None
    except OSError as error:
        raise InvalidArgument(f"cannot unpack {error.filename or 'the archive'}: {error.strerror}") from error
    finally:
        while source.read(_CHUNK):  # the sender must not wait for us for ever
            pass


def _place(
    tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, inside: str, no_overwrite: bool, copy_owner: bool
) -> None:
    name = posixpath.normpath(member.name)
    if name.startswith(("/", "..")):
        raise InvalidArgument(f"the archive names a file outside: {member.name!r}")
    if name == ".":
        return
    # The parent is resolved anew for each member: an earlier one may have been a link.
    parent = resolve_in_root(root, f"{inside}/{posixpath.dirname(name)}")
    parent.mkdir(parents=True, exist_ok=True)
    at = parent / posixpath.basename(name)
    exists = os.path.lexists(at)
    is_directory = at.is_dir() and not at.is_symlink()
    if no_overwrite and exists and is_directory != member.isdir():
        kinds = ("directory", "non-directory") if is_directory else ("non-directory", "directory")
        raise InvalidArgument(f"cannot overwrite {kinds[0]} {str(at.relative_to(root))!r} with {kinds[1]}")
    if exists and not (is_directory and member.isdir()):
        _remove(at)
    _make(tar, member, root, inside, at)
    if not member.issym():
        at.chmod(member.mode & 0o7777)
    os.chown(at, *((member.uid, member.gid) if copy_owner else (0, 0)), follow_symlinks=False)
    if member.isreg() or member.isdir():
        os.utime(at, (member.mtime, member.mtime))


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, inside: str, at: Path) -> None:
    if member.isdir():
        at.mkdir(exist_ok=True)
    elif member.issym():
        at.symlink_to(member.linkname)
    elif member.islnk():
        os.link(resolve_in_root(root, f"{inside}/{member.linkname}", follow_last=False), at, follow_symlinks=False)
    elif member.isreg():
        source = tar.extractfile(member)
        with at.open("wb") as file:
            while source and (piece := source.read(_CHUNK)):
                file.write(piece)
    elif member.isfifo():
        os.mkfifo(at)
    elif member.ischr() or member.isblk():
        kind = modes.S_IFCHR if member.ischr() else modes.S_IFBLK
        os.mknod(at, kind | (member.mode & 0o777), os.makedev(member.devmajor, member.devminor))
    else:
        raise InvalidArgument(f"the archive has a member of unknown kind: {member.name!r}")


def _remove(at: Path) -> None:
    if at.is_dir() and not at.is_symlink():
        shutil.rmtree(at)
    else:
        at.unlink()
