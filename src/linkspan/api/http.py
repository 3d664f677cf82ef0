"""Requests and answers as values. Handlers see these and nothing of the protocol below."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from linkspan.errors import InvalidArgument, LinkspanError

JSON_LIMIT = 4 << 20  # bytes of a body that is read whole; Docker's own clients stay below 100 KiB
FALSE = ("", "0", "no", "false", "none")

_encode = msgspec.json.Encoder().encode


class BodyTooLarge(LinkspanError):
    """A body that has to be held in memory is longer than JSON_LIMIT."""


class BrokenBody(InvalidArgument):
    """The client's body ended early, or its chunks are not chunks."""


class Body(Protocol):
    """A request's body. It can be read once, in pieces (`async for`) or whole."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self) -> bytes:
        """All of it. Raises BodyTooLarge beyond JSON_LIMIT without reading further, BrokenBody when it breaks off."""


@dataclasses.dataclass(slots=True)
class Request:
    """`path` is decoded, without the version prefix once routed; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Body
    version: tuple[int, int] = (0, 0)  # of the API, once routed
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)  # the path's variable parts, once routed

    @property
    def upgrade(self) -> bool:
        """The client asks for the connection itself (`Upgrade: tcp`)."""
        return "upgrade" in self.headers

    def text(self, key: str, default: str = "") -> str:
        values = self.query.get(key)
        return values[0] if values else default

    def texts(self, key: str) -> list[str]:
        return self.query.get(key, [])

    def flag(self, key: str, default: bool = False) -> bool:
        """As Docker reads booleans: anything but empty, 0, no, false and none is true."""
        values = self.query.get(key)
        return values[0].strip().lower() not in FALSE if values else default

    def number(self, key: str) -> int | None:
        """None where absent or empty. Raises InvalidArgument."""
        text = self.text(key)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise InvalidArgument(f"invalid value {text!r} for {key}: an integer is needed") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """A body sent piece by piece, each flushed. The head goes out at once; a client that leaves cancels `chunks`."""

    chunks: AsyncIterator[bytes]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class RawStream(Protocol):
    """The connection itself, once taken over."""

    async def read(self) -> bytes:
        """Some bytes; b"" when the client sends no more (it may still be reading)."""

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the client is gone."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hijack:
    """Take the connection over: 101 where the client asks for it, a bare 200 where not. It closes when `run` ends.

    `upgrade` are the headers that say to what. With `ready`, `run` has something to write at once.
    """

    content_type: str
    run: Callable[[RawStream], Awaitable[None]]
    upgrade: tuple[tuple[str, str], ...] = (("Connection", "Upgrade"), ("Upgrade", "tcp"))
    ready: bool = False


Answer: TypeAlias = Response | Stream | Hijack
Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]

JSON_TYPE = (("Content-Type", "application/json"),)


@contextlib.asynccontextmanager
async def closing(source: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Ends `source` on the way out, if it is something that can be ended: a generator's cleanup then runs now."""
    try:
        yield
    finally:
        if (aclose := getattr(source, "aclose", None)) is not None:
            await aclose()


def json_response(value: Any, status: int = 200) -> Response:
    return Response(status, _encode(value) + b"\n", JSON_TYPE)


def error_response(status: int, message: str) -> Response:
    return json_response({"message": message}, status)


def json_line(value: Any) -> bytes:
    """One line of a JSON stream, as Docker ends them."""
    return _encode(value) + b"\r\n"


NO_CONTENT = Response(204)
EMPTY = Response(200)
