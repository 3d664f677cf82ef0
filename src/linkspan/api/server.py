"""Where clients come in: unix sockets, TCP with and without TLS, and sockets handed over at start."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import grp
import logging
import os
import socket
import ssl
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from linkspan.api.connection import Connection
from linkspan.api.routes import HEADERS, Api
from linkspan.daemon.daemon import Daemon
from linkspan.errors import Conflict, InvalidArgument, Unavailable

log = logging.getLogger(__name__)

GROUPS = ("docker", "linkspan")  # the first that exists may use the unix socket
MODE = 0o660
BACKLOG = 1024
FIRST_PASSED = 3  # systemd's first file descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """One place to listen: `unix:///run/linkspan.sock`, `tcp://127.0.0.1:2375`, `fd://` or `fd://3`.

    `tls` is for tcp; whether a plain one may be opened is the caller's decision.
    """

    address: str
    tls: ssl.SSLContext | None = None


class Server:
    """The open listeners and connections. `addresses` are those bound, with the port that a `:0` became."""

    def __init__(self, daemon: Daemon) -> None:
        self._api = Api(daemon)
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._files: list[tuple[Path, int]] = []  # our socket files, with their inode numbers
        self._closing = False
        self.addresses: list[str] = []

    async def listen(self, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        for bound in _bind(listener.address):
            if bound.family == socket.AF_UNIX and listener.address.startswith("unix:"):
                path = Path(bound.getsockname())
                self._files.append((path, path.stat().st_ino))
            # asyncio sets TCP_NODELAY on every TCP connection: small answers are not held back.
            if bound.family == socket.AF_UNIX:
                server = await loop.create_unix_server(self._connection, sock=bound, backlog=BACKLOG)
            else:
                server = await loop.create_server(self._connection, sock=bound, ssl=listener.tls, backlog=BACKLOG)
            self._servers.append(server)
            self.addresses.append(_describe(bound))
            log.info("listening on %s", self.addresses[-1])

    async def close(self, grace: float = 5.0) -> None:
        """Accepts no more; streams end at once, requests at hand have `grace` seconds."""
        self._closing = True
        for server in self._servers:
            server.close()
        await asyncio.gather(*(connection.shut(grace) for connection in tuple(self._connections)))
        for path, inode in self._files:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:  # another server may have replaced it
                    path.unlink()

    def _connection(self) -> Connection:
        return Connection(self._api, HEADERS, self._opened, self._connections.discard)

    def _opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._closing:  # accepted just before the listener closed
            connection.abort()


async def serve(daemon: Daemon, listeners: Sequence[Listener]) -> Server:
    """Opens every listener, or none. Raises InvalidArgument for a bad address, Conflict for one in use."""
    server = Server(daemon)
    try:
        for listener in listeners:
            await server.listen(listener)
    except BaseException:
        await server.close(0)
        raise
    return server


def _bind(address: str) -> list[socket.socket]:
    scheme, separator, rest = address.partition("://")
    if not separator:
        raise InvalidArgument(f"invalid address to listen on: {address!r}: unix://, tcp:// or fd:// is needed")
    try:
        match scheme:
            case "unix":
                return [_bind_unix(Path(rest))]
            case "tcp":
                return _bind_tcp(address, rest)
            case "fd":
                return passed_sockets(os.environ, os.getpid(), rest)
    except OSError as error:
        raise Conflict(f"cannot listen on {address}: {error.strerror or error}") from None
    raise InvalidArgument(f"invalid address to listen on: {address!r}: unix://, tcp:// or fd:// is needed")


def _bind_unix(path: Path) -> socket.socket:
    if not path.is_absolute():
        raise InvalidArgument(f"invalid address to listen on: unix://{path}: an absolute path is needed")
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict(f"cannot listen on unix://{path}: it exists, and is no socket")
        if _answers(path):
            raise Conflict(f"cannot listen on unix://{path}: another daemon listens there")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        bound.bind(str(path))
        # Nobody can connect before listen(), so that the mode is right from the first client on.
        path.chmod(MODE)
        group = next((found for name in GROUPS if (found := _group(name)) is not None), None)
        if group is not None and os.geteuid() == 0:
            os.chown(path, 0, group)
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_tcp(address: str, rest: str) -> list[socket.socket]:
    host, colon, port = rest.rstrip("/").rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"invalid address to listen on: {address!r}: tcp://host:port is needed")
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, where in socket.getaddrinfo(
        host or "0.0.0.0", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setblocking(False)
            bound.bind(where)
            bound.listen(BACKLOG)
        except BaseException:
            for one in (bound, *sockets):
                one.close()
            raise
        sockets.append(bound)
    return sockets


def passed_sockets(environment: Mapping[str, str], pid: int, which: str) -> list[socket.socket]:
    """The listening sockets that the service manager passed (LISTEN_PID, LISTEN_FDS); `which` picks one by number.

    Raises Unavailable where there is none.
    """
    count = environment.get("LISTEN_FDS", "0")
    if environment.get("LISTEN_PID", str(pid)) != str(pid) or not count.isdigit():
        count = "0"
    numbers = list(range(FIRST_PASSED, FIRST_PASSED + int(count)))
    if which and which != "*":
        numbers = [number for number in numbers if str(number) == which]
    if not numbers:
        raise Unavailable(f"fd://{which}: no socket was passed (LISTEN_FDS); start the daemon by socket activation")
    sockets = []
    for number in numbers:
        passed = socket.socket(fileno=number)
        passed.setblocking(False)
        os.set_inheritable(number, False)
        sockets.append(passed)
    return sockets


def _answers(path: Path) -> bool:
    """Whether somebody listens at a socket file, or it is left over from a daemon that died."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _describe(bound: socket.socket) -> str:
    name = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix://{name}"
    return f"tcp://[{name[0]}]:{name[1]}" if bound.family == socket.AF_INET6 else f"tcp://{name[0]}:{name[1]}"
