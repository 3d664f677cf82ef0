"""Noticing that something of ours was taken away or put down by somebody else, and that another firewall changes.

The kernel tells of every change on multicast groups. Only losses matter here: what is ours and goes, or goes down. What
somebody adds is theirs; only their chains and rules are worth a look, as what they drop is dropped for us too. Our own
steps cause the same events: those of the interfaces that a plan touches, while it is applied, are no loss. What ours
stand on is not ours: there it matters that it goes, and that it comes back. What no event tells of, `drift` looks for.

Formats: linux/rtnetlink.h, linux/if_addr.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
from collections.abc import Callable, Iterator, Mapping

from linkspan.kernel import forwarding, shaping, user_table
from linkspan.kernel.inner import Inner
from linkspan.kernel.neighbours import legacy_tables
from linkspan.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, attributes, string
from linkspan.kernel.nftables import TABLE
from linkspan.kernel.rtnetlink import ALIAS, PROTOCOL
from linkspan.state.guard import TABLE as POLICY_TABLE
from linkspan.state.objects import (
    Address,
    Bridge,
    Device,
    Enslaved,
    FdbEntry,
    Joint,
    Neighbour,
    Nic,
    Route,
    Shaper,
    Sysctl,
    Veth,
    Vxlan,
)
from linkspan.state.plan import Delete, Plan
from linkspan.state.switch import OvsBridge, OvsUplink

# RTNLGRP_LINK, _NEIGH, _TC; _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_NETCONF; the same of IPv6
_GROUPS = (1, 3, shaping.EVENTS, 5, 7, 24, 9, 11, 25)
# What comes is no loss, and may come by the thousand: RTM_NEWROUTE, _NEWNEIGH.
_OF_NO_INTEREST = (24, 28)
_DELNEIGH = 29
_ROOM = 64 << 20  # for as many events as the routes and neighbours of a large network make when they go
_NFTABLES_GROUP = 7
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18  # struct ifinfomsg: family, index at 4, flags at 8
_NEWADDR = 20
_AF_BRIDGE = 7
_NEWTABLE, _DELTABLE, _NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE, _DELSET = (10 << 8 | n for n in (0, 2, 3, 5, 6, 8, 11))
_TAKEN_AWAY = {_DELTABLE, _DELCHAIN, _DELSET}
_STIRS = {_NEWTABLE, _DELTABLE, _NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE}
_UP = 0x1
_IFMTU, _IFMASTER = 4, 10
_IFNAME, _IFALIAS, _IFA_LABEL, _IFA_PROTO, _TABLE_NAME, _NETCONF_INDEX = 3, 20, 3, 11, 1, 1
_ALL = struct.pack("=i", -1)  # NETCONFA_IFINDEX_ALL: the host's own ip_forward


class Watch:
    """Made in the host's namespace. `descriptors` become readable when there is something to look at.

    Raises OSError where it cannot be made.
    """

    def __init__(
        self, parents: Mapping[str, int], ours: int, inner: Inner, unheard: Callable[[], bool] = lambda: False
    ) -> None:
        """`parents` are interfaces of the host's own that ours stand on, by name, with the index that each has now;
        `ours` is the netlink port by which we change the firewall. `inner` hears what goes inside sandboxes, `unheard`
        tells what there is no event for."""
        self._parents, self._inner, self._unheard = parents, inner, unheard
        self._links: dict[int, tuple[bytes, ...]] = {}  # what was last heard of ours, by index
        self._up: dict[int, bool] = {}  # of any
        self._masters: dict[int, bytes | None] = {}  # of those that ours stand on, the bridge that each is on
        with contextlib.ExitStack() as opened:
            self._route = opened.enter_context(contextlib.closing(NetlinkSocket(NETLINK_ROUTE)))
            self._nft = opened.enter_context(contextlib.closing(NetlinkSocket(NETLINK_NETFILTER)))
            self._route.make_room(_ROOM)
            self._route.ignore_kinds(_OF_NO_INTEREST)
            for group in _GROUPS:
                self._route.join(group)
            self._nft.ignore(ours)
            self._nft.join(_NFTABLES_GROUP)
            self._lost = self._stirred = False
            for body in self._route.dump(_GETLINK, bytes(16)):
                self._parent_changed(_NEWLINK, body, _NOTHING)
                self._changed(_NEWLINK, body, _NOTHING)
            # What was seen, and nobody has asked for yet, is readable like any other.
            self._seen = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, self._seen)
            self._opened = opened.pop_all()

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self._route.fileno(), self._nft.fileno(), self._seen, self._inner.descriptor

    def lost(self) -> bool:
        """Whether anything of ours went since the last call. Events that overflowed the socket count as a loss."""
        found = self._look(_NOTHING) or self._lost
        found = self._unheard() or found
        self._lost = False
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._seen)
        return found

    def stirred(self) -> bool:
        """Whether another's chains or rules changed, as far as `lost` has heard since the last call.

        The legacy iptables tells nobody: where it is in use, something may always have changed.
        """
        stirred, self._stirred = self._stirred, False
        return stirred or legacy_tables()

    @contextlib.contextmanager
    def applying(self, plan: Plan) -> Iterator[None]:
        """What this plan takes away meanwhile, or its undoing, is no loss; what went before, or beside it, is."""
        self._keep(_NOTHING)
        try:
            yield
        finally:
            self._keep(_own(plan))

    def close(self) -> None:
        self._opened.close()

    def _keep(self, own: _Own) -> None:
        self._lost = self._look(own) or self._lost
        if self._lost or self._stirred:
            os.eventfd_write(self._seen, 1)

    def _route_loss(self, kind: int, body: bytes, own: _Own) -> bool:
        if kind == _NEWADDR and struct.unpack_from("=i", body, 4)[0] in self._enslaved():
            return not own.interfaces  # it belongs on the bridge
        if kind in (_NEWLINK, _DELLINK):
            other = self._parent_changed(kind, body, own)
            return self._changed(kind, body, own) or other
        if kind == _DELNEIGH:
            index = forwarding.lost(body, self._links)
            # What goes with its link, whose name is unknown then, is not told as a loss of its own.
            return index in self._links and string(self._links[index][0]) not in own.interfaces
        if index := shaping.lost(kind, body):
            return index in self._links and string(self._links[index][0]) not in own.interfaces
        return _route_loss(kind, body, own)

    def _parent_changed(self, kind: int, body: bytes, own: _Own) -> bool:
        """Whether an interface that ours stand on goes or comes, goes down (the kernel says no word of the routes that
        go with it) or up, or is taken off a bridge. Its other events are many: each macvlan on it is one."""
        if body[0] == _AF_BRIDGE:
            return False  # the same once more, as the bridge sees it
        index, up = struct.unpack_from("=i", body, 4)[0], bool(struct.unpack_from("=I", body, 8)[0] & _UP)
        before, was_on = self._up.pop(index, up), self._masters.pop(index, None)
        if kind == _NEWLINK:
            self._up[index] = up
        link = attributes(body, 16) if self._parents else {}
        name, master = string(link.get(_IFNAME, b"")), link.get(_IFMASTER)
        if name not in self._parents:
            return False
        if kind == _NEWLINK and master:
            self._masters[index] = master
        freed = bool(was_on) and master != was_on and name not in own.interfaces
        return kind == _DELLINK or index != self._parents[name] or before != up or freed

    def _enslaved(self) -> set[int]:
        """Indexes of the interfaces that ours stand on, as far as they are in bridges."""
        return {index for index in self._masters if index in self._parents.values()}

    def _changed(self, kind: int, body: bytes, own: _Own) -> bool:
        """Whether a link of ours went, is down, or is not what it was: its name, alias, MTU, or the bridge it is on."""
        if body[0] == _AF_BRIDGE:
            return False  # the same once more, as the bridge sees it
        index, link = struct.unpack_from("=i", body, 4)[0], attributes(body, 16)
        ours = link.get(_IFALIAS, b"").startswith(ALIAS.encode())
        before = self._links.pop(index, None)
        if not ours and before is None:
            return False
        now = tuple(link.get(field, b"") for field in (_IFNAME, _IFALIAS, _IFMTU, _IFMASTER))
        if ours and kind == _NEWLINK:
            self._links[index] = now
        down = kind == _DELLINK or not struct.unpack_from("=I", body, 8)[0] & _UP
        other = before is not None and before != now
        return (down or other) and string(link.get(_IFNAME, b"")) not in own.interfaces

    def _look(self, own: _Own) -> bool:
        found = self._inner.lost(own.namespaces)
        try:
            for kind, body in self._route.events():
                found = self._route_loss(kind, body, own) or found
        except OSError:
            found = True
        try:
            for kind, body in self._nft.events():
                found = found or _table_loss(kind, body)
                self._stirred = self._stirred or _stirs(kind, body)
        except OSError:
            found = True
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Own:
    """What a plan touches: interfaces of the host, whether also its settings, and sandboxes."""

    interfaces: frozenset[str]
    settings: bool
    namespaces: frozenset[str]


_NOTHING = _Own(frozenset(), False, frozenset())


def _own(plan: Plan) -> _Own:
    interfaces, namespaces, settings = set(), set(), False
    for step in plan:
        match step.before if isinstance(step, Delete) else step.after:
            case Bridge(name=name) | Veth(name=name) | Vxlan(name=name) | OvsBridge(name=name) | OvsUplink(name=name):
                interfaces.add(name)
            case Enslaved(name=name, nic=nic):
                interfaces.update((name, nic))
            case Joint(name=name, peer=peer):
                interfaces.update((name, peer))
            case Device(namespace="", name=name):
                interfaces.add(name)
            case Device(namespace=namespace):
                namespaces.add(namespace)
            case Nic(namespace=namespace, origin=name):
                interfaces.add(name)
                namespaces.add(namespace)
            case Address(namespace="", interface=name) | Route(namespace="", interface=name):
                interfaces.add(name)
            case Shaper(namespace=namespace, interface=name):
                (namespaces if namespace else interfaces).add(namespace or name)
            case Neighbour(interface=name) | FdbEntry(interface=name):
                interfaces.add(name)
            case Sysctl(namespace=""):
                settings = True
    return _Own(frozenset(interfaces), settings, frozenset(namespaces))


def _route_loss(kind: int, body: bytes, own: _Own) -> bool:
    match kind:
        case 21:  # RTM_DELADDR: struct ifaddrmsg
            address = attributes(body, 8)
            if address.get(_IFA_PROTO, b"\0")[0] != PROTOCOL:
                return False
            if _IFA_LABEL in address:
                return string(address[_IFA_LABEL]) not in own.interfaces
            return not own.interfaces  # an IPv6 address names none, but went with one of them
        case 25:  # RTM_DELROUTE: struct rtmsg, whose protocol is at 5
            return body[5] == PROTOCOL and not own.interfaces  # it names none, but went with one of them
        case 80:  # RTM_NEWNETCONF: struct netconfmsg
            return attributes(body, 4).get(_NETCONF_INDEX) == _ALL and not own.settings
    return False


def _table_loss(kind: int, body: bytes) -> bool:
    # No plan takes the table away, nor anything of the administrator's.
    table = _table(body) if kind in _TAKEN_AWAY else ""
    return table == user_table.TABLE or (table == TABLE and kind == _DELTABLE)


def _stirs(kind: int, body: bytes) -> bool:
    return kind in _STIRS and _table(body) not in (TABLE, user_table.TABLE, POLICY_TABLE)


def _table(body: bytes) -> str:
    return string(attributes(body, 4).get(_TABLE_NAME, b""))
