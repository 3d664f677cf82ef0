"""One client's connection: HTTP/1.1 by h11 over asyncio's streams.

Requests are served one after another. While an answer is a stream, a client that leaves cancels it; any other handler
runs to its end, so that a change once begun is not torn in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, unquote

import h11

from linkspan.api.http import (
    JSON_LIMIT,
    BodyTooLarge,
    BrokenBody,
    Handler,
    Hijack,
    Request,
    Response,
    Stream,
    closing,
    error_response,
)

log = logging.getLogger(__name__)

HEADER_LIMIT = 64 << 10  # bytes of a request's head; X-Registry-Auth and filters are its long parts
READ_SIZE = 256 << 10
SKIP_LIMIT = 64 << 10  # bytes of a body nobody asked for that are read, so that the connection can serve on
HEAD_READ_MS = 50  # milliseconds that a client has to read a head before more is sent, where that matters
LINGER = 2.0  # seconds in which a client may still be sending when we are done: closing at once would lose our answer


class _Body:
    """The body of the request at hand; see http.Body."""

    def __init__(self, connection: Connection, length: int | None) -> None:
        self._connection = connection
        self._length = length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                event = await self._connection.next_event()
            except h11.RemoteProtocolError as error:
                raise BrokenBody(f"the request body is broken: {error}") from None
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def read(self) -> bytes:
        if self._length is not None and self._length > JSON_LIMIT:
            raise _too_large(self._length)
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > JSON_LIMIT:
                raise _too_large(size)
            pieces.append(piece)
        return b"".join(pieces)


class _Raw:
    """The connection once taken over; see http.RawStream. `early` came glued to the request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes) -> None:
        self._reader, self._writer, self._early = reader, writer, early

    async def read(self) -> bytes:
        if self._early:
            early, self._early = self._early, b""
            return early
        try:
            return await self._reader.read(READ_SIZE)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        self._writer.write(data)
        await self._writer.drain()


