"""A place of the tests' own on the machine: mounts that nobody else sees, and a folder that overlays can lie on."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

# On a clean machine that is a root directory on an overlay, /tmp lies on it too; a data root cannot.
WORKSHOP = Path("/var/lib/linkspan")

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # the C library has no name for this system call


def own_mounts() -> None:
    """What tests mount goes with the process at the latest. Raises OSError.

    In a chroot, whoever enters a container's mount namespace (`runc exec` does) would come out at the root of the
    mounts, which is the machine's: so the root directory is made the root of the mounts.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    call(libc.unshare(_CLONE_NEWNS))
    call(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    root, here = os.open("/", os.O_PATH), Path.cwd()
    call(libc.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), 0))  # this goes to the root of the mounts
    if not os.path.samestat(Path("/").stat(), os.fstat(root)):
        os.fchdir(root)
        call(libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."))
        call(libc.umount2(b".", _MNT_DETACH))
    os.chdir(here)
