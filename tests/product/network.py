"""Sockets in hosts and containers' sandboxes, opened from the test's own process: a socket stays where it was made."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from tests.hosts import socket_in


def ask(space: str, address: str, port: int, *, path: str = "/cgi-bin/who", timeout: float = 2) -> str:
    """The body of an HTTP answer, asked for from the namespace at `space`. Raises OSError where there is none."""
    with socket_in(space, family=_family(address)) as client:
        client.settimeout(timeout)
        client.connect((address, port))
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n") if b"\r\n\r\n" in answer else answer.partition(b"\n\n")
    if b" 200 " not in head.splitlines()[0]:
        raise ConnectionError(f"answered {head!r}")
    return body.decode().strip()


def answers(space: str, address: str, port: int, *, within: float = 2) -> str:
    """As `ask`, once the server is up: it may just have been started."""
    deadline = time.monotonic() + within
    while True:
        try:
            return ask(space, address, port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def silent(space: str, address: str, port: int) -> bool:
    """Whether nobody answers there: refused, rejected or dropped."""
    try:
        ask(space, address, port, timeout=0.5)
    except OSError:
        return True
    return False


def ask_udp(space: str, address: str, port: int, *, timeout: float = 1) -> str:
    """What the echo at a UDP port says of where we come from."""
    with socket_in(space, socket.SOCK_DGRAM, _family(address)) as client:
        client.settimeout(timeout)
        client.connect((address, port))
        client.send(b"who am I?")
        return client.recv(100).decode()


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def udp_echo(space: str, port: int, address: str = "0.0.0.0") -> Iterator[None]:
    """Tells every sender its address, from a UDP socket in the namespace at `space`."""
    server = socket_in(space, socket.SOCK_DGRAM, _family(address))
    server.settimeout(None)
    server.bind((address, port))

    def serve() -> None:
        while True:
            data, peer = server.recvfrom(100)
            if data == b"end":
                return
            with contextlib.suppress(OSError):
                server.sendto(peer[0].encode(), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with socket_in(space, socket.SOCK_DGRAM, _family(address)) as last:
            last.sendto(b"end", ("::1" if ":" in address else "127.0.0.1", port))
        thread.join(5)
        server.close()


@contextlib.contextmanager
def who_server(space: str, address: str, port: int) -> Iterator[None]:
    """Tells every TCP client its address; for containers that look at where they seem to come from."""
    server = socket_in(space, family=_family(address))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen()
    server.settimeout(None)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, peer = server.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(2)
                    client.recv(4096)
                    client.sendall(f"HTTP/1.0 200 OK\r\n\r\n{peer[0]}\n".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        server.close()


@contextlib.contextmanager
def held(space: str, address: str, port: int, kind: int = socket.SOCK_STREAM) -> Iterator[None]:
    """A port held by a process of the host that has nothing to do with containers: this one."""
    with socket_in(space, kind) as holder:
        holder.bind((address, port))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield


class Watch:
    """A client that connects in a loop; what failed meanwhile, and how often it was answered."""

    def __init__(self, space: str, address: str, port: int) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._stop = threading.Event()
        self._where = (space, address, port)
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                ask(*self._where, timeout=5)
                self.answered += 1
            except OSError as error:
                self.failures.append(f"{time.monotonic():.3f}: {error!r}")
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
