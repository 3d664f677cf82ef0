"""Host ports, reserved by bound sockets so that no other process takes them.

No traffic passes through: the ruleset redirects it before it would reach a socket. Until it does (or if it is lost for
a moment), a filter drops everything: a client's SYN is sent again a second later, and is never answered with a
connection that leads nowhere or with a reset.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from linkspan.errors import PortInUse, PortUnavailable
from linkspan.model.port import ANY, ANY_IPV6, version_of, with_port
from linkspan.state.objects import BoundPort

_SO_ATTACH_FILTER = 26
_IPPROTO_SCTP = 132
# Classic BPF, one instruction: return 0, of every packet nothing is kept.
_DROP = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0), 8)
_DROP_ALL = struct.pack("HP", 1, ctypes.addressof(_DROP))


class Ports:
    """The ports held by this process, as bare descriptors: an int each, and no Python object around it."""

    def __init__(self) -> None:
        self._held: dict[BoundPort, int] = {}

    def held(self) -> list[BoundPort]:
        return list(self._held)

    def bind(self, port: BoundPort) -> None:
        """Raises PortInUse where another process holds it, else PortUnavailable; held already is success."""
        if port in self._held:
            return
        try:
            self._held[port] = _bound(port)
        except OSError as error:
            raise _failure(error, port) from None

    def release(self, port: BoundPort) -> None:
        descriptor = self._held.pop(port, None)
        if descriptor is not None and descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        for port in self.held():
            self.release(port)


def _bound(port: BoundPort) -> int:
    """A bound descriptor, or -1 where this kernel has no sockets of that protocol, and so nobody to take the port."""
    family = socket.AF_INET if port.address != ANY and version_of(port.address) == 4 else socket.AF_INET6
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    protocol = _IPPROTO_SCTP if port.protocol == "sctp" else 0
    try:
        made = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        if port.protocol == "sctp" and error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return -1
        raise
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_ALL)
        if family == socket.AF_INET6:
            # One socket holds the port of every address of both families.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, port.address != ANY)
        if kind == socket.SOCK_STREAM:
            # Past connections of the port, still in TIME_WAIT, are no reason to refuse it; a listener is.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ANY_IPV6 if port.address == ANY else port.address, port.port))
        if kind == socket.SOCK_STREAM:
            made.listen(1)
        return made.detach()
    finally:
        made.close()


def _failure(error: OSError, port: BoundPort) -> PortUnavailable:
    words = (error.strerror or str(error)).lower()
    if error.errno in (errno.EMFILE, errno.ENFILE):
        words = "the daemon's limit on open files is reached"
    kind = PortInUse if error.errno == errno.EADDRINUSE else PortUnavailable
    return kind(
        f"failed to bind host port {with_port(port.address, port.port)}/{port.protocol}: {words}",
        protocol=port.protocol,
        address=port.address,
        port=port.port,
    )
