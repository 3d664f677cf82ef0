"""The nft table `inet linkspan-policy` inside sandboxes, and of the host: what policies let in and out there.

Every change is one transaction on a connection into the sandbox, which owns the table: nobody in the sandbox can change
it, and it stays when the daemon ends. One element in it, the stamp, says what it holds: whoever changes it deletes the
old stamp first, so that a transaction on something other than what was thought there fails as a whole. Then, and where
nothing is known of what is there, the table is written anew: also in one transaction.

Where the kernel cannot keep a table for its owner (before Linux 6.9), the table is a plain one: `Inner` hears when it
is changed, and it is written anew.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import ipaddress
import logging
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence

from linkspan.kernel import expressions
from linkspan.kernel.inner import Inner
from linkspan.kernel.kernel_log import hidden
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.netlink import (
    ACK,
    APPEND,
    CREATE,
    NETLINK_NETFILTER,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    be32,
    nested,
    string,
    text,
)
from linkspan.model.policy import EGRESS, FAILSAFE, INGRESS
from linkspan.state.guard import (
    ACCEPT,
    DESTINATION_PORT,
    HOST,
    ICMP_TYPE,
    PROTOCOL,
    TABLE,
    Entry,
    Guard,
    GuardPorts,
    GuardRule,
    GuardSet,
    Is,
    Seal,
)

log = logging.getLogger(__name__)
_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE, _NEWSET, _DELSET = (
    _SUBSYSTEM | number for number in (0, 1, 2, 3, 5, 6, 8, 9, 11)
)
_NEWSETELEM, _GETSETELEM, _DELSETELEM = (_SUBSYSTEM | number for number in (12, 13, 14))
_GETCHAIN = _SUBSYSTEM | 4
_BATCH = struct.pack("=BBH", 0, 0, socket.htons(10))
_INET = struct.pack("=BBH", 1, 0, 0)
_OURS = _INET + text(1, TABLE)
_NETDEV = struct.pack("=BBH", 5, 0, 0)
_NETDEV_OURS = _NETDEV + text(1, TABLE)
_EGRESS = 1  # NF_NETDEV_EGRESS
_OWNED = be32(2, 0x2 | 0x4)  # NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST
_INTERVAL, _MAP, _INTERVAL_END = 0x4, 0x8, 1
_INTERFACE, _SERVICE, _IPV4, _IPV6 = 41, 13, 7, 8  # nft's numbers of types
_VERDICT_DATA = 0xFFFFFF00
_HOST_ORDER = bytes((0, 4)) + struct.pack("=I", 1)  # user data of a set: how nft is to show its keys
_LONGEST = 60_000  # bytes of a list, which may have 64 KiB
_LETTING_GO = 1.0  # seconds
_STAMP = "stamp"
_WAYS = ("in", "out")
# Hook, priority; whether what comes in is judged, or what goes out. Who forwards is judged for both.
_BASE = {"input": (1, 0, True), "forward_in": (2, 0, True), "forward_out": (2, 1, False), "output": (3, 0, False)}
# MLD, router and neighbour discovery, MLDv2: without them there is no IPv6 on a link.
_DISCOVERY = (
    GuardRule((Is(PROTOCOL, 58, 58), Is(ICMP_TYPE, 130, 137)), ACCEPT),
    GuardRule((Is(PROTOCOL, 58, 58), Is(ICMP_TYPE, 143, 143)), ACCEPT),
)

# What passes a seal: what the stack sends, and how neighbours are found.
_PAST_A_SEAL = (expressions.is_routed(), expressions.is_arp(), expressions.is_discovery())

Message = tuple[int, int, bytes]


class Guards:
    """Belongs to the kernel thread. There is one connection into each sandbox that has a table."""

    def __init__(self, namespaces: Namespaces, inner: Inner, *, owned: bool = True) -> None:
        """Tables that are not `owned`, by choice or for want of a newer kernel, `inner` listens to."""
        self._namespaces, self._inner, self._owned = namespaces, inner, owned
        self._connections: dict[str, NetlinkSocket] = {}
        self._unsealed = set[Seal]()  # what this kernel cannot do
        self._without = set[str]()  # sandboxes that are known to have no table
        self._unseen = ""  # why what is logged is not shown, as it was said last

    def close(self) -> None:
        """The tables stay."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def forget(self, path: str) -> None:
        """Lets go of a namespace that is about to go: an open connection keeps it alive."""
        self._without.discard(path)
        if connection := self._connections.pop(path, None):
            connection.close()

    def fresh(self, path: str) -> None:
        """A namespace was just made: there is nothing in it yet."""
        self._without.add(path)

    def put(self, before: Guard | None, after: Guard) -> None:
        """OSError, with nothing changed. Where a rule logs, and nobody will see it, that is said."""
        self._without.discard(after.namespace)
        if after.namespace != HOST and any(rule.log for chain in after.chains for rule in chain.rules):
            said, self._unseen = self._unseen, hidden()
            if self._unseen and self._unseen != said:
                log.warning("policies have rules with Log: %s", self._unseen)
        connection = self._into(after.namespace)
        if before and before.entries and after.namespace not in self._inner.tampered:
            with contextlib.suppress(OSError):
                _transaction(connection, list(_difference(before, after)))
                return
        while True:
            there = self._there(connection)
            try:
                _transaction(connection, [*([(_DELTABLE, 0, _OURS)] if there else []), *self._whole(after)])
                break
            except OSError as error:
                if not self._owned or error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._owned = False  # and once more
        self._inner.tampered.discard(after.namespace)
        if not self._owned:
            self._inner.guard(after.namespace, connection.port)

    def remove(self, path: str) -> None:
        """OSError. What is gone already is no error."""
        try:
            connection = self._into(path)
        except FileNotFoundError:
            return
        if self._there(connection):
            _transaction(connection, [(_DELTABLE, 0, _OURS)])
        self._let_go(path, connection)

    def seal(self, item: Seal) -> None:
        """OSError. A kernel that cannot (before Linux 5.16, or without routing realms) goes without: it is said."""
        connection = self._into(item.namespace)
        self._without.discard(item.namespace)
        name = item.interface
        hook = nested(4, be32(1, _EGRESS), be32(2, 0), text(3, name))
        made = [
            (_NEWTABLE, CREATE, _NETDEV + text(1, TABLE) + (_OWNED if self._owned else be32(2, 0))),
            *([(_DELCHAIN, 0, _NETDEV_OURS + text(3, name))] if name in self._sealed(connection) else []),
            (_NEWCHAIN, CREATE, _NETDEV_OURS + text(3, name) + hook + be32(5, 1) + text(7, "filter")),
            *(
                _sealing(name, parts)
                for parts in (expressions.is_routed(), expressions.is_arp(), expressions.is_discovery())
            ),
            (_NEWRULE, CREATE | APPEND, _NETDEV_OURS + text(2, name) + nested(4, expressions.judged("drop"))),
        ]
        try:
            _transaction(connection, made)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT):
                raise
            if not self._unsealed:
                log.warning("this kernel cannot keep packet sockets from sending past policies: %s", error)
            self._unsealed.add(item)

    def unseal(self, item: Seal) -> None:
        """OSError. What is gone already is no error."""
        self._unsealed.discard(item)
        try:
            connection = self._into(item.namespace)
        except FileNotFoundError:
            return
        there = self._sealed(connection)
        if not set(there) - {item.interface}:
            if self._there(connection, _NETDEV_OURS):  # before Linux 6.16 an interface takes its chain along
                _transaction(connection, [(_DELTABLE, 0, _NETDEV_OURS)])
        elif item.interface in there:
            _transaction(connection, [(_DELCHAIN, 0, _NETDEV_OURS + text(3, item.interface))])
        self._let_go(item.namespace, connection)

    def _let_go(self, path: str, connection: NetlinkSocket) -> None:
        """Of the connection, where nothing of ours is there any more."""
        if not self._sealed(connection) and not self._there(connection):
            self.forget(path)
            self._without.add(path)

    def _sealed(self, connection: NetlinkSocket) -> list[str]:
        """The interfaces that have a chain."""
        chains = (attributes(body, 4) for body in connection.dump(_GETCHAIN, _NETDEV))
        return [string(values.get(3, b"")) for values in chains if string(values.get(1, b"")) == TABLE]

    def read(self, path: str) -> Iterator[Guard | Seal]:
        """What is there, the guard by its stamp. OSError."""
        if path in self._without:
            return
        connection = self._into(path)
        sealed = self._sealed(connection)
        guarded = self._there(connection)
        if not guarded and not sealed:
            self.forget(path)
            self._without.add(path)
            return
        if self._owned:
            self._take(connection, [_OURS] if guarded else [], [_NETDEV_OURS] if sealed else [])
        if not self._owned:
            self._inner.guard(path, connection.port)
        if guarded:
            yield Guard(path, "" if path in self._inner.tampered else _read_stamp(connection))
        yield from (Seal(path, name) for name in sealed)
        yield from (item for item in self._unsealed if item.namespace == path)

    def _into(self, path: str) -> NetlinkSocket:
        if path not in self._connections:
            with self._namespaces.inside(path):
                self._connections[path] = NetlinkSocket(NETLINK_NETFILTER)
        return self._connections[path]

    def _there(self, connection: NetlinkSocket, table: bytes = _OURS) -> bool:
        try:
            connection.request([(_GETTABLE, ACK, table)])
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _take(self, connection: NetlinkSocket, *tables: list[bytes]) -> None:
        """Tables that the last daemon has left become ours; it may take the kernel a moment to see that it ended."""
        patience = time.monotonic() + _LETTING_GO
        while True:
            try:
                _transaction(connection, [(_NEWTABLE, CREATE, each + _OWNED) for table in tables for each in table])
                return
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                    self._owned = False
                    return
                if error.errno != errno.EPERM or time.monotonic() > patience:
                    raise
            time.sleep(0.01)

    def _whole(self, guard: Guard) -> Iterator[Message]:
        yield _NEWTABLE, CREATE, _OURS + (_OWNED if self._owned else be32(2, 0))
        yield _set(_STAMP, _IPV6, 16)
        for way in _WAYS:
            yield _set(way, _INTERFACE, 16, verdicts=True)
        own = guard.namespace == HOST
        for name, (hook, priority, incoming) in _BASE.items():
            if own and name.startswith("forward"):
                continue  # what a host forwards is judged at the containers
            where = nested(4, be32(1, hook), attribute(2, priority.to_bytes(4, "big")))
            yield _NEWCHAIN, CREATE, _OURS + text(3, name) + where + be32(5, 1) + text(7, "filter")
            yield from _base_rules(name, incoming, FAILSAFE[INGRESS if incoming else EGRESS] if own else ())
        yield from _difference(None, guard)


