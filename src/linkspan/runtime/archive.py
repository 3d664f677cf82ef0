"""Files in and out of a root file system: `cp` both ways, `export` and `diff`.

`root` is where the root file system is mounted; paths are a container's, absolute. Nothing here follows a link out of
it, also where a running container swaps files for links meanwhile: what is read and written is, by a process that has
`root` as its root directory (`confined`).
"""

from __future__ import annotations

import datetime
import os
import posixpath
import stat as modes
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from linkspan.errors import NotFound
from linkspan.runtime import confinement
from linkspan.runtime.layers import Layers, is_opaque, is_whiteout
from linkspan.runtime.rootfs import open_in_root, resolve_in_root

MODIFIED, ADDED, DELETED = 0, 1, 2

# Go's os.FileMode: type and special bits are its own, the nine permission bits are everyone's.
_GO_TYPES = {
    modes.S_IFDIR: 1 << 31,
    modes.S_IFLNK: 1 << 27,
    modes.S_IFBLK: 1 << 26,
    modes.S_IFIFO: 1 << 25,
    modes.S_IFSOCK: 1 << 24,
    modes.S_IFCHR: (1 << 26) | (1 << 21),
}
_GO_BITS = ((modes.S_ISUID, 1 << 23), (modes.S_ISGID, 1 << 22), (modes.S_ISVTX, 1 << 20))


async def stat(root: Path, path: str) -> dict[str, Any]:
    """Docker's X-Docker-Container-Path-Stat: name, size (bytes), mode (Go's os.FileMode), mtime, linkTarget.

    A link is described itself, unless the path ends in `/` or `/.`. Raises NotFound.
    """
    absolute = _absolute(path)
    flags = os.O_PATH | (0 if absolute.endswith(("/", "/.")) else os.O_NOFOLLOW)
    try:
        fd = open_in_root(root, absolute, flags)
    except OSError:
        raise NotFound(f"Could not find the file {path} in container") from None
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    target = ""
    if modes.S_ISLNK(found.st_mode):
        target = "/" + str(resolve_in_root(root, absolute).relative_to(root)).removeprefix(".")
    return {
        "name": _base(path),
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": _time(found.st_mtime_ns),
        "linkTarget": target,
    }


def get(root: Path, path: str) -> AsyncIterator[bytes]:
    """A tar of the file or directory; its names begin with the last element of `path`. Raises NotFound."""
    request = {"do": "pack", "root": str(root), "path": _absolute(path), "name": _base(path), "one_device": False}
    return confinement.stream(request)


def export(root: Path) -> AsyncIterator[bytes]:
    """A tar of the whole root file system, without what is mounted in it."""
    return confinement.stream({"do": "pack", "root": str(root), "path": "/", "name": "", "one_device": True})


def layer(upper: Path) -> AsyncIterator[bytes]:
    """What a container has written, from its overlay's upper directory, as the tar of an image's layer."""
    request = {"do": "pack", "root": str(upper), "path": "/", "name": "", "one_device": True, "layer": True}
    return confinement.stream(request)


async def put(root: Path, path: str, body: AsyncIterator[bytes], *, no_overwrite: bool, copy_owner: bool) -> None:
    """Unpacks the tar `body` (also gzip, bzip2 or xz) into the directory `path`.

    Owners are the archive's numbers, with `copy_owner` and without, as dockerd leaves them for an image that names no
    user. With `no_overwrite` a directory does not replace a file, nor a file a directory. Raises NotFound, and
    InvalidArgument for what is no directory, for a hostile archive and for a broken one.
    """
    request = {"do": "unpack", "root": str(root), "path": _absolute(path), "no_overwrite": no_overwrite}
    await confinement.feed(request, body)


def go_mode(mode: int) -> int:
    """A stat's mode as Go's os.FileMode."""
    result = mode & 0o777 | _GO_TYPES.get(modes.S_IFMT(mode), 0)
    for bit, go_bit in _GO_BITS:
        if mode & bit:
            result |= go_bit
    return result


def _absolute(path: str) -> str:
    """From the root; a `/` or `/.` at the end, which says "follow the link, it is a directory", stays."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        return clean
    return clean + "/." if path.endswith("/.") else clean + "/" if path.endswith("/") else clean


def _base(path: str) -> str:
    """As Go's filepath.Base: `.` where the path ends so, which is how `cp` asks for a directory's content."""
    return _absolute(path).rstrip("/").rpartition("/")[2] or "/"


def _time(nanoseconds: int) -> str:
    """RFC 3339 as Go writes it: no more digits than are needed."""
    moment = datetime.datetime.fromtimestamp(nanoseconds // 1_000_000_000, datetime.UTC)
    fraction = f".{nanoseconds % 1_000_000_000:09d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


# -- diff -------------------------------------------------------------------------------------------------------------


def changes(upper: Path, layers: Sequence[Path]) -> list[tuple[int, str]]:
    """(MODIFIED, ADDED or DELETED; path) of what a container changed, in the order of paths.

    `upper` is its overlay's upper directory, `layers` its image's, lowest first; the init layer that lies beside
    `upper` belongs to neither.
    """
    init = upper.parent / "init"
    below = Layers([*([init] if init.is_dir() else []), *reversed(layers)])
    return sorted(_changes(upper, "", below), key=lambda change: change[1]) if upper.is_dir() else []


def _changes(directory: Path, path: str, below: Layers) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    seen = set[str]()
    with os.scandir(directory) as entries:
        for entry in entries:
            seen.add(entry.name)
            here = f"{path}/{entry.name}"
            now, before = entry.stat(follow_symlinks=False), below.status(here)
            if is_whiteout(now):
                found.append((DELETED, here))
            elif not modes.S_ISDIR(now.st_mode):
                found.append((MODIFIED if before else ADDED, here))
            else:
                inside = _changes(Path(entry.path), here, below)
                # A directory that overlayfs only copied up, to have a place for nothing any more, is no change.
                if before is None or inside or not _same_directory(now, before):
                    found.append((MODIFIED if before else ADDED, here))
                found += inside
    if is_opaque(directory):
        found += [(DELETED, f"{path}/{name}") for name in below.names(path) if name not in seen]
    return found


def _same_directory(now: os.stat_result, before: os.stat_result) -> bool:
    return all(getattr(now, key) == getattr(before, key) for key in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"))
