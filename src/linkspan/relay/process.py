"""The relay: takes what is for published IPv6 ports and the kernel cannot translate, and sends it on.

That is: ports of containers that have IPv4 only, and what comes from ::1 or a link-local address, which must not leave
its link. The ruleset hands over such packets as they are (tproxy), so that one socket for each protocol serves every
port and sees the address and port that the client meant. Where that leads is in a map of the ruleset, looked up for
each connection: there is nothing to keep in step, and nothing to be told by a daemon, which may be dead.

Run as `process.py CONTROL`, where CONTROL is the path of a unix socket: whoever connects is told the version; what it
sends, "end\\n", ends the process. It imports nothing but small modules of the standard library.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable

PORT = 19539  # on ::1, as kernel/ruleset.nft has it
TABLE, TARGETS = "linkspan", "relay_to"
CHUNK = 1 << 16
IDLE = 90.0  # seconds, after which a UDP client that is silent is forgotten, as with docker-proxy
SWEEP = 2.0  # seconds between looks at all UDP clients
FRESH = 0.5  # seconds for which a UDP client's target is not looked up again
MOST_CLIENTS = 8192  # UDP

_TCP, _UDP = 6, 17
_NESTED = 0x8000
_IPV6_TRANSPARENT, _IPV6_RECVORIGDSTADDR, _IPV6_CHECKSUM = 75, 74, 7
_SO_ATTACH_FILTER = 26
_NETLINK_NETFILTER = 12
_GETSETELEM, _REQUEST = 10 << 8 | 13, 1


def version() -> str:
    """What this program is: another text for another program."""
    with open(__file__, "rb") as file:  # noqa: PTH123 - pathlib would be half of this process's memory
        return f"relay {zlib.crc32(file.read()):08x}"


class Targets:
    """Where published ports lead, asked of the kernel."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.settimeout(1)
        self._sequence = 0

    def find(self, protocol: int, address: bytes, port: int) -> tuple[str, int] | None:
        """The container's address and port, by the host's; None where nothing is published there."""
        return self._ask(protocol, address, port) or self._ask(protocol, bytes(16), port)

    def _ask(self, protocol: int, address: bytes, port: int) -> tuple[str, int] | None:
        key = address + struct.pack("!B3xH2x", protocol, port)
        element = _attribute(1 | _NESTED, _attribute(1 | _NESTED, _attribute(1, key)))
        body = struct.pack("=BBH", 1, 0, 0) + _attribute(1, TABLE.encode() + b"\0")
        body += _attribute(2, TARGETS.encode() + b"\0") + _attribute(3 | _NESTED, element)
        self._sequence += 1
        self._socket.send(struct.pack("=IHHII", 16 + len(body), _GETSETELEM, _REQUEST, self._sequence, 0) + body)
        while True:
            answer = self._socket.recv(8192)
            _, kind, _, sequence, _ = struct.unpack_from("=IHHII", answer)
            if sequence == self._sequence:
                break
        if kind == 2:  # NLMSG_ERROR: there is no such element, or no such table
            return None
        elements = _attributes(answer[20:]).get(3, b"")
        data = _attributes(_attributes(_attributes(elements).get(1, b"")).get(2, b"")).get(1, b"")
        if len(data) < 18:
            return None
        target = socket.inet_ntop(socket.AF_INET6, data[:16])
        return target.removeprefix("::ffff:") if "." in target else target, int.from_bytes(data[16:18], "big")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Loop:
    """Sockets, and what is to be done when one of them is ready."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def add(self, watched: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        self._handlers[watched.fileno()] = handler
        self._poll.register(watched.fileno(), events)

    def want(self, watched: socket.socket, events: int) -> None:
        self._poll.modify(watched.fileno(), events)

    def remove(self, watched: socket.socket) -> None:
        if self._handlers.pop(watched.fileno(), None):
            self._poll.unregister(watched.fileno())
        watched.close()

    def turn(self, timeout: float) -> None:
        for descriptor, events in self._poll.poll(timeout):
            # An earlier one of the same turn may have closed it.
            if handler := self._handlers.get(descriptor):
                handler(events)


class Stream:
    """A TCP connection and the one that goes on from it: what one end sends the other gets, until both have ended."""

    def __init__(self, loop: Loop, client: socket.socket, target: tuple[str, int]) -> None:
        self._loop = loop
        self._server = socket.socket(_family(target[0]), socket.SOCK_STREAM)
        self._ends = (client, self._server)
        self._waiting = [b"", b""]  # for each end, what it is to be sent
        self._ended = [False, False]  # whether an end has sent all that it will
        self._finished = [False, False]  # whether an end has been told so of the other
        self._connected = False
        for end in self._ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A container that goes says nothing: its address is simply gone.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        code = self._server.connect_ex(target)
        if code not in (0, errno.EINPROGRESS):
            client.close()
            self._server.close()
            raise OSError(code, os.strerror(code))
        loop.add(client, 0, lambda events: self._ready(0, events))
        loop.add(self._server, select.EPOLLOUT, lambda events: self._ready(1, events))

    def _ready(self, which: int, events: int) -> None:
        try:
            if not self._connected:
                if which == 0:  # the client has gone, or been reset, before there was anybody to talk to
                    raise ConnectionResetError
                if code := self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, os.strerror(code))
                self._connected = True
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._take(which)
            self._give(which)
            self._give(1 - which)
        except BlockingIOError:
            pass
        except OSError:
            self._reset()
            return
        if all(self._finished):
            self._close()
            return
        for end in (0, 1):
            readable = not self._ended[end] and not self._waiting[1 - end]
            self._loop.want(
                self._ends[end],
                (select.EPOLLIN if readable else 0) | (select.EPOLLOUT if self._waiting[end] else 0),
            )

    def _take(self, which: int) -> None:
        if self._ended[which] or self._waiting[1 - which]:
            return
        with contextlib.suppress(BlockingIOError):
            data = self._ends[which].recv(CHUNK)
            self._waiting[1 - which] = data
            self._ended[which] = not data

    def _give(self, which: int) -> None:
        if self._waiting[which]:
            with contextlib.suppress(BlockingIOError):
                sent = self._ends[which].send(self._waiting[which])
                self._waiting[which] = self._waiting[which][sent:]
        if self._ended[1 - which] and not self._waiting[which] and not self._finished[which]:
            self._finished[which] = True
            self._ends[which].shutdown(socket.SHUT_WR)

    def _reset(self) -> None:
        """What broke on one side breaks on the other: closing with this option resets."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def _close(self) -> None:
        for end in self._ends:
            self._loop.remove(end)


