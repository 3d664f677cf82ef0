"""Who a container's process is: Docker's `--user` and `--group-add`, looked up in the container's own files."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from linkspan.errors import Internal, Unsupported

_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10  # openat2(2); the same number on every architecture
_LARGEST = 16 << 20  # bytes of a passwd or group file; a container may have written it
_libc = ctypes.CDLL(None, use_errno=True)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()  # additional ones; the primary among them, as Docker has it
    home: str = "/"


def resolve(rootfs: Path, user: str, group_add: Sequence[str] = ()) -> Identity:
    """`user` is [name|uid][:name|gid], "" is root. Reads /etc/passwd and /etc/group as they are inside `rootfs`.

    Raises Internal with Docker's words where a name is not there (Docker answers 500: it is found at the start).
    """
    passwd, group = read_inside(rootfs, "/etc/passwd"), read_inside(rootfs, "/etc/group")
    wanted, _, wanted_group = user.partition(":")
    number = _number(wanted or "0")
    uid, gid, home, name = number or 0, 0, "/", ""
    for fields in _entries(passwd, 6):
        entry_uid, entry_gid = _number(fields[2]), _number(fields[3])
        if entry_uid is None or entry_gid is None:
            continue
        if (number is None and fields[0] == wanted) or (number is not None and entry_uid == number):
            uid, gid, home, name = entry_uid, entry_gid, fields[5] or "/", fields[0]
            break
    else:
        if number is None:
            raise Internal(f"unable to find user {wanted}: no matching entries in passwd file")
    groups: list[int] = []
    if wanted_group:
        gid = _group(group, wanted_group, f"unable to find group {wanted_group}: no matching entries in group file")
    elif name:
        for fields in _entries(group, 4):
            member_of = _number(fields[2])
            if member_of is not None and name in fields[3].split(","):
                groups.append(member_of)
    for extra in group_add:
        groups.append(_group(group, extra, f"Unable to find group {extra}"))
    if not (0 <= uid <= 2**31 - 1 and 0 <= gid <= 2**31 - 1):
        raise Internal("uids and gids must be in range 0-2147483647")
    return Identity(uid=uid, gid=gid, groups=tuple(dict.fromkeys([gid, *groups])), home=home)


def _group(text: str, wanted: str, error: str) -> int:
    number = _number(wanted)
    for fields in _entries(text, 3):
        if fields[0] == wanted and number is None and (gid := _number(fields[2])) is not None:
            return gid
    if number is None:
        raise Internal(error)
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _entries(text: str, least: int) -> Iterator[list[str]]:
    """The fields of each line that has at least `least` of them, padded; comments and blank lines are no lines."""
    for line in text.splitlines():
        fields = line.strip().split(":")
        if not line.startswith("#") and len(fields) >= least:
            yield fields


def read_inside(rootfs: Path, path: str) -> str:
    """The text of a regular file as a process inside `rootfs` would find it; "" where there is none.

    Symbolic links, `..` included, are resolved by the kernel with `rootfs` as the root, so that none leads out of it.
    """
    top = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
        fd = int(_libc.syscall(_OPENAT2, top, os.fsencode(path), how, len(how)))
        number = ctypes.get_errno()
    finally:
        os.close(top)
    if fd < 0:
        if number == 38:  # ENOSYS
            raise Unsupported("the kernel has no openat2 (Linux 5.6 has it)")
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        with open(fd, "rb", closefd=False) as file:
            return file.read(_LARGEST).decode(errors="surrogateescape")
    finally:
        os.close(fd)
