"""Netlink: messages and attributes as bytes, and a socket that matches answers to requests by sequence number.

Knows no family: `rtnetlink`, `elements` and `nftables` say what the messages mean. Formats: linux/netlink.h.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator, Sequence

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

# struct nlmsghdr's flags
REQUEST = 0x1
ACK = 0x4
ECHO = 0x8
ROOT_MATCH = 0x300  # a dump
REPLACE = 0x100
EXCL = 0x200
CREATE = 0x400
APPEND = 0x800
APPEND = 0x800

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSG_OVERRUN = 4
_F_CAPPED = 0x100
_F_ACK_TLVS = 0x200
_ATTR_MESSAGE = 1  # NLMSGERR_ATTR_MSG
_NESTED = 0x8000

_SO_ATTACH_FILTER = 26
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SOL_NETLINK = 270
_EXT_ACK = 11
_GET_STRICT_CHK = 12

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_RECEIVE = 1 << 18  # dumps come in pieces of up to 32 KiB; a whole batch of answers fits

_LOAD_WORD, _LOAD_HALF_WORD = 0x20, 0x28  # BPF_LD | BPF_W, BPF_H | BPF_ABS
_BATCH = 100  # messages in a packet: as many refusals still fit into the receive buffer
_SEND = 1 << 17  # bytes that a socket sends at once unless told otherwise; thousands of elements are more

_TIMEOUT = struct.pack("@ll", 10, 0)  # struct timeval


class NetlinkError(OSError):
    """The kernel refused a message: errno, and the kernel's own words about it where it has any (extended ack)."""

    def __init__(self, errno: int, words: str) -> None:
        super().__init__(errno, words or os.strerror(errno))


