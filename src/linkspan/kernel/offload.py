"""Whether an interface's checksums are left to hardware, and so packets to be cut up, too. Formats: linux/ethtool.h.

A veth pair has no hardware: what one end leaves undone, nobody does unless the packet leaves by a real card. A switch
in user space gets such packets as they are, with sums that are none.
"""

from __future__ import annotations

import array
import errno
import fcntl
import struct

from linkspan.kernel.netlink import NetlinkSocket

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUMS, _SET_TX_CHECKSUMS = 0x16, 0x17


def is_offloaded(inside: NetlinkSocket, interface: str) -> bool:
    """Also where the kernel does not say: it is what interfaces are like. OSError."""
    try:
        return bool(_ask(inside, interface, _GET_TX_CHECKSUMS, 0))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return True
        raise


def set_offload(inside: NetlinkSocket, interface: str, *, on: bool) -> None:
    """OSError."""
    _ask(inside, interface, _SET_TX_CHECKSUMS, int(on))


def _ask(inside: NetlinkSocket, interface: str, command: int, value: int) -> int:
    """Any socket of the namespace will do."""
    argument = array.array("I", (command, value))
    address, _ = argument.buffer_info()
    request = struct.pack("16sP16x", interface.encode(), address)
    fcntl.ioctl(inside.fileno(), _SIOCETHTOOL, request)
    return argument[1]
