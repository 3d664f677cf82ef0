"""What comes in at one link, taken as if it had come in at another, for as long as a descriptor is open.

A program of four instructions at the link's ingress (tcx, since Linux 6.6): unlike a queueing discipline's filter it
comes and goes without a moment in which the link does not send, and it goes with the process. Formats: linux/bpf.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_PROG_LOAD, _LINK_CREATE = 5, 28
_SCHED_CLS, _TCX_INGRESS = 3, 46
_INSTRUCTION = struct.Struct("=BBhi")  # opcode, registers, offset, immediate
_MOV, _CALL, _EXIT = 0xB7, 0x85, 0x95
_REDIRECT = 23  # bpf_redirect(link, flags), whose answer is the program's
_INWARD = 1
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def detour(index: int, over: int) -> Iterator[None]:
    """Meanwhile what comes in at the link `index` is `over`'s. OSError where this kernel cannot do it."""
    program = b"".join(
        _INSTRUCTION.pack(*line)
        for line in ((_MOV, 1, 0, over), (_MOV, 2, 0, _INWARD), (_CALL, 0, 0, _REDIRECT), (_EXIT, 0, 0, 0))
    )
    text, licence = (ctypes.create_string_buffer(data, len(data) + 1) for data in (program, b"GPL"))
    wanted = struct.pack("=IIQQ", _SCHED_CLS, 4, ctypes.addressof(text), ctypes.addressof(licence))
    loaded = _bpf(_PROG_LOAD, wanted)
    try:
        attached = _bpf(_LINK_CREATE, struct.pack("=IIII", loaded, index, _TCX_INGRESS, 0))
    finally:
        os.close(loaded)
    try:
        yield
    finally:
        os.close(attached)


def _bpf(command: int, wanted: bytes) -> int:
    """A descriptor."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf() on {platform.machine()} is not known")
    told = ctypes.create_string_buffer(wanted, 128)
    made: int = _libc.syscall(number, command, told, len(told))
    if made < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return made
