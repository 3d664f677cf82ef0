"""HTTP/1.1 to the daemon: synchronous, small, and able to hand its socket over.

One connection is kept for one request after another; a stream (attach, wait, events) takes a connection of its own.
http.client would take longer to import than most commands run, and cannot give back what it has already read.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from linkspan.cli.address import Address
from linkspan.cli.failure import EngineError, Failure

API = "/v1.51"
PIECE = 64 * 1024
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
IN_PATH = UNRESERVED | frozenset(b"/:@")

Query = Mapping[str, str | int | bool | list[str] | None]


def quote(text: str, safe: frozenset[int] = UNRESERVED) -> str:
    """Percent-encodes everything but `safe`."""
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in text.encode())


def encode_query(query: Query) -> str:
    """`a=1&b=2`; None and False are left out, True is 1, a list repeats its key."""
    parts = []
    for key, value in query.items():
        if value is None or value is False:
            continue
        for item in value if isinstance(value, list) else [value]:
            parts.append(f"{key}={quote('1' if item is True else str(item))}")
    return "&".join(parts)


class Wire:
    """A socket with what has been read from it and not yet been used."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""

    def fill(self) -> bool:
        """Reads once more; False at the end of the stream."""
        piece = self.socket.recv(PIECE)
        self.buffer += piece
        return bool(piece)

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            if not self.fill():
                raise ConnectionError("the daemon closed the connection in the middle of an answer")
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def some(self, limit: int) -> bytes:
        """1 to `limit` bytes, or b"" at the end of the stream."""
        if not self.buffer and not self.fill():
            return b""
        piece, self.buffer = self.buffer[:limit], self.buffer[limit:]
        return piece

    def close(self) -> None:
        self.socket.close()


class Response:
    """An answer whose head has been read; the body comes as it is asked for."""

    def __init__(self, status: int, headers: dict[str, str], wire: Wire, *, bodiless: bool) -> None:
        self.status, self.headers, self.wire = status, headers, wire
        self.bodiless = bodiless
        self.done = False  # the body has been read to its end

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives."""
        if not (self.bodiless or self.done):
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                yield from self._chunks()
            elif "content-length" in self.headers:
                yield from self._counted(int(self.headers["content-length"]))
            else:
                while piece := self.wire.some(PIECE):
                    yield piece
        self.done = True

    def _chunks(self) -> Iterator[bytes]:
        while (size := int(self.wire.line().partition(b";")[0], 16)) > 0:
            yield from self._counted(size)
            self.wire.line()
        while self.wire.line():
            pass

    def _counted(self, size: int) -> Iterator[bytes]:
        while size > 0:
            piece = self.wire.some(size)
            if not piece:
                raise ConnectionError("the daemon closed the connection in the middle of an answer")
            size -= len(piece)
            yield piece

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def json(self) -> Any:
        body = self.read()
        return json.loads(body) if body.strip() else None

    def objects(self) -> Iterator[dict[str, Any]]:
        """A stream of JSON objects, one a line or simply one after another."""
        decoder = json.JSONDecoder()
        text = b""
        for piece in self.pieces():
            text += piece
            while stripped := text.lstrip():
                # A piece may end within an object, or within a character of it: wait for the rest.
                try:
                    decoded = stripped.decode()
                    value, end = decoder.raw_decode(decoded)
                except ValueError:
                    break
                yield value
                text = decoded[end:].encode()

    @property
    def reusable(self) -> bool:
        framed = self.bodiless or "content-length" in self.headers or "transfer-encoding" in self.headers
        return self.done and framed and self.headers.get("connection", "").lower() != "close"

    def close(self) -> None:
        self.wire.close()


class Client:
    """The daemon's API. Paths are without the version; every error of the daemon is an EngineError."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: Wire | None = None

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        content: Iterable[bytes] | None = None,
        own: bool = False,
    ) -> Response:
        """Sends a request, with `body` as JSON or `content` as a stream; answers when the head of the answer is in.

        With `own` the answer gets a connection of its own, so that others can be asked meanwhile.
        """
        head = {"Host": "linkspan", "User-Agent": "linkspan", **(headers or {})}
        payload = b""
        if body is not None:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            head.setdefault("Content-Type", "application/json")
            head["Content-Length"] = str(len(payload))
        elif content is not None:
            head["Transfer-Encoding"] = "chunked"
        elif method in ("POST", "PUT"):
            head["Content-Length"] = "0"
        url = API + quote(path, IN_PATH) + (f"?{encode_query(query)}" if query else "")
        start = (
            f"{method} {url} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items()) + "\r\n"
        )
        while True:
            kept, self._idle = (None, self._idle) if own or content is not None else (self._idle, None)
            wire = kept or Wire(self.address.connect())
            try:
                wire.socket.sendall(start.encode() + payload)
                if content is not None:
                    _send_chunked(wire, content)
                return self._checked(self._answer(method, wire), keep=not own)
            except ConnectionError as error:
                wire.close()
                if kept is None:
                    raise Failure(f"error during connect: {self.address.host}: {error}") from None
                # The daemon may have closed the kept connection while nothing was said: once more, on a new one.

    def call(self, method: str, path: str, query: Query | None = None, body: object = None, **more: Any) -> Any:
        """The answer's JSON, None where there is none."""
        response = self.request(method, path, query, body, **more)
        answer = response.json()
        self._keep(response)
        return answer

    def get(self, path: str, query: Query | None = None) -> Any:
        return self.call("GET", path, query)

    def post(self, path: str, query: Query | None = None, body: object = None) -> Any:
        return self.call("POST", path, query, body)

    def take_over(self, path: str, query: Query | None = None, body: object = None) -> Response:
        """POSTs and keeps the connection: a 101, after which `response.wire` belongs to the caller."""
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        if body is None:
            upgrade["Content-Type"] = "text/plain"
        response = self.request("POST", path, query, body, upgrade, own=True)
        if response.status != 101:
            response.close()
            raise Failure(f"unable to upgrade to tcp, received {response.status}")
        return response

    def _answer(self, method: str, wire: Wire) -> Response:
        while True:
            status = int(wire.line().split()[1])
            headers: dict[str, str] = {}
            while line := wire.line():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            if status == 101 or status >= 200:
                bodiless = method == "HEAD" or status in (101, 204, 304)
                return Response(status, headers, wire, bodiless=bodiless)

    def _checked(self, response: Response, *, keep: bool) -> Response:
        if response.status < 400:
            return response
        text = response.read().decode(errors="replace").strip()
        try:
            reason = str(json.loads(text)["message"])
        except (ValueError, LookupError, TypeError):
            reason = text or f"HTTP status {response.status}"
        if keep:
            self._keep(response)
        raise EngineError(response.status, reason)

    def _keep(self, response: Response) -> None:
        if response.reusable and self._idle is None:
            self._idle = response.wire
        elif response.wire is not self._idle:
            response.close()


def _send_chunked(wire: Wire, content: Iterable[bytes]) -> None:
    try:
        for piece in content:
            if piece:
                wire.socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        wire.socket.sendall(b"0\r\n\r\n")
    except ConnectionError:
        pass  # The daemon may refuse before it has read everything: its answer says why.
