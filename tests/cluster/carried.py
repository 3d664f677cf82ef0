"""An established TCP connection that is taken out of one namespace and goes on in another, as a machine that is moved
while it runs takes its connections along: the kernel's TCP_REPAIR. Formats: linux/tcp.h."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any

from tests.hosts import socket_in

_REPAIR, _QUEUE, _SEQUENCE, _OPTIONS, _TIMESTAMP = 19, 20, 21, 22, 24
_RECEIVED, _SENT = 1, 2  # the queues
_SEGMENT, _SCALE, _SACK, _TIMESTAMPS = 2, 3, 4, 8  # of _OPTIONS, by their kinds
_RTO_MAX = 44


@dataclass(frozen=True)
class Connection:
    """One end: its own and the other's address, what was agreed, and how far both have come."""

    own: Any
    peer: Any
    received: int
    sent: int
    segment: int
    scales: int
    options: int
    clock: int


def taken(end: socket.socket) -> Connection:
    """The end is gone, and its namespace says nothing more about it. What was sent must have arrived."""
    own, peer = end.getsockname(), end.getpeername()
    _, _, _, _, _, options, scales = struct.unpack_from("7B", end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104))
    segment = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    _set(end, _REPAIR, 1)
    far = [_at(end, queue) for queue in (_RECEIVED, _SENT)]
    clock = _number(end, _TIMESTAMP)
    end.close()
    return Connection(own, peer, *far, segment, (scales & 15) | (scales >> 4) << 16, options, clock)


def goes_on(there: str, connection: Connection) -> socket.socket:
    """The end, in the namespace `there`."""
    end = socket_in(there)
    _set(end, _REPAIR, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for queue, number in ((_RECEIVED, connection.received), (_SENT, connection.sent)):
        _set(end, _QUEUE, queue)
        _unsigned(end, _SEQUENCE, number)
    end.bind(connection.own)
    end.connect(connection.peer)
    agreed = [(_SEGMENT, connection.segment)]
    agreed += [(_SCALE, connection.scales)] if connection.options & 4 else []
    agreed += [(_SACK, 0)] if connection.options & 2 else []
    agreed += [(_TIMESTAMPS, 0)] if connection.options & 1 else []
    end.setsockopt(socket.IPPROTO_TCP, _OPTIONS, b"".join(struct.pack("=II", *one) for one in agreed))
    _unsigned(end, _TIMESTAMP, connection.clock)
    _set(end, _REPAIR, 0)
    return end


def impatient(end: socket.socket) -> None:
    """It repeats what is not acknowledged every second at least."""
    _set(end, _RTO_MAX, 1000)


def _at(end: socket.socket, queue: int) -> int:
    _set(end, _QUEUE, queue)
    return _number(end, _SEQUENCE)


def _set(end: socket.socket, option: int, value: int) -> None:
    end.setsockopt(socket.IPPROTO_TCP, option, value)


def _unsigned(end: socket.socket, option: int, value: int) -> None:
    end.setsockopt(socket.IPPROTO_TCP, option, struct.pack("=I", value))


def _number(end: socket.socket, option: int) -> int:
    return int.from_bytes(end.getsockopt(socket.IPPROTO_TCP, option, 4), "little")
