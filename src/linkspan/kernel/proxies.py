"""Addresses that the host answers for on an interface: proxy entries of its neighbour tables.

Formats: linux/neighbour.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping

from linkspan.kernel import rtnetlink
from linkspan.kernel.netlink import ACK, CREATE, REPLACE, NetlinkSocket, attribute, attributes, u8
from linkspan.state.objects import Proxied

_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_MESSAGE = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_PROXY = 8  # NTF_PROXY
_DST, _PROTOCOL = 1, 12


def answer_for(host: NetlinkSocket, item: Proxied) -> None:
    """There already is success."""
    host.request([(_NEWNEIGH, ACK | CREATE | REPLACE, _message(host, item) + u8(_PROTOCOL, rtnetlink.PROTOCOL))])


def be_silent(host: NetlinkSocket, item: Proxied) -> None:
    """Not there is success."""
    try:
        host.request([(_DELNEIGH, ACK, _message(host, item))])
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise


def proxied(host: NetlinkSocket, names: Mapping[int, str]) -> Iterator[Proxied]:
    """Those of ours. `names` are the host's interfaces by index."""
    for body in host.dump(_GETNEIGH, _MESSAGE.pack(0, 0, 0, _PROXY, 0)):
        _, index, _, flags, _ = _MESSAGE.unpack_from(body)
        values = attributes(body, _MESSAGE.size)
        if flags & _PROXY and values.get(_PROTOCOL) == bytes((rtnetlink.PROTOCOL,)) and index in names:
            yield Proxied(names[index], str(ipaddress.ip_address(values[_DST])))


def _message(host: NetlinkSocket, item: Proxied) -> bytes:
    address = ipaddress.ip_address(item.address)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    index = rtnetlink.link(host, item.interface).interface.index
    return _MESSAGE.pack(family, index, 0, _PROXY, 0) + attribute(_DST, address.packed)
