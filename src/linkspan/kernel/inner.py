"""What is ours inside sandboxes and has no other end on the host, such as a macvlan or a limit of bandwidth: nobody
there hears of it when it goes. Nor does anybody hear when a table of ours is changed there that is not owned.

So each such sandbox is listened to. As an open connection keeps a namespace alive, it is closed before that is let go.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Collection

from linkspan.kernel import shaping
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, attributes, string
from linkspan.kernel.rtnetlink import ALIAS
from linkspan.state.guard import TABLE as POLICY_TABLE

_LINKS = 1  # RTNLGRP_LINK
_NFTABLES = 7  # NFNLGRP_NFTABLES
_NEWLINK, _DELLINK = 16, 17  # struct ifinfomsg: flags at 8
_IFNAME, _IFALIAS = 3, 20
_UP = 0x1


class Inner:
    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._listening: dict[str, NetlinkSocket] = {}
        self._guarding: dict[str, NetlinkSocket] = {}
        self.tampered = set[str]()  # sandboxes in which somebody else has changed a guarded table
        # One descriptor for all of them, which stays. Connections come and go with sandboxes, and their numbers are
        # given to others at once: an event loop that still had one of those would leave the other one unheard.
        self._any = select.epoll()

    def close(self) -> None:
        for path in {*self._listening, *self._guarding}:
            self.forget(path)
        self._any.close()

    @property
    def descriptor(self) -> int:
        """Readable when something was heard in a sandbox."""
        return self._any.fileno()

    def expect(self, path: str) -> None:
        """From now on, for as long as this sandbox is there, what is ours in it is to stay. OSError."""
        if not path or path in self._listening:  # the host has its own ears
            return
        with self._namespaces.inside(path):
            connection = self._listening[path] = NetlinkSocket(NETLINK_ROUTE)
        self._any.register(connection.fileno(), select.EPOLLIN)
        for group in (_LINKS, shaping.EVENTS):
            connection.join(group)

    def guard(self, path: str, port: int) -> None:
        """From now on the tables that are ours there are to stay as the connection with this port number makes them.
        OSError."""
        if path in self._guarding:
            return
        with self._namespaces.inside(path):
            connection = self._guarding[path] = NetlinkSocket(NETLINK_NETFILTER)
        self._any.register(connection.fileno(), select.EPOLLIN)
        connection.ignore(port)
        connection.join(_NFTABLES)

    def forget(self, path: str) -> None:
        self.tampered.discard(path)
        for connections in (self._listening, self._guarding):
            if connection := connections.pop(path, None):
                self._any.unregister(connection.fileno())
                connection.close()

    def lost(self, own: Collection[str]) -> bool:
        """Whether something went, or went down, since the last call; in the sandboxes of `own` by our own doing."""
        found = False
        for path, connection in self._listening.items():
            try:
                gone = [_loss(kind, body) for kind, body in connection.events()]
            except OSError:  # events were lost
                gone = [True]
            found = found or (any(gone) and path not in own)
        for path, connection in self._guarding.items():
            try:
                changed = [string(attributes(body, 4).get(1, b"")) == POLICY_TABLE for _, body in connection.events()]
            except OSError:
                changed = [True]
            if any(changed):
                self.tampered.add(path)
                found = True
        return found


def _loss(kind: int, body: bytes) -> bool:
    if kind not in (_NEWLINK, _DELLINK):
        return bool(shaping.lost(kind, body))
    up, link = struct.unpack_from("=I", body, 8)[0] & _UP, attributes(body, 16)
    ours = link.get(_IFALIAS, b"").startswith(ALIAS.encode()) or shaping.is_beside(string(link.get(_IFNAME, b"")))
    return (kind == _DELLINK or not up) and ours
