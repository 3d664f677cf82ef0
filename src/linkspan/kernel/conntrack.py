"""Connections that the kernel remembers: those of a UDP port are forgotten when the port is published or withdrawn.

A translation is chosen once, with a connection's first packet. TCP connections end by themselves; a UDP client that
goes on sending from one port would reach the old container (or nobody) for as long as it sends. Formats:
linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Collection

from linkspan.kernel.netlink import ACK, ROOT_MATCH, NetlinkSocket, attribute, attributes, nested, u8, u32

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK
_TUPLE_ORIGINAL, _FILTER = 1, 25
_PROTOCOL_NUMBER, _DESTINATION_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_…
_UDP = 17


def forget_udp(connection: NetlinkSocket, ports: Collection[int], addresses: Collection[str]) -> None:
    """Forgets the UDP connections to these ports of these addresses (the host's own). OSError if it cannot."""
    own = {ipaddress.ip_address(address).packed for address in addresses}
    for family in (socket.AF_INET, socket.AF_INET6):
        header = struct.pack("=BBH", family, 0, 0)
        for body in connection.request([(_GET, ROOT_MATCH, header + _filter(ports))])[0]:
            original = attributes(body, 4).get(_TUPLE_ORIGINAL, b"")
            # Kernels before 5.8 know no filter and answer with everything.
            parts = attributes(original)
            host, protocol = attributes(parts.get(1, b"")), attributes(parts.get(2, b""))
            destination = host.get(2) or host.get(4, b"")
            loopback = family == socket.AF_INET and destination[:1] == b"\x7f"
            if protocol.get(1) != bytes((_UDP,)) or not (destination in own or loopback):
                continue
            if int.from_bytes(protocol.get(3, b""), "big") in ports:
                try:
                    connection.request([(_DELETE, ACK, header + nested(_TUPLE_ORIGINAL, original))])
                except OSError as error:
                    if error.errno != errno.ENOENT:  # it ended meanwhile
                        raise


def _filter(ports: Collection[int]) -> bytes:
    wanted = u8(1, _UDP)
    flags = _PROTOCOL_NUMBER
    if len(ports) == 1:
        (port,) = ports
        wanted += attribute(3, port.to_bytes(2, "big"))
        flags |= _DESTINATION_PORT
    return nested(_TUPLE_ORIGINAL, nested(2, wanted)) + nested(_FILTER, u32(1, flags), u32(2, 0))
