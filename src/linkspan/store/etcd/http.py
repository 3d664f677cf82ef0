"""One connection to one member: a request after another, or one stream."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping

import h11

from linkspan.store.etcd.address import MemberAddress

CONNECT = 1.0  # seconds
READ_SIZE = 256 << 10
_TLS_HANDSHAKE = 3.0  # seconds
# A member that has gone without a word, and a middlebox that has forgotten us, are noticed within 11 seconds.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))

_TLS_WORDS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a client certificate (cert=FILE, key=FILE)",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not trust our certificate",
    "TLSV1_ALERT_BAD_CERTIFICATE": "it does not trust our certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not let our certificate in",
}


class NotConnected(Exception):
    """Nothing was sent. The text says why."""


class Broken(Exception):
    """Something was sent, and no whole answer came. The text says why."""


class Connection:
    """Raises Broken for whatever goes wrong once it is open; it is of no use after that."""

    def __init__(self, address: MemberAddress, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)

    @property
    def usable(self) -> bool:
        """For another request: the last one was answered to its end, and the member has not hung up."""
        return self._http.our_state is h11.IDLE and not self._reader.at_eof() and not self._writer.is_closing()

    async def request(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The answer's status and body."""
        status = await self._send(path, body, headers)
        pieces = [piece async for piece in self._body()]
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return status, b"".join(pieces)

    async def stream(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, AsyncGenerator[bytes]]:
        """The answer's status, and its body as it comes."""
        return await self._send(path, body, headers), self._body()

    async def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        head = [("Host", str(self.address)), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        request = h11.Request(method="POST", target=path, headers=[*head, *headers.items()])
        message = [self._http.send(request), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())]
        try:
            self._writer.write(b"".join(part for part in message if part))
            await self._writer.drain()
        except OSError as error:
            raise Broken(reason(error)) from None
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
                self._http.receive_data(await self._reader.read(READ_SIZE))
        except OSError as error:
            raise Broken(reason(error)) from None
        except h11.RemoteProtocolError as error:
            raise Broken(_no_http(error)) from None
        return event

    def close(self) -> None:
        self._writer.transport.abort()


def _no_http(error: h11.RemoteProtocolError) -> str:
    if "without sending" in str(error) or "peer unexpectedly closed" in str(error):
        return "it closed the connection"
    return f"what it answers is not HTTP ({error})"


async def connect(address: MemberAddress, tls: ssl.SSLContext | None, server_name: str) -> Connection:
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
        if tls is not None:
            name = server_name or address.host
            await writer.start_tls(tls, server_hostname=name, ssl_handshake_timeout=_TLS_HANDSHAKE)
    except OSError as error:  # ssl.SSLError is one
        writer.transport.abort()
        raise NotConnected(reason(error)) from None
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
