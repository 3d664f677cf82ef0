"""TUN devices: interfaces whose other end a process has. Ours are there without it, too, with what was set on them.

Formats: linux/if_tun.h.
"""

from __future__ import annotations

import fcntl
import os
import struct

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TUN, _IFF_NO_PI = 0x1, 0x1000


def create_tun(name: str) -> None:
    """In the namespace of this thread; down. OSError(EBUSY, EINVAL) where the name is taken."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        fcntl.ioctl(device, _TUNSETPERSIST, 1)
    finally:
        os.close(device)
