"""Whether the running kernel has Open vSwitch's data path, and whether the switch is still the same process.

Formats: linux/genetlink.h.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from linkspan.kernel.netlink import ACK, NetlinkSocket, text

_NETLINK_GENERIC = 16
_CONTROL, _GET_FAMILY, _FAMILY_NAME = 16, 3, 2


def kernel_datapath() -> bool:
    """Asked by name, so that the kernel may load the module."""
    try:
        connection = NetlinkSocket(_NETLINK_GENERIC)
    except OSError:
        return False
    try:
        header = bytes((_GET_FAMILY, 1, 0, 0))
        connection.request([(_CONTROL, ACK, header + text(_FAMILY_NAME, "ovs_datapath"))])
    except OSError:
        return False
    finally:
        connection.close()
    return True


class Life:
    """Of one process of the switch's, whose sockets lie in `folder`: it forgets its flows with its end, and says so to
    nobody. Known by a connection to its control socket, which goes with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: socket.socket | None = None

    def goes_on(self) -> bool:
        """Whether it is the process that it was when this was last asked."""
        if self._held:
            with contextlib.suppress(BlockingIOError):
                if self._held.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    return True
                self.close()
                return False
            return True
        for path in self._folder.glob("ovs-vswitchd.*.ctl"):
            held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                held.connect(str(path))
            except OSError:  # of one that was killed
                held.close()
            else:
                self._held = held
                break
        return False

    def close(self) -> None:
        if self._held:
            self._held.close()
        self._held = None