class NetlinkSocket:
    """One netlink socket. It stays in the network namespace that its maker was in."""

    def __init__(self, protocol: int, *, descriptor: int | None = None) -> None:
        if descriptor is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            self._socket.bind((0, 0))
        else:
            self._socket = socket.socket(fileno=descriptor)
        # The kernel answers within the send. If it ever does not, that is an error, not a daemon that hangs. (Python's
        # own timeout would cost a poll each time.)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        if protocol == NETLINK_ROUTE:
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)  # dumps honour their filters
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def join(self, group: int) -> None:
        """Receives a multicast group's events too."""
        self._socket.setsockopt(_SOL_NETLINK, 1, group)

    def ignore(self, port: int) -> None:
        """Receives no more of what the netlink connection with this port number brings about: thousands of events of
        our own would overflow the socket, and hide what others do."""
        # The number is at 12, behind length, type, flags and sequence; loads are in network order.
        self._drop(_LOAD_WORD, 12, [socket.htonl(port)])

    def ignore_kinds(self, kinds: Sequence[int]) -> None:
        """Receives no more messages of these types, events or answers."""
        self._drop(_LOAD_HALF_WORD, 4, [socket.htons(kind) for kind in kinds])

    def make_room(self, size: int) -> None:
        """For events that nobody has read yet: bytes, of which the kernel takes a thousand for a small one. OSError
        without the capability."""
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size // 2)  # the kernel doubles it

    def _drop(self, load: int, offset: int, values: Sequence[int]) -> None:
        """Classic BPF: packets with one of the values at the offset do not come in."""
        program = struct.pack("=HBBI", load, 0, 0, offset)
        for number, value in enumerate(values, 1):
            program += struct.pack("=HBBI", 0x15, len(values) - number + 1, 0, value)
        program += struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF) + struct.pack("=HBBI", 0x06, 0, 0, 0)
        kept = ctypes.create_string_buffer(program, len(program))
        filter_ = struct.pack("HP", len(program) // 8, ctypes.addressof(kept))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)

    @property
    def port(self) -> int:
        """The number by which the kernel knows this connection."""
        return int(self._socket.getsockname()[0])

    def fileno(self) -> int:
        return self._socket.fileno()

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Type and body of the messages that are waiting; never blocks. OSError(ENOBUFS) if some were lost."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for kind, _, _, body in messages(data):
                yield kind, body

    def request(self, requests: Sequence[tuple[int, int, bytes]]) -> list[list[bytes]]:
        """Sends (type, flags, body) in one packet and answers the bodies that each brought, in order.

        Raises NetlinkError for the first that failed; the kernel goes on with the others.
        """
        first = self._send(requests)
        # A message that asks for no acknowledgement (the bounds of an nfnetlink batch) is answered only if it fails.
        awaited = {i for i, (_, flags, _) in enumerate(requests) if flags & ACK or flags & ROOT_MATCH == ROOT_MATCH}
        return self._answers(first, len(requests), awaited)

    def batch(self, requests: Sequence[tuple[int, int, bytes]]) -> dict[int, NetlinkError]:
        """Sends any number of (type, flags, body), and answers what was refused, by its place in the sequence."""
        refused: dict[int, NetlinkError] = {}
        for start in range(0, len(requests), _BATCH):
            part = requests[start : start + _BATCH]
            first = self._send([(kind, flags & ~ACK, body) for kind, flags, body in part[:-1]] + [part[-1]])
            last, waiting = first + len(part) - 1, True
            while waiting:
                for kind, flags, sequence, body in messages(self._socket.recv(_RECEIVE)):
                    if kind == _NLMSG_ERROR and first <= sequence <= last:
                        waiting = waiting and sequence != last
                        if errno := -_ERROR.unpack_from(body)[0]:
                            refused[start + sequence - first] = NetlinkError(errno, _words(flags, body))
        return refused

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of everything that a dump yields."""
        return self.request([(kind, ROOT_MATCH, body)])[0]

    def _send(self, requests: Sequence[tuple[int, int, bytes]]) -> int:
        """In one packet; answers the first one's sequence number."""
        first = self._sequence + 1
        packet = bytearray()
        for number, (kind, flags, body) in enumerate(requests):
            packet += HEADER.pack(16 + len(body), kind, REQUEST | flags, first + number, 0) + body
            packet += b"\0" * (-len(body) % 4)
        self._sequence += len(requests)
        if len(packet) > _SEND:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(packet))
        self._socket.send(packet)
        return first

    def _answers(self, first: int, count: int, awaited: set[int]) -> list[list[bytes]]:
        answers: list[list[bytes]] = [[] for _ in range(count)]
        failure: NetlinkError | None = None
        while awaited:
            data = self._socket.recv(_RECEIVE)
            for kind, flags, sequence, body in messages(data):
                number = sequence - first
                if not 0 <= number < count:
                    continue  # an event, or the rest of an answer that nobody waits for any more
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    errno = -_ERROR.unpack_from(body)[0] if len(body) >= 4 else 0
                    if errno and failure is None:
                        failure = NetlinkError(errno, _words(flags, body) if kind == _NLMSG_ERROR else "")
                        if number not in awaited:
                            awaited = set()  # the batch as a whole was refused: nothing else will come
                    awaited.discard(number)
                else:
                    answers[number].append(body)
        if failure:
            raise failure
        return answers


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message in a packet."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type; of those that repeat, the last. The flag bits of nested types are taken off."""
    return dict(attribute_list(data, offset))


def attribute_list(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Attributes in order: lists in netlink repeat one type."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    length = len(value) + 4
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *values: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(values))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """In the machine's order, as rtnetlink has it."""
    return attribute(kind, value.to_bytes(2, "little" if _LITTLE else "big"))


def u32(kind: int, value: int) -> bytes:
    """In the machine's order, as rtnetlink has it."""
    return attribute(kind, value.to_bytes(4, "little" if _LITTLE else "big"))


def u64(kind: int, value: int) -> bytes:
    """In the machine's order, as rtnetlink has it."""
    return attribute(kind, value.to_bytes(8, "little" if _LITTLE else "big"))


def be32(kind: int, value: int) -> bytes:
    """In network order, as nfnetlink has it."""
    return attribute(kind, value.to_bytes(4, "big"))


def number(value: bytes) -> int:
    """An integer in the machine's order."""
    return int.from_bytes(value, "little" if _LITTLE else "big")


def string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _words(flags: int, body: bytes) -> str:
    if not flags & _F_ACK_TLVS:
        return ""
    # The attributes follow the errno and the refused message: the whole of it, or its header alone where it is capped.
    refused = 16 if flags & _F_CAPPED else (HEADER.unpack_from(body, 4)[0] + 3) & ~3
    return string(attributes(body, 4 + refused).get(_ATTR_MESSAGE, b""))
