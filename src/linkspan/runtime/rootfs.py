"""Root file systems: overlay mounts of a container's own directory on its image's layers.

    <folder>/diff      what the container has written; with `work`, overlayfs' own
    <folder>/init      one layer between image and container, with what a root file system must have to be started on:
                       mount points and the files that are bind-mounted over. As it is not in `diff`, it is no change
                       that the container made; as it is there at all, read-only root file systems work.
    <folder>/merged    where the whole is mounted

A mount is one system call in this process: forking mount(8) costs more than the rest of a container's start.
"""

# System calls on names and descriptors; nothing of pathlib would help.
# ruff: noqa: PTH112, PTH115, PTH116

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import shutil
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from linkspan.errors import Internal, NotFound, Unsupported
from linkspan.runtime.layers import Layers

_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_OVERLAY_MAGIC = 0x794C7630
_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10  # the number is the same on every architecture
_PAGE = 4096  # the kernel copies one page of mount options
_MOST_LINKS = 40  # symbolic links followed in one path, as in the kernel

# What dockerd's init layer holds: (path, kind). The last one says that all of them are there.
_DIRECTORIES = ("proc", "sys", "dev/pts", "dev/shm", "etc")
_FILES = ("dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")
_READY = ".dockerenv"

_libc = ctypes.CDLL(None, use_errno=True)


def mount(folder: Path, layers: Sequence[Path]) -> Path:
    """Mounts the root file system of the container that `folder` belongs to; answers where. Mounted already is success.

    `layers` are the directories of the image's layers, lowest first; with none, the root file system starts empty.
    Raises Unsupported where the file system under `folder` cannot hold an overlay, Internal for other failures.
    """
    merged = folder / "merged"
    if is_mounted(folder):
        return merged
    for name in ("init", "diff", "work", "merged"):
        _make_directory(folder / name)
    lower = [str(layer) for layer in reversed(layers)]
    if not (folder / "init" / _READY).exists():
        _fill_init(folder / "init", Layers([*reversed(layers)]))
    _overlay(merged, [str(folder / "init"), *lower], folder / "diff", folder / "work")
    return merged


def unmount(folder: Path) -> None:
    """Takes every mount off `folder`/merged; none there is success. What is busy goes when its last user goes."""
    merged = os.fsencode(folder / "merged")
    while _libc.umount2(merged, _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        pass
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOENT):
        raise Internal(f"cannot unmount {folder / 'merged'}: {os.strerror(number)}")


def is_mounted(folder: Path) -> bool:
    try:
        return os.stat(folder / "merged").st_dev != os.stat(folder).st_dev
    except FileNotFoundError:
        return False


def remove(folder: Path) -> None:
    """The mount and the whole folder; nothing there is success."""
    unmount(folder)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def sizes(folder: Path, layers: Sequence[Path]) -> tuple[int, int]:
    """(bytes in files that the container wrote, the same with its image's layers)."""
    written = tree_size(folder / "diff")
    return written, written + sum(_layer_size(layer) for layer in layers)


@functools.lru_cache(maxsize=1024)
def _layer_size(layer: Path) -> int:
    return tree_size(layer)  # a layer never changes