def _base_rules(chain: str, incoming: bool, failsafe: Iterable[tuple[int, int]]) -> Iterator[Message]:
    def of(*parts: bytes) -> Message:
        return _rule(chain, b"".join(parts))

    yield of(expressions.established(), expressions.judged("accept"))
    if not chain.startswith("forward"):
        yield of(expressions.is_loopback(incoming=incoming), expressions.judged("accept"))
        yield from (of(expressions.rule(each)) for each in _DISCOVERY)
    for protocol, port in sorted(failsafe):
        matches = Is(PROTOCOL, protocol, protocol), Is(DESTINATION_PORT, port, port)
        yield of(expressions.rule(GuardRule(matches, ACCEPT)))
    yield of(expressions.interface(incoming=incoming), expressions.looked_up("in" if incoming else "out"))


def _difference(before: Guard | None, after: Guard) -> Iterator[Message]:
    """From one to the other, in an order in which everything is there for as long as something refers to it."""
    old_chains, chains = ({one.name: one for one in guard.chains} if guard else {} for guard in (before, after))
    old_sets, sets = ({one.name: one for one in guard.sets} if guard else {} for guard in (before, after))
    old_ports, ports = ({one.name: one for one in guard.ports} if guard else {} for guard in (before, after))
    for name, made in sets.items():
        if name in old_sets and old_sets[name].spans != made.spans:
            raise OSError(errno.EINVAL, "a set changes its kind")
        if name not in old_sets:
            yield _address_set(made)
        yield from _members(old_sets.get(name), made)
    come = [chain for name, chain in chains.items() if name not in old_chains]
    for chain in come:
        yield _NEWCHAIN, CREATE, _OURS + text(3, chain.name)
    for name in ports.keys() - old_ports.keys():
        yield _set(name, _SERVICE, 2, verdicts=True, spans=True)
        yield from _elements(_NEWSETELEM, name, _spans_of_ports(ports[name]))
    for chain in come:
        yield from (_rule(chain.name, expressions.rule(rule)) for rule in chain.rules)
    yield from _dispatched(before.entries if before else (), after.entries)
    gone = old_chains.keys() - chains.keys()
    for name in gone:
        yield _DELRULE, 0, _OURS + text(2, name)
    for name in [*(old_ports.keys() - ports.keys()), *(old_sets.keys() - sets.keys())]:
        yield _DELSET, 0, _OURS + text(2, name)
    for name in gone:
        yield _DELCHAIN, 0, _OURS + text(3, name)
    if before:
        yield from _elements(_DELSETELEM, _STAMP, [_single(bytes.fromhex(before.stamp))])
    yield from _elements(_NEWSETELEM, _STAMP, [_single(bytes.fromhex(after.stamp))])


