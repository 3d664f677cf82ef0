"""ICMP echoes between many namespaces at once."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Collection

from tests.hosts import socket_in

_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}


def answered(
    asked: Collection[tuple[str, str]], wanted: Collection[tuple[str, str]], quiet: float = 0.4, most: float = 20
) -> set[tuple[str, str]]:
    """Of pairs of a namespace and an address those that answer. Waits `most` seconds for those that are `wanted`, and
    `quiet` seconds for others."""
    sockets: dict[int, tuple[str, int, socket.socket]] = {}
    found = set[tuple[str, str]]()
    try:
        for space, version in sorted({(space, 6 if ":" in address else 4) for space, address in asked}):
            family = socket.AF_INET6 if version == 6 else socket.AF_INET
            made = socket_in(space, socket.SOCK_RAW, family, _PROTOCOL[version])
            made.setblocking(False)
            sockets[made.fileno()] = space, version, made
        deadline = time.monotonic() + most
        while time.monotonic() < deadline:
            _ask(sockets, set(asked) - found)
            _listen(sockets, found, quiet)
            if found >= set(wanted):
                break
    finally:
        for _, _, made in sockets.values():
            made.close()
    return found & set(asked)


def _ask(sockets: dict[int, tuple[str, int, socket.socket]], asked: Collection[tuple[str, str]]) -> None:
    for space, version, made in sockets.values():
        for here, address in asked:
            if here == space and (":" in address) == (version == 6):
                header = struct.pack(">BBHHH", _REQUEST[version], 0, 0, 77, 1)
                if version == 4:
                    header = struct.pack(">BBHHH", 8, 0, 0xFFFF - sum(struct.unpack(">HHHH", header)), 77, 1)
                try:
                    made.sendto(header, (address, 0))
                except PermissionError:
                    continue  # it does not get out


def _listen(sockets: dict[int, tuple[str, int, socket.socket]], found: set[tuple[str, str]], quiet: float) -> None:
    until = time.monotonic() + quiet
    while (left := until - time.monotonic()) > 0:
        for number in select.select(list(sockets), [], [], left)[0]:
            space, version, made = sockets[number]
            packet, peer = made.recvfrom(2000)
            body = packet[(packet[0] & 15) * 4 :] if version == 4 else packet
            if body[0] == _REPLY[version] and body[4:6] == b"\0M":
                found.add((space, peer[0]))