class Streams:
    """The listening socket of all TCP ports."""

    def __init__(self, loop: Loop, targets: Targets) -> None:
        self._loop, self._targets = loop, targets
        self._listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        self._listener.bind(("::1", PORT))
        self._listener.listen(1024)
        self._listener.setblocking(False)
        loop.add(self._listener, select.EPOLLIN, self._accept)

    def _accept(self, _: int) -> None:
        for _ in range(64):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(0.01)  # the connection waits in the queue until another one ends
                return
            try:
                # A transparent socket's own address is the one that the client connected to.
                address, port = client.getsockname()[:2]
                packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
                target = self._targets.find(_TCP, packed, port)
                if target is None:
                    raise ConnectionRefusedError
                Stream(self._loop, client, target)
            except OSError:
                with contextlib.suppress(OSError):
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()


_Sender = tuple[str, int, int, int]  # address, port, flow label, scope
_Key = tuple[_Sender, bytes, int]  # and the address and port of the host


class Datagrams:
    """The socket of all UDP ports, and a socket for each client that goes on from it.

    Answers are sent with the port's own number by a raw socket: the port itself is bound by the daemon.
    """

    def __init__(self, loop: Loop, targets: Targets) -> None:
        self._loop, self._targets = loop, targets
        self._clients: dict[_Key, Client] = {}
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR, 1)
        self._socket.bind(("::1", PORT))
        self._socket.setblocking(False)
        self._raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, 6)
        # It is for sending: it would be given a copy of every datagram of the host.
        refuse = struct.pack("=HBBI", 0x06, 0, 0, 0)
        self._raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _program(refuse))
        self._raw.setblocking(False)
        loop.add(self._socket, select.EPOLLIN, self._arrived)

    def _arrived(self, _: int) -> None:
        for _ in range(64):
            try:
                data, ancillary, _, sender = self._socket.recvmsg(CHUNK, socket.CMSG_SPACE(28))
            except OSError:
                return
            for level, kind, value in ancillary:
                if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR):
                    port, address = struct.unpack_from("!2xH4x16s", value)
                    self._send_on(data, sender, address, port)

    def _send_on(self, data: bytes, sender: _Sender, address: bytes, port: int) -> None:
        key = (sender, address, port)
        client = self._clients.get(key)
        now = time.monotonic()
        if client is None or now - client.looked > FRESH:
            target = self._targets.find(_UDP, address, port)
            if client and client.target != target:
                self._forget(key)
                client = None
            if target is None or (client is None and len(self._clients) >= MOST_CLIENTS):
                return
            if client is None:
                try:
                    client = self._clients[key] = Client(target)
                except OSError:
                    return
                self._loop.add(client.socket, select.EPOLLIN, lambda _: self._answered(key))
            client.looked = now
        client.used = now
        with contextlib.suppress(OSError):  # lost, as datagrams may be
            client.socket.send(data)

    def _answered(self, key: _Key) -> None:
        client = self._clients[key]
        sender, address, port = key
        for _ in range(64):
            try:
                data = client.socket.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:  # nobody listens there
                self._forget(key)
                return
            client.used = time.monotonic()
            header = struct.pack("!HHHH", port, sender[1], 8 + len(data), 0)
            source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, address + struct.pack("=i", sender[3]))
            with contextlib.suppress(OSError):
                self._raw.sendmsg([header + data], [source], 0, (sender[0], 0, 0, sender[3]))

    @property
    def busy(self) -> bool:
        return bool(self._clients)

    def sweep(self) -> None:
        """Forgets clients that are silent, and those of ports that lead elsewhere by now, or nowhere."""
        silent = time.monotonic() - IDLE
        targets = {key[1:]: self._targets.find(_UDP, *key[1:]) for key in self._clients}
        for key, client in list(self._clients.items()):
            if client.used < silent or client.target != targets[key[1:]]:
                self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._loop.remove(self._clients.pop(key).socket)


