"""The ways in which a request can fail.

An error's text says which object, what was asked, and who must act; where a client matches on the text it is Docker's.
The kind decides the HTTP status, and only `api/` knows which; errno becomes a kind only inside `kernel/`.
"""

from __future__ import annotations

from collections.abc import Iterable


class LinkspanError(Exception):
    """Base of every error that may reach a client. `str(error)` is what the client reads."""


class InvalidArgument(LinkspanError):
    """The request itself is wrong: malformed, contradictory, out of range."""


class Unauthorized(LinkspanError):
    """Credentials are missing or refused, for instance by a registry."""


class Forbidden(LinkspanError):
    """The request is well-formed, and never allowed: removing a predefined network, say."""


class NotFound(LinkspanError):
    """The object named does not exist."""


class Conflict(LinkspanError):
    """The object's present state, or another object, is in the way."""


class NotModified(LinkspanError):
    """The object is already as asked: starting a running container."""


class Unsupported(LinkspanError):
    """This engine or this kernel cannot do it; the text names what is missing."""


class Unavailable(LinkspanError):
    """A part that is needed does not answer now; trying again later may help."""


class Internal(LinkspanError):
    """Carrying out a valid request failed in the kernel, the runtime or the store."""


class PortUnavailable(Internal):
    """A host port cannot be had: the host has no such address (any more), or no descriptor is left for it.

    `protocol`, `address`, `port` name it, so that whatever does not need it can go on.
    """

    def __init__(self, message: str, *, protocol: str, address: str, port: int) -> None:
        super().__init__(message)
        self.protocol, self.address, self.port = protocol, address, port


class PortInUse(PortUnavailable):
    """A host port is held by another container or by another process of the host: another port may be free."""


def did_you_mean(name: str, known: Iterable[str], before: str = "") -> str:
    """What an error about an unknown name ends with: the name that was probably meant, with `before` in front of it;
    "" where none is like it. The end of a dotted name stands for all of it, whatever capitals it has."""
    import difflib  # the command needs it only where something is wrong

    lowered = {one.lower(): one for one in sorted(known)}
    wanted = name.lower()
    near = [one for one in lowered if one.endswith(f".{wanted}")] or difflib.get_close_matches(wanted, lowered, 1, 0.7)
    return f"; did you mean {before}{lowered[near[0]]}?" if near else ""