class Connection(asyncio.StreamReaderProtocol):
    """Serves `handler` to one client. `on_close` is called once, at the very end."""

    def __init__(
        self,
        handler: Handler,
        headers: tuple[tuple[str, str], ...],
        on_open: Callable[[Connection], None],
        on_close: Callable[[Connection], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=READ_SIZE, loop=loop)
        super().__init__(self._reader, loop=loop)
        self._handler, self._on_open, self._on_close = handler, on_open, on_close
        self._headers = [(name.encode(), value.encode()) for name, value in headers]
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_LIMIT)
        self._streaming = False
        self._left = False
        self._taken_over = False
        self._busy = False
        self._closing = False
        self._serving: asyncio.Task[None] | None = None  # `_task` is StreamReaderProtocol's own

    # -- asyncio's side ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._writer = asyncio.StreamWriter(transport, self, self._reader, loop)
        self._on_open(self)
        self._serving = loop.create_task(self._run())

    def eof_received(self) -> bool:
        half_open = super().eof_received()
        self._client_left()
        return bool(half_open)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._client_left()

    def _client_left(self) -> None:
        self._left = True
        if self._streaming and self._serving is not None:
            self._serving.cancel()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def shut(self, grace: float) -> None:
        """No further requests; the one at hand has `grace` seconds to end."""
        self._closing = True
        task = self._serving
        if task is None:
            return
        if not self._busy or self._streaming or self._taken_over:
            task.cancel()
        await asyncio.wait([task], timeout=grace)
        task.cancel()
        await asyncio.wait([task], timeout=1)

    # -- the requests -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while await self._serve_one() and not self._closing:
                self._http.start_next_cycle()
            await self._linger()
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client left, or the server is closing: in both cases there is nobody to tell
        except h11.LocalProtocolError as error:
            log.warning("answer broken off: %s", error)
        except Exception:
            log.exception("connection failed")
        finally:
            self._writer.close()
            self._on_close(self)

    async def _serve_one(self) -> bool:
        """One request and its answer. False when the connection cannot serve another."""
        try:
            event = await self.next_event()
        except h11.RemoteProtocolError as error:
            words = str(error).partition(": bytearray")[0]  # h11 shows the bytes as Python does
            self._send(error_response(error.error_status_hint, f"malformed HTTP request: {words}"), close=True)
            return False
        if not isinstance(event, h11.Request):
            return False
        self._busy = True
        begin = time.monotonic()
        request = self._parse(event)
        if not request.headers.keys() & {"transfer-encoding", "content-length"}:
            await self.next_event()  # the end of the request, at once
        answer = await self._handler(request)
        if log.isEnabledFor(logging.DEBUG):
            status = answer.status if isinstance(answer, Response | Stream) else "hijack"
            spent = (time.monotonic() - begin) * 1000
            log.debug("%s %s: %s in %.1f ms", request.method, event.target.decode("ascii"), status, spent)
        # A stream may go on reading the body while it answers.
        close = not isinstance(answer, Stream) and not await self._skip_body(request)
        if isinstance(answer, Hijack):
            await self._hijack(request, answer)
            return False
        if isinstance(answer, Stream):
            await self._send_stream(request, answer)
            await self._skip_body(request)
        else:
            self._send(answer, close=close, head=request.method == "HEAD")
            await self._writer.drain()
        self._busy = False
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """The next piece of the client's side of the exchange. Raises h11.RemoteProtocolError."""
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type) or event is h11.PAUSED
                return event
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            try:
                self._http.receive_data(await self._reader.read(READ_SIZE))
            except ConnectionError:
                self._http.receive_data(b"")

    def _parse(self, event: h11.Request) -> Request:
        path, _, query = event.target.decode("ascii").partition("?")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        length = headers.get("content-length")
        return Request(
            event.method.decode("ascii"),
            unquote(path),
            parse_qs(query, keep_blank_values=True) if query else {},
            headers,
            _Body(self, int(length) if length else None),
        )

    async def _skip_body(self, request: Request) -> bool:
        """Reads what the handler left of a short body. False where what is left is long, or may never come."""
        http = self._http
        if http.their_state is not h11.SEND_BODY:
            return http.their_state is not h11.ERROR
        if http.they_are_waiting_for_100_continue or int(request.headers.get("content-length", "0")) > SKIP_LIMIT:
            return False
        if "chunked" in request.headers.get("transfer-encoding", ""):
            return False
        try:
            async for _ in request.body:
                pass
        except BrokenBody:
            return False
        return True

    # -- the answers ------------------------------------------------------------------------------------------------

    def _head(self, status: int, headers: tuple[tuple[str, str], ...], close: bool = False) -> h11.Response:
        lines = [*self._headers, *((name.encode(), value.encode("utf-8")) for name, value in headers)]
        if close or self._closing:
            lines.append((b"Connection", b"close"))
        return h11.Response(status_code=status, headers=lines, reason=_REASONS.get(status, b""))

    def _send(self, answer: Response, *, close: bool, head: bool = False) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = answer.headers
        if answer.status not in (204, 304) and not any(name == "Content-Length" for name, _ in headers):
            headers = (*headers, ("Content-Length", str(len(answer.body))))
        data = self._http.send(self._head(answer.status, headers, close)) or b""
        if answer.body and not head and answer.status not in (204, 304):
            data += self._http.send(h11.Data(data=answer.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(data)

    async def _send_stream(self, request: Request, answer: Stream) -> None:
        write, http = self._writer.write, self._http
        write(http.send(self._head(answer.status, answer.headers)) or b"")
        self._streaming = True
        try:
            if self._left:
                raise ConnectionResetError("the client closed the connection")
            async with closing(answer.chunks):
                if request.method != "HEAD":
                    async for chunk in answer.chunks:
                        if chunk:
                            write(http.send(h11.Data(data=chunk)) or b"")
                            await self._writer.drain()
            write(http.send(h11.EndOfMessage()) or b"")
            await self._writer.drain()
        finally:
            self._streaming = False

    async def _hijack(self, request: Request, answer: Hijack) -> None:
        headers = [*self._headers]
        if answer.content_type:
            headers.append((b"Content-Type", answer.content_type.encode()))
        if request.upgrade:
            headers += [(name.encode(), value.encode()) for name, value in answer.upgrade]
            head = h11.InformationalResponse(status_code=101, headers=headers, reason=b"UPGRADED")
            self._writer.write(self._http.send(head) or b"")
        else:
            # By hand: h11 would chunk a body without a length, and clients that take the socket expect bare bytes.
            self._writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"%s: %s\r\n" % h for h in headers) + b"\r\n")
        early, _ = self._http.trailing_data
        self._taken_over = True
        if answer.ready:
            await self._head_read()
        try:
            await answer.run(_Raw(self._reader, self._writer, early))
        except ConnectionError:
            pass
        except Exception:
            log.exception("%s %s: stream failed", request.method, request.path)

    async def _head_read(self) -> None:
        """Until the client has read the head, or has had its time for that: docker-py reads the head through a buffer,
        and what comes with it is left in there."""
        client = self._writer.get_extra_info("socket").fileno()
        for _ in range(HEAD_READ_MS):
            if not int.from_bytes(fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
                return
            await asyncio.sleep(0.001)

    async def _linger(self) -> None:
        """Tell the client that no more comes, and give it the time to stop sending."""
        if self._left and self._reader.at_eof():
            return
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._reader.read(READ_SIZE):
                    pass


def _too_large(size: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is too large: {size} bytes or more, and {JSON_LIMIT} are allowed")


_REASONS = {
    200: b"OK",
    201: b"Created",
    204: b"No Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}
