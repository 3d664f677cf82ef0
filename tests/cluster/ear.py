"""What arrives at an interface, from whom and for whom; without stopping it."""

from __future__ import annotations

import socket
from types import TracebackType

from tests.hosts import socket_in

_IPV4, _OUTGOING = 0x0800, 4


class Ear:
    """Of one interface of the namespace at a path."""

    def __init__(self, space: str, interface: str) -> None:
        self._packets: list[tuple[str, str]] = []
        self._socket = socket_in(space, socket.SOCK_DGRAM, socket.AF_PACKET)
        self._socket.setblocking(False)
        self._socket.bind((interface, _IPV4))

    def heard(self) -> list[tuple[str, str]]:
        """Sender and recipient of the IPv4 packets until now, in order."""
        while True:
            try:
                packet, place = self._socket.recvfrom(64)
            except BlockingIOError:
                return list(self._packets)
            if place[2] != _OUTGOING:
                self._packets.append((socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])))

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