def tree_size(top: Path) -> int:
    """Bytes of the regular files below `top`, hard links counted once; what disappears meanwhile counts nothing."""
    total, seen, pending = 0, set[tuple[int, int]](), [str(top)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        found = entry.stat(follow_symlinks=False)
                        if found.st_nlink > 1:
                            if (found.st_dev, found.st_ino) in seen:
                                continue
                            seen.add((found.st_dev, found.st_ino))
                        total += found.st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
    return total


# -- paths inside a root file system ----------------------------------------------------------------------------------


def resolve_in_root(root: Path, path: str, *, follow_last: bool = True) -> Path:
    """Where `path` leads for a process whose root is `root`: symbolic links and `..` never lead out of it.

    The end of the path need not exist. The answer holds as long as nobody changes links inside `root`: where a running
    container could, open with `open_in_root` and go on from the file descriptor. Raises NotFound for a loop.
    """
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    found: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            del found[-1:]
            continue
        here = root.joinpath(*found, part)
        try:
            target = os.readlink(here) if pending or follow_last else None
        except OSError:
            target = None  # no link, or nothing there
        if target is None:
            found.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise NotFound(f"{path}: too many levels of symbolic links")
        if target.startswith("/"):
            found.clear()
        pending += [piece for piece in reversed(target.split("/")) if piece not in ("", ".")]
    return root.joinpath(*found)


def open_in_root(root: Path, path: str, flags: int) -> int:
    """A file descriptor of `path` as a process whose root is `root` would open it. Raises OSError.

    The kernel resolves links and `..` with `root` as the root, so that a container that swaps links meanwhile gains
    nothing. Raises Unsupported before Linux 5.6.
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
        fd = int(_libc.syscall(_OPENAT2, top, os.fsencode(path or "/"), how, len(how)))
        number = ctypes.get_errno()
    finally:
        os.close(top)
    if fd >= 0:
        return fd
    if number == errno.ENOSYS:
        raise Unsupported("the kernel has no openat2 (Linux 5.6 has it)")
    raise OSError(number, os.strerror(number), path)


# -- mounting ---------------------------------------------------------------------------------------------------------


def _overlay(target: Path, lower: Sequence[str], upper: Path, work: Path) -> None:
    """`lower` is uppermost first."""
    with contextlib.ExitStack() as held:
        # Said rather than left to the kernel's defaults: with these on, `upper` would hold references instead of files.
        options = f"upperdir={_escape(str(upper))},workdir={_escape(str(work))},index=off,metacopy=off,redirect_dir=off"
        data = f"lowerdir={':'.join(map(_escape, lower))},{options}"
        if len(os.fsencode(data)) >= _PAGE:
            # Long chains: a file descriptor names a directory in 16 bytes, which is enough for some 200 layers.
            data = f"lowerdir={':'.join(_short(lower, held))},{options}"
        number = _mount(os.fsencode(target), os.fsencode(data))
    if number == 0:
        return
    if number == errno.EINVAL and _file_system(upper) == _OVERLAY_MAGIC:
        raise Unsupported(
            f"the data root lies on an overlay file system ({upper.parent}), on which the kernel makes no other: "
            "start linkspand with --data-root on ext4, xfs, btrfs or tmpfs, such as a volume"
        )
    if number == errno.ENODEV:
        raise Unsupported("the kernel has no overlay file system (CONFIG_OVERLAY_FS)")
    if number == errno.ENOENT and (gone := [layer for layer in lower if not os.path.isdir(layer)]):
        raise Internal(f"cannot mount {target}: the layer {gone[0]} of its image is gone; pull the image again")
    raise Internal(f"cannot mount the root file system {target}: {os.strerror(number)}")


def _mount(target: bytes, data: bytes) -> int:
    """0, or an errno."""
    if _libc.mount(b"overlay", target, b"overlay", ctypes.c_ulong(0), data) == 0:
        return 0
    return ctypes.get_errno()


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _short(directories: Sequence[str], held: contextlib.ExitStack) -> Iterator[str]:
    for directory in directories:
        try:
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Internal(f"the layer {directory} of an image is gone; pull the image again") from None
        held.callback(os.close, fd)
        yield f"/proc/self/fd/{fd}"


class _StatFs(ctypes.Structure):
    _fields_ = [("type", ctypes.c_long), ("rest", ctypes.c_byte * 248)]


def _file_system(path: Path) -> int:
    """The magic number of the file system at `path`, 0 where it cannot be told."""
    found = _StatFs()
    return int(found.type) if _libc.statfs(os.fsencode(path), ctypes.byref(found)) == 0 else 0


def _make_directory(path: Path) -> None:
    try:
        path.mkdir()
        path.chmod(0o755)  # the root directory of the container, whatever the daemon's umask
    except FileExistsError:
        pass
    except OSError as error:
        raise Internal(f"cannot make {path}: {error.strerror}") from error


def _fill_init(init: Path, image: Layers) -> None:
    """Writes the init layer; what the image has of it stays the image's.

    By looking the layers up rather than through a mount: taking an overlay off makes the kernel write out the whole
    file system below it, which after a pull takes its time.
    """
    for path in _DIRECTORIES:
        found = image.status(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            _make_chain(init, path)
    for path in _FILES:
        found = image.status(path)
        # A link gives way, as with dockerd: one that leads nowhere cannot be mounted over.
        if found is None or stat.S_ISLNK(found.st_mode):
            _make_chain(init, path.rpartition("/")[0])
            (init / path).touch(0o755)
    if image.status("etc/mtab") is None and not (init / "etc/mtab").is_symlink():
        _make_chain(init, "etc")
        (init / "etc/mtab").symlink_to("/proc/mounts")
    for path in ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys"):
        _take_attributes(init / path, image.status(path))
    (init / _READY).touch(0o755)


def _make_chain(init: Path, path: str) -> None:
    """The directory, and those above it."""
    for parent in (*reversed(Path(path).parents[:-1]), Path(path)):
        _make_directory(init / parent)


def _take_attributes(directory: Path, found: os.stat_result | None) -> None:
    """What lies over a directory of the image looks like it."""
    if found is None or not stat.S_ISDIR(found.st_mode) or not directory.is_dir():
        return
    os.chown(directory, found.st_uid, found.st_gid)
    directory.chmod(stat.S_IMODE(found.st_mode))
    os.utime(directory, ns=(found.st_atime_ns, found.st_mtime_ns))
