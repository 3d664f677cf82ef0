"""Wireless cards: they cannot change namespace alone, only together with their radio.

Generic netlink, family nl80211. Formats: linux/genetlink.h, linux/nl80211.h.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Iterable
from pathlib import Path

from linkspan.errors import Unsupported
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.netlink import ACK, NetlinkSocket, attributes, number, text, u32

_NETLINK_GENERIC = 16
_HEADER = struct.Struct("=BBxx")  # command, version
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GET_INTERFACE, _SET_RADIO_NAMESPACE = 5, 49
_RADIO, _INTERFACE_INDEX, _NAMESPACE_FD = 1, 3, 219


def wireless(names: Iterable[str]) -> frozenset[str]:
    """Those of the host's interfaces that are wireless cards, as sysfs says."""
    return frozenset(name for name in names if Path("/sys/class/net", name, "phy80211").exists())


def move(namespaces: Namespaces, source: str, index: int, target: int) -> None:
    """The radio of the card with this index, from a namespace into that of the descriptor `target`.

    Raises Unsupported where the kernel has no wireless cards, OSError.
    """
    with namespaces.inside(source), contextlib.closing(NetlinkSocket(_NETLINK_GENERIC)) as connection:
        family = _family(connection)
        asked = _HEADER.pack(_GET_INTERFACE, 0) + u32(_INTERFACE_INDEX, index)
        answer = connection.request([(family, ACK, asked)])[0][0]
        radio = number(attributes(answer, _HEADER.size)[_RADIO])
        moved = _HEADER.pack(_SET_RADIO_NAMESPACE, 0) + u32(_RADIO, radio) + u32(_NAMESPACE_FD, target)
        connection.request([(family, ACK, moved)])


def _family(connection: NetlinkSocket) -> int:
    """The number that the kernel has given nl80211."""
    asked = _HEADER.pack(_GET_FAMILY, 1) + text(_FAMILY_NAME, "nl80211")
    try:
        answer = connection.request([(_CONTROL, ACK, asked)])[0][0]
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        raise Unsupported("cannot move a wireless card: the running kernel lacks cfg80211 (nl80211)") from None
    return number(attributes(answer, _HEADER.size)[_FAMILY_ID])
