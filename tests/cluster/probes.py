"""Packets of any size between namespaces, through sockets of this process: a socket stays where it was made."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading

from tests.hosts import socket_in

_HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}  # of IP and UDP


def carries(here: str, there: str, address: str, protocol: str, size: int, *, port: int = 7, within: float = 5) -> bool:
    """Whether so many bytes, sent from the namespace `here` to an address in `there`, come back as they were sent.

    By UDP they are one datagram, which is cut into fragments where it is longer than a packet.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = os.urandom(size)
    try:
        return (_datagram if protocol == "udp" else _stream)(here, there, address, family, data, port, within)
    except OSError:
        return False


def full_datagram(mtu: int, address: str) -> int:
    """How many bytes of UDP fill one packet."""
    return mtu - _HEADERS[socket.AF_INET6 if ":" in address else socket.AF_INET]


def heard_by_many(here: str, there: str, group: str) -> bool:
    """Whether what is sent to all of a group from one sandbox is heard in the other."""
    with socket_in(there, socket.SOCK_DGRAM) as listener, socket_in(here, socket.SOCK_DGRAM) as sender:
        listener.bind(("", 7007))
        if group.startswith("224."):
            membership = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), 0)
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"to all", (group, 7007))
        with contextlib.suppress(TimeoutError):
            return listener.recv(100) == b"to all"
    return False


def _datagram(here: str, there: str, address: str, family: int, data: bytes, port: int, within: float) -> bool:
    with socket_in(there, socket.SOCK_DGRAM, family) as server, socket_in(here, socket.SOCK_DGRAM, family) as client:
        for each in (server, client):
            each.settimeout(within)
        server.bind((address, port))
        client.sendto(data, (address, port))
        received, peer = server.recvfrom(65535)
        server.sendto(received, peer)
        return client.recv(65535) == data


def _stream(here: str, there: str, address: str, family: int, data: bytes, port: int, within: float) -> bool:
    with socket_in(there, family=family) as server, socket_in(here, family=family) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(1)
        for each in (server, client):
            each.settimeout(within)
        client.connect((address, port))
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(within)
            return _sent(client, accepted, data) and _sent(accepted, client, data)


def _sent(one: socket.socket, other: socket.socket, data: bytes) -> bool:
    sending = threading.Thread(target=one.sendall, args=(data,), daemon=True)
    sending.start()
    received = bytearray()
    while len(received) < len(data) and (piece := other.recv(1 << 16)):
        received += piece
    sending.join(1)
    return bytes(received) == data
