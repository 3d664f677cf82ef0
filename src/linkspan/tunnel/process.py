"""The process behind flannel's udp backend, started as a file:

    process.py SOCKET NAME ADDRESS/LENGTH MTU LOCAL PORT WHOSE

It makes the TUN device NAME with that address, which leads there whatever is for the network. Each IPv4 packet goes, as
it is, in a datagram to the host that has its subnet, at the same PORT; and one that arrives comes out of the device: if
WHOSE is `any`, from wherever it comes, if it is `known`, from a host that has a subnet. Which host has which it is told
over the unix socket at SOCKET, where it first says its version and settings:

    routes [["10.5.1.0/24", "192.0.2.2"], …]      all of them; answered by `ok`
    end                                           it ends, and the device with it

It outlives who started it, as containers do. Packets lose one hop here and one there, as with flannel's own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Callable

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000
_SIOCSIFFLAGS, _SIOCGIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8914, 0x8913, 0x8916, 0x891C, 0x8922
_UP, _RUNNING = 0x1, 0x40
_BATCH = 64  # packets at a time from one side, before the other has its turn
_LARGEST = 65535
_UNREACHABLE, _TIME_EXCEEDED = 3, 11


def version() -> str:
    """Of this very program: a daemon with another one replaces it."""
    with open(__file__, "rb") as file:  # noqa: PTH123
        return hashlib.sha256(file.read()).hexdigest()[:16]


class Routes:
    """Which host has which subnet. Subnets are mostly of one length: so the lengths are tried, the longest first."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[int, int], str] = {}  # prefix length, subnet → host
        self._masks: list[tuple[int, int]] = []
        self.hosts: frozenset[str] = frozenset()

    def set(self, pairs: list[list[str]]) -> None:
        hosts = {}
        for subnet, host in pairs:
            address, _, length = subnet.partition("/")
            socket.inet_aton(host)
            hosts[int(length), int.from_bytes(socket.inet_aton(address), "big")] = host
        self._hosts = hosts
        self.hosts = frozenset(hosts.values())
        self._masks = [
            (length, 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF)
            for length in sorted({at for at, _ in hosts}, reverse=True)
        ]

    def find(self, destination: int) -> str | None:
        for length, mask in self._masks:
            if host := self._hosts.get((length, destination & mask)):
                return host
        return None


def older(packet: bytearray) -> bool:
    """Takes a hop off an IPv4 packet, and mends its checksum (RFC 1141). False where it had none left to go."""
    if packet[8] <= 1:
        return False
    packet[8] -= 1
    total = (packet[10] << 8 | packet[11]) + 0x100
    total = (total & 0xFFFF) + (total >> 16)
    packet[10], packet[11] = total >> 8, total & 0xFF
    return True


def refusal(packet: bytes, kind: int) -> bytes | None:
    """The ICMP message to a packet's sender that it is not sent on; None where there must be none (RFC 1122).

    It comes from where the packet was to go: the kernel takes none from outside that has an address of its own.
    """
    header = (packet[0] & 15) * 4
    if packet[6] << 8 & 0x1F00 or packet[7]:  # not of a later fragment
        return None
    if packet[9] == 1 and len(packet) > header and packet[header] not in (0, 8):
        return None
    if packet[16] >= 224 or packet[12] >= 224 or packet[12] == 0:
        return None
    body = packet[: header + 8]
    message = struct.pack("!BBHI", kind, 0, 0, 0) + body
    message = message[:2] + _checksum(message) + message[4:]
    top = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0, packet[16:20], packet[12:16])
    return top[:10] + _checksum(top) + top[12:] + message


def _checksum(data: bytes) -> bytes:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


