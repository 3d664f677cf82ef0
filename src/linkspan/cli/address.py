"""Where the daemon listens, and how to get there: unix sockets, TCP, TCP with TLS."""

# ruff: noqa: PTH110, PTH111
# os.path throughout: pathlib takes longer to import than the command takes to run.

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import NamedTuple

from linkspan.cli.failure import Failure

DEFAULT = "unix:///run/linkspan.sock"
PLAIN_PORT, TLS_PORT = 2375, 2376


class Tls(NamedTuple):
    """Paths of PEM files; with `verify` off the daemon's certificate is taken as it is."""

    verify: bool
    authority: str
    certificate: str
    key: str


class Address(NamedTuple):
    """`host` as the user gave it; of a unix socket, `target` is its path, else it is (name, port)."""

    host: str
    target: str | tuple[str, int]
    tls: Tls | None = None

    def connect(self) -> socket.socket:
        """A connected socket. Raises Failure in the words of Docker's command."""
        try:
            if isinstance(self.target, str):
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.connect(self.target)
                return connection
            plain = socket.create_connection(self.target)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._secure(plain) if self.tls is not None else plain
        except OSError as error:
            raise self._failure(error) from None

    def _secure(self, plain: socket.socket) -> socket.socket:
        import ssl

        assert self.tls is not None and not isinstance(self.target, str)
        context = ssl.create_default_context(cafile=self.tls.authority or None)
        if not self.tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.tls.certificate:
            context.load_cert_chain(self.tls.certificate, self.tls.key)
        return context.wrap_socket(plain, server_hostname=self.target[0])

    def _failure(self, error: OSError) -> Failure:
        if isinstance(error, PermissionError) and isinstance(self.target, str):
            return Failure(
                f"permission denied while trying to connect to the linkspan daemon socket at {self.host}: "
                f"run the command as root, or ask for access to {self.target}"
            )
        if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
            return Failure(f"Cannot connect to the linkspan daemon at {self.host}. Is linkspand running?")
        return Failure(f"error during connect: {self.host}: {error.strerror or error}")


def from_options(host: str, tls_options: Mapping[str, str], environment: Mapping[str, str] | None = None) -> Address:
    """The address that -H, the --tls… options and the environment ask for, in that order of precedence.

    `tls_options` has any of tls, tlsverify ("true"), tlscacert, tlscert, tlskey (paths).
    """
    env = os.environ if environment is None else environment
    host = host or env.get("LINKSPAN_HOST", "") or env.get("DOCKER_HOST", "") or DEFAULT
    return parse(host, _tls(tls_options, env))


def _tls(options: Mapping[str, str], env: Mapping[str, str]) -> Tls | None:
    verify = options.get("tlsverify", "true" if env.get("DOCKER_TLS_VERIFY") else "") == "true"
    if not verify and options.get("tls", "true" if env.get("DOCKER_TLS") else "") != "true":
        return None
    folder = env.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")

    def path(option: str, name: str) -> str:
        default = f"{folder}/{name}"
        return options.get(option) or (default if os.path.exists(default) else "")

    return Tls(verify, path("tlscacert", "ca.pem"), path("tlscert", "cert.pem"), path("tlskey", "key.pem"))


def parse(host: str, tls: Tls | None) -> Address:
    """`unix:///path`, `tcp://name:port`, `http://…`, `https://…`, `name:port`. Raises Failure."""
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = ("unix", host) if host.startswith("/") else ("tcp", host)
    if scheme == "unix":
        path = rest or "/run/linkspan.sock"
        return Address(host if separator else f"unix://{path}", path)
    if scheme not in ("tcp", "http", "https"):
        raise Failure(f'unable to parse docker host "{host}": use unix:///path or tcp://name:port')
    if scheme == "https" and tls is None:
        tls = Tls(True, "", "", "")
    rest = rest.rstrip("/")
    name, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        name, port = rest, str(TLS_PORT if tls else PLAIN_PORT)
    if not port.isdigit() or int(port) > 65535:
        raise Failure(f'unable to parse docker host "{host}": the port is not a number from 1 to 65535')
    return Address(host if separator else f"tcp://{host}", (name.strip("[]") or "127.0.0.1", int(port)), tls)
