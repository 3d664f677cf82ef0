"""Requests that go on while something happens: a connection for each, and one connection that stays.

All sockets are this process's own, opened in the namespaces of containers: a process inside has no part in it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.hosts import enter, socket_in
from tests.product.dns_tools import addresses

PORT = 7100
_PAUSE = 0.03  # seconds between two requests of each kind
_PATIENCE = 5.0  # seconds for one answer
_ASKED = b"who is there, and for how long already?"
_TOTAL_RETRANS = struct.Struct("100xI")  # of struct tcp_info


@dataclass(frozen=True)
class Way:
    """From one namespace to a server in another one, by an address and port that lead there. A `host` is a name that is
    looked up in `here` for every new connection, and has to be found as that address."""

    name: str
    here: str
    there: str
    address: str
    port: int = PORT
    host: str = ""


@dataclass
class Report:
    """What became of one way's requests."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)
    repeated: int = 0  # packets that were sent once more
    slowest: float = 0.0  # seconds


class Traffic:
    """Requests on every way, until the end."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self.reports = {way.name: Report() for way in ways}
        self._paths = ways
        self._ended, self._served = threading.Event(), threading.Event()
        self._clients = [threading.Thread(target=self._ask, args=(way,), daemon=True) for way in ways]
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._began = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._sockets = contextlib.ExitStack()

    def __enter__(self) -> Traffic:
        for way in self._paths:
            server = self._sockets.enter_context(socket_in(way.there, family=_family(way.address)))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # several ways may lead to it
            server.bind(("", PORT))
            server.listen(64)
            server.setblocking(False)
            self._selector.register(server, selectors.EVENT_READ, True)
        self._server.start()
        for thread in self._clients:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for client in self._clients:
            client.join(3 * _PATIENCE)
        self._served.set()
        self._server.join(_PATIENCE)
        self._selector.close()
        self._sockets.close()

    @property
    def failures(self) -> list[str]:
        return [f"{name}: {one}" for name, report in self.reports.items() for one in report.failures]

    def go_on(self, count: int = 3) -> None:
        """Returns once every way was asked so many times more, answered or not."""
        before = {name: report.answered + len(report.failures) for name, report in self.reports.items()}
        deadline = time.monotonic() + count * _PATIENCE
        while any(r.answered + len(r.failures) < before[name] + 2 * count for name, r in self.reports.items()):
            assert time.monotonic() < deadline, self.reports
            time.sleep(0.02)

    # -- the two sides ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Says what was said, on every connection."""
        selector = self._selector
        while not self._served.is_set():
            for key, _ in selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                if key.data:
                    accepted, _ = key.fileobj.accept()
                    self._sockets.callback(accepted.close)
                    selector.register(accepted, selectors.EVENT_READ, False)
                    continue
                try:
                    said = key.fileobj.recv(4096)
                except OSError:
                    said = b""
                if said:
                    key.fileobj.send(said)
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()

    def _ask(self, way: Way) -> None:
        enter(way.here)
        report, staying = self.reports[way.name], None
        while not self._ended.is_set():
            with self._counted(report, "a new connection"), self._connected(way) as fresh:
                _answer(fresh)
                report.repeated += _repeated(fresh)
            with self._counted(report, "the one that stays"):
                staying = staying or self._connected(way)
                _answer(staying)
            time.sleep(_PAUSE)
        if staying:
            report.repeated += _repeated(staying)
            staying.close()

    def _connected(self, way: Way) -> socket.socket:
        if way.host and way.address not in (found := addresses(way.here, way.host)):
            raise ConnectionError(f"{way.host} is {found}")
        made = socket.socket(_family(way.address), socket.SOCK_STREAM)
        made.settimeout(_PATIENCE)
        try:
            made.connect((way.address, way.port))
        except OSError:
            made.close()
            raise
        return made

    @contextlib.contextmanager
    def _counted(self, report: Report, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
            report.answered += 1
        except OSError as error:
            report.failures.append(f"{what}, after {began - self._began:.3f} s: {error!r}")
        report.slowest = max(report.slowest, time.monotonic() - began)


def _answer(client: socket.socket) -> None:
    """Raises OSError where there is none."""
    client.sendall(_ASKED)
    heard = b""
    while len(heard) < len(_ASKED):
        piece = client.recv(4096)
        if not piece:
            raise ConnectionResetError("it hung up")
        heard += piece


def _repeated(client: socket.socket) -> int:
    (count,) = _TOTAL_RETRANS.unpack(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS.size))
    return int(count)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
