"""Noticing that something of ours was taken away or put down by somebody else.

The kernel tells of every change on multicast groups. Only losses matter here: what is ours and goes, or goes down. What
somebody adds is theirs. Formats: linux/rtnetlink.h, linux/if_addr.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from linkspan.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, attributes
from linkspan.kernel.nftables import TABLE
from linkspan.kernel.rtnetlink import ALIAS, PROTOCOL

_GROUPS = (1, 5, 7, 24)  # RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_NETCONF
_NFTABLES_GROUP = 7
_DELLINK = 17
_DELTABLE = 10 << 8 | 2
_UP = 0x1
_IFALIAS, _IFA_PROTO, _TABLE_NAME, _NETCONF_INDEX = 20, 11, 1, 1
_ALL = struct.pack("=i", -1)  # NETCONFA_IFINDEX_ALL: the host's own ip_forward


class Watch:
    """Made in the host's namespace. `descriptors` become readable when there is something to look at."""

    def __init__(self) -> None:
        self._route = NetlinkSocket(NETLINK_ROUTE)
        self._nft = NetlinkSocket(NETLINK_NETFILTER)
        for group in _GROUPS:
            self._route.join(group)
        self._nft.join(_NFTABLES_GROUP)

    @property
    def descriptors(self) -> tuple[int, int]:
        return self._route.fileno(), self._nft.fileno()

    def lost(self) -> bool:
        """Whether anything of ours went since the last call. Events that overflowed the socket count as a loss."""
        found = False
        for connection, ours in ((self._route, _route_loss), (self._nft, _table_loss)):
            try:
                for kind, body in connection.events():
                    found = found or ours(kind, body)
            except OSError:
                found = True
        return found

    def close(self) -> None:
        self._route.close()
        self._nft.close()


def _route_loss(kind: int, body: bytes) -> bool:
    match kind:
        case 16 | 17:  # RTM_NEWLINK, RTM_DELLINK: struct ifinfomsg, whose flags are at 8
            alias = attributes(body, 16).get(_IFALIAS, b"")
            down = kind == _DELLINK or not struct.unpack_from("=I", body, 8)[0] & _UP
            return down and alias.startswith(ALIAS.encode())
        case 21:  # RTM_DELADDR: struct ifaddrmsg
            return attributes(body, 8).get(_IFA_PROTO, b"\0")[0] == PROTOCOL
        case 25:  # RTM_DELROUTE: struct rtmsg, whose protocol is at 5
            return body[5] == PROTOCOL
        case 80:  # RTM_NEWNETCONF: struct netconfmsg
            return attributes(body, 4).get(_NETCONF_INDEX) == _ALL
    return False


def _table_loss(kind: int, body: bytes) -> bool:
    return kind == _DELTABLE and attributes(body, 4).get(_TABLE_NAME, b"").rstrip(b"\0") == TABLE.encode()
