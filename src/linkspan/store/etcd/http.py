"""One connection to one member: a request after another, or one stream."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import select
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping

import h11

from linkspan.store.etcd.address import MemberAddress
from linkspan.store.etcd.trust import Trust

CONNECT, HANDSHAKE = 1.0, 3.0  # seconds
READ_SIZE = 256 << 10
# A member that has gone without a word, and a middlebox that has forgotten us, are noticed within 11 seconds.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))

_TLS_WORDS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    **dict.fromkeys(
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "TLSV1_ALERT_UNKNOWN_CA",
            "SSLV3_ALERT_BAD_CERTIFICATE",  # Go's word for having got none, too
            "TLSV1_ALERT_BAD_CERTIFICATE",
            "TLSV1_ALERT_ACCESS_DENIED",
        ),
        "it asks for a certificate that it trusts (cert=FILE, key=FILE)",
    ),
}


class NotConnected(Exception):
    """Nothing was sent, or nothing of it heard. The text says why."""


class Broken(Exception):
    """Something was sent, and no whole answer came. The text says why. `passing`: asking again in a moment may help."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """An answer's status, and its body as it comes. `hang_up` makes that end with Broken."""

    status: int
    pieces: AsyncGenerator[bytes, None]
    hang_up: Callable[[], None]


class Connection:
    """Raises Broken for whatever goes wrong once it is open; it is of no use after that.

    One exception: that a member refuses our certificate comes in the place of its first answer, as NotConnected.
    """

    def __init__(self, address: MemberAddress, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self._heard = False  # anything at all

    @property
    def usable(self) -> bool:
        """For another request: the last one was answered to its end, and the member has not hung up since."""
        return self._http.our_state is h11.IDLE and not self._writer.is_closing() and not self._said_something()

    def _said_something(self) -> bool:
        """Unasked, so it can only be that it hangs up. The event loop may not have looked yet."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0)) or self._reader.at_eof()

    async def request(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The answer's status and body."""
        status = await self._send(path, body, headers)
        pieces = [piece async for piece in self._body()]
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return status, b"".join(pieces)

    async def stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> Stream:
        return Stream(await self._send(path, body, headers), self._body(), self.close)

    async def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        head = [("Host", str(self.address)), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        request = h11.Request(method="POST", target=path, headers=[*head, *headers.items()])
        message = [self._http.send(request), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())]
        try:
            self._writer.write(b"".join(part for part in message if part))
            await self._writer.drain()
        except OSError as error:
            raise self._failed(error) from None
        answer = await self._event()
        while isinstance(answer, h11.InformationalResponse):
            answer = await self._event()
        if not isinstance(answer, h11.Response):
            raise Broken("it closed the connection")
        return answer.status_code

    async def _body(self) -> AsyncGenerator[bytes]:
        while isinstance(event := await self._event(), h11.Data):
            yield event.data
        if not isinstance(event, h11.EndOfMessage):
            raise Broken("it closed the connection in the middle of an answer")

    async def _event(self) -> h11.Event:
        try:
            while not isinstance(event := self._http.next_event(), h11.Event):
                piece = await self._reader.read(READ_SIZE)
                self._heard |= bool(piece)
                self._http.receive_data(piece)
        except OSError as error:
            raise self._failed(error) from None
        except h11.RemoteProtocolError as error:
            ended = self._reader.at_eof() and not self._http.trailing_data[0]
            raise Broken(self._ended() if ended else f"what it answers is not HTTP ({error})") from None
        return event

    def _failed(self, error: OSError) -> Broken | NotConnected:
        if isinstance(error, ssl.SSLError) and not self._heard:
            return NotConnected(reason(error))
        return Broken(self._ended() if isinstance(error, ConnectionError) else reason(error))

    def _ended(self) -> str:
        words = "it closed the connection"
        if self._heard:
            return words
        if self._writer.get_extra_info("ssl_object") is None:
            return f"{words} without a word: does it speak TLS (--cluster-tls)?"
        # What it has to say of a certificate may be lost where it hangs up while we are still sending.
        return f"{words} without a word: does it trust our certificate (cert=FILE, key=FILE)?"

    def close(self) -> None:
        self._writer.transport.abort()


async def connect(address: MemberAddress, trust: Trust | None) -> Connection:
    """Raises NotConnected."""
    try:
        async with asyncio.timeout(CONNECT):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=READ_SIZE)
    except TimeoutError:
        raise NotConnected(f"no connection within {CONNECT:g} s") from None
    except OSError as error:
        raise NotConnected(reason(error)) from None
    try:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        if trust is not None:
            async with asyncio.timeout(HANDSHAKE):
                await writer.start_tls(trust.context, server_hostname=trust.server_name or address.host)
    except TimeoutError:
        writer.transport.abort()
        raise NotConnected(f"no TLS handshake within {HANDSHAKE:g} s") from None
    except OSError as error:  # ssl.SSLError is one
        writer.transport.abort()
        hung_up = isinstance(error, ConnectionError | ssl.SSLEOFError)
        raise NotConnected("it ends the TLS handshake: it may not speak TLS" if hung_up else reason(error)) from None
    except BaseException:
        writer.transport.abort()
        raise
    return Connection(address, reader, writer)


def reason(error: OSError) -> str:
    """What a connection failed of, in plain words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        known = _TLS_WORDS.get(error.reason or "")
        return known or f"TLS fails: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "it closed the connection"
    if isinstance(error, TimeoutError):
        return "it answers no more"
    return os.strerror(error.errno).lower() if error.errno else str(error)