def _dispatched(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[Message]:
    for number, way in enumerate(_WAYS, 1):
        old, new = ({entry[0]: entry[number] for entry in entries if entry[number]} for entries in (before, after))
        gone = [(name, chain) for name, chain in old.items() if new.get(name) != chain]
        come = [(name, chain) for name, chain in new.items() if old.get(name) != chain]
        yield from _elements(_DELSETELEM, way, [_single(_interface(name)) for name, _ in gone])
        led = ((name, expressions.verdict("goto", chain)) for name, chain in come)
        yield from _elements(_NEWSETELEM, way, [_single(_interface(name), data) for name, data in led])


def _interface(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def _members(before: GuardSet | None, after: GuardSet) -> Iterator[Message]:
    if before is after:
        return
    gone, come = _changed(before.elements if before else frozenset(), after.elements)
    packed = _span if after.spans else _address
    yield from _elements(_DELSETELEM, after.name, [item for one in gone for item in packed(one)])
    yield from _elements(_NEWSETELEM, after.name, [item for one in come for item in packed(one)])


@functools.lru_cache(maxsize=256)
def _changed(before: frozenset[str], after: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Many sandboxes have the same sets, and see the same change of them."""
    return tuple(before - after), tuple(after - before)


@functools.lru_cache(maxsize=1 << 16)
def _address(address: str) -> tuple[bytes, ...]:
    return (_single(socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)),)


def _span(span: str) -> Iterator[bytes]:
    first, dash, last = span.partition("-")
    if dash:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    else:
        subnet = ipaddress.ip_network(span)
        low, high = subnet[0], subnet[-1]
    yield from _between(int(low), int(high), len(low.packed))


def _between(first: int, last: int, length: int, data: bytes = b"") -> Iterator[bytes]:
    yield _single(first.to_bytes(length, "big"), data)
    if last + 1 < 1 << 8 * length:  # else it has no end
        yield nested(1, nested(1, attribute(1, (last + 1).to_bytes(length, "big"))), be32(3, _INTERVAL_END))


def _spans_of_ports(ports: GuardPorts) -> list[bytes]:
    return [
        item
        for first, last, chain in sorted(ports.elements)
        for item in _between(first, last, 2, expressions.verdict("jump", chain))
    ]


def _single(key: bytes, data: bytes = b"") -> bytes:
    return nested(1, nested(1, attribute(1, key)), nested(2, data) if data else b"")


def _elements(kind: int, name: str, items: Sequence[bytes]) -> Iterator[Message]:
    head = _OURS + text(2, name)
    part, length = list[bytes](), 0
    for item in items:
        if length + len(item) > _LONGEST:
            yield kind, CREATE if kind == _NEWSETELEM else 0, head + nested(3, *part)
            part, length = [], 0
        part.append(item)
        length += len(item)
    if part:
        yield kind, CREATE if kind == _NEWSETELEM else 0, head + nested(3, *part)


def _address_set(made: GuardSet) -> Message:
    return _set(made.name, *((_IPV4, 4) if made.version == 4 else (_IPV6, 16)), spans=made.spans)


def _set(name: str, kind: int, length: int, *, verdicts: bool = False, spans: bool = False) -> Message:
    flags = (_MAP if verdicts else 0) | (_INTERVAL if spans else 0)
    data = be32(6, _VERDICT_DATA) + be32(7, 0) if verdicts else b""
    shown = attribute(13, _HOST_ORDER) if kind == _INTERFACE else b""
    body = _OURS + text(2, name) + be32(3, flags) + be32(4, kind) + be32(5, length) + data + be32(10, 1) + shown
    return _NEWSET, CREATE, body


def _sealing(chain: str, parts: bytes) -> Message:
    return _NEWRULE, CREATE | APPEND, _NETDEV_OURS + text(2, chain) + nested(4, parts + expressions.judged("accept"))


def _rule(chain: str, parts: bytes) -> Message:
    return _NEWRULE, CREATE | APPEND, _OURS + text(2, chain) + nested(4, parts)


def _transaction(connection: NetlinkSocket, changes: list[Message]) -> None:
    """OSError, with nothing changed."""
    kind, flags, body = changes.pop()
    try:
        connection.request([(_BATCH_BEGIN, 0, _BATCH), *changes, (kind, flags | ACK, body), (_BATCH_END, 0, _BATCH)])
    except OSError:
        for _ in connection.events():
            pass  # what else the kernel says of the same transaction
        raise


def _read_stamp(connection: NetlinkSocket) -> str:
    """ "" where the table is not, or not wholly, one of ours."""
    try:
        found = connection.dump(_GETSETELEM, _OURS + text(2, _STAMP))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return ""
        raise
    keys = [
        attributes(attributes(item).get(1, b"")).get(1, b"")
        for body in found
        for _, item in attribute_list(attributes(body, 4).get(3, b""))
    ]
    return keys[0].hex() if len(keys) == 1 else ""