class Tunnel:
    """The device and the datagrams' socket."""

    def __init__(self, name: str, address: str, mtu: int, local: str, port: int, *, known: bool) -> None:
        self.routes = Routes()
        self._known = known
        self._port = port
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((local, port))
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self.device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        _set_up(name, address, mtu)

    def leaving(self) -> None:
        """From the device to other hosts."""
        for _ in range(_BATCH):
            try:
                packet = bytearray(os.read(self.device, _LARGEST))
            except BlockingIOError:
                return
            if len(packet) < 20 or packet[0] >> 4 != 4:
                continue
            host = self.routes.find(int.from_bytes(packet[16:20], "big"))
            if host is None:
                self._refuse(packet, _UNREACHABLE)
            elif not older(packet):
                self._refuse(packet, _TIME_EXCEEDED)
            else:
                try:
                    self.socket.sendto(packet, (host, self._port))
                except OSError as error:
                    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                        self._refuse(packet, _UNREACHABLE)

    def arriving(self) -> None:
        """From other hosts to the device."""
        for _ in range(_BATCH):
            try:
                data, (sender, _) = self.socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # what an earlier datagram met with: nobody listens there
                continue
            if self._known and sender not in self.routes.hosts:
                continue
            packet = bytearray(data)
            if len(packet) >= 20 and packet[0] >> 4 == 4 and older(packet):
                with contextlib.suppress(OSError):  # the kernel does not take it: lost, as packets may be
                    os.write(self.device, packet)

    def _refuse(self, packet: bytearray, kind: int) -> None:
        if message := refusal(bytes(packet), kind):
            with contextlib.suppress(OSError):
                os.write(self.device, message)


def _set_up(name: str, address: str, mtu: int) -> None:
    own, _, length = address.partition("/")
    mask = (0xFFFFFFFF << (32 - int(length)) & 0xFFFFFFFF).to_bytes(4, "big")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        request = struct.pack("16s", name.encode())
        fcntl.ioctl(any_, _SIOCSIFMTU, request + struct.pack("i20x", mtu))
        for command, value in ((_SIOCSIFADDR, socket.inet_aton(own)), (_SIOCSIFNETMASK, mask)):
            fcntl.ioctl(any_, command, request + struct.pack("H2x4s16x", socket.AF_INET, value))
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_, _SIOCGIFFLAGS, request + bytes(24)), 16)
        fcntl.ioctl(any_, _SIOCSIFFLAGS, request + struct.pack("H22x", flags | _UP | _RUNNING))


class Control:
    """Where whoever has the say finds this process."""

    def __init__(self, path: str, greeting: str, routes: Routes) -> None:
        self._greeting, self._routes = f"{greeting}\n".encode(), routes
        self.ended = False
        self.clients: dict[int, tuple[socket.socket, bytes]] = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
        self.listener.bind(path)
        self.listener.listen()

    def accept(self) -> socket.socket:
        client, _ = self.listener.accept()
        client.sendall(self._greeting)
        self.clients[client.fileno()] = client, b""
        return client

    def told(self, descriptor: int) -> bool:
        """False where the client has gone."""
        client, before = self.clients[descriptor]
        try:
            data = client.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            del self.clients[descriptor]
            return False
        *lines, rest = (before + data).split(b"\n")
        self.clients[descriptor] = client, rest
        for line in lines:
            word, _, value = line.partition(b" ")
            if word == b"routes":
                self._routes.set(json.loads(value))
                client.sendall(b"ok\n")
            self.ended = self.ended or word == b"end"
        return True


def main(path: str, name: str, address: str, mtu: str, local: str, port: str, whose: str) -> None:
    tunnel = Tunnel(name, address, int(mtu), local, int(port), known=whose == "known")
    control = Control(path, " ".join((version(), name, address, mtu, local, port, whose)), tunnel.routes)
    poll = select.epoll()
    handlers: dict[int, Callable[[], None]] = {
        tunnel.device: tunnel.leaving,
        tunnel.socket.fileno(): tunnel.arriving,
    }
    for descriptor in (*handlers, control.listener.fileno()):
        poll.register(descriptor, select.EPOLLIN)
    while not control.ended:
        for descriptor, events in poll.poll():
            if handler := handlers.get(descriptor):
                if descriptor == tunnel.device and events & (select.EPOLLERR | select.EPOLLHUP):
                    raise OSError(errno.ENODEV, "somebody has deleted the device")
                handler()
            elif descriptor == control.listener.fileno():
                poll.register(control.accept(), select.EPOLLIN)
            elif descriptor in control.clients:
                client, _ = control.clients[descriptor]
                if not control.told(descriptor):
                    poll.unregister(descriptor)
                    client.close()
    os.unlink(path)  # noqa: PTH108


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as failure:
        sys.exit(f"the tunnel of flannel's udp backend cannot go on: {failure}")