class Client:
    """Of a UDP port."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.looked = self.used = time.monotonic()
        self.socket = socket.socket(_family(target[0]), socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(target)


def _program(code: bytes) -> bytes:
    """struct sock_fprog. The code has to stay where it is."""
    import ctypes

    buffer = ctypes.create_string_buffer(code, len(code))
    _kept.append(buffer)
    return struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))


_kept: list[object] = []


class Control:
    """Where the daemon finds this process, is told its version, and can end it."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self.ended = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
        self._listener.bind(path)
        self._listener.listen()
        loop.add(self._listener, select.EPOLLIN, self._accept)

    def _accept(self, _: int) -> None:
        client, _ = self._listener.accept()
        with contextlib.suppress(OSError):
            client.send(f"{version()}\n".encode())
        self._loop.add(client, select.EPOLLIN, lambda _: self._told(client))

    def _told(self, client: socket.socket) -> None:
        try:
            words = client.recv(100)
        except OSError:
            words = b""
        self.ended = self.ended or words == b"end\n"
        if not words:
            self._loop.remove(client)


def main(path: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop, targets = Loop(), Targets()
    Streams(loop, targets)
    datagrams = Datagrams(loop, targets)
    control = Control(loop, path)
    swept = time.monotonic()
    while not control.ended:
        loop.turn(SWEEP if datagrams.busy else IDLE)
        if time.monotonic() - swept >= SWEEP:
            datagrams.sweep()
            swept = time.monotonic()
    os.unlink(path)  # noqa: PTH108


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as failure:
        sys.exit(f"the relay for published IPv6 ports cannot go on: {failure}")
