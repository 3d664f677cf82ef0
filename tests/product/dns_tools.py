"""Questions asked from any namespace, and servers that answer in one: packets are dnspython's, sockets stay where they
were made."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.hosts import socket_in

_RCVBUFFORCE = 33
Answer = Callable[[dns.message.Message], dns.message.Message | None]


def ask(
    space: str,
    name: str,
    type_: str = "A",
    *,
    server: str = "127.0.0.11",
    port: int = 53,
    tcp: bool = False,
    size: int | None = None,
    timeout: float = 5,
) -> dns.message.Message:
    """The answer to a question asked from the namespace at `space`; EDNS is spoken where a size is given."""
    options: dict[str, Any] = {} if size is None else {"use_edns": 0, "payload": size}
    query = dns.message.make_query(f"{name}.", type_, **options)
    with socket_in(space, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as link:
        link.settimeout(timeout)
        link.connect((server, port))
        if tcp:
            answer = exchange(link, query.to_wire())
        else:
            link.send(query.to_wire())
            answer = link.recv(65535)
    message = dns.message.from_wire(answer)
    assert query.is_response(message) or message.rcode() == dns.rcode.FORMERR
    return message


def exchange(link: socket.socket, question: bytes) -> bytes:
    """One question and its answer on a TCP connection."""
    link.sendall(struct.pack("!H", len(question)) + question)
    return read_framed(link)


def read_framed(link: socket.socket) -> bytes:
    """One message; b"" at the end."""
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        piece = link.recv(65536)
        if not piece:
            return b""
        data += piece
    return data[2:]


def addresses(space: str, name: str, type_: str = "A", **options: Any) -> list[str]:
    """The records of an answer as text, in order; the answer is no error."""
    message = ask(space, name, type_, **options)
    assert message.rcode() == dns.rcode.NOERROR, message
    return [record.to_text() for rrset in message.answer for record in rrset]


class Server:
    """A DNS server in a namespace, by UDP and TCP. `asked` are the questions that came: (protocol, name)."""

    def __init__(self, space: str, address: str, answer: Answer) -> None:
        self.asked: list[tuple[str, str]] = []
        self._answer = answer
        self._datagrams, self._listener = socket_in(space, socket.SOCK_DGRAM), socket_in(space)
        for made in (self._datagrams, self._listener):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, 53))
            made.settimeout(None)
        self._datagrams.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 22)  # a thousand may ask at once
        self._listener.listen(128)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._datagram, self._stream)]
        for thread in self._threads:
            thread.start()

    def _answered(self, protocol: str, question: bytes, limit: int = 65535) -> bytes | None:
        query = dns.message.from_wire(question)
        self.asked.append((protocol, query.question[0].name.to_text(omit_final_dot=True)))
        if (message := self._answer(query)) is None:
            return None
        try:
            return message.to_wire(max_size=limit)
        except dns.exception.TooBig:
            cut = dns.message.make_response(query)
            cut.flags |= dns.flags.TC
            return cut.to_wire()

    def _datagram(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self._datagrams.recvfrom(65535)
                if not question:
                    return
                limit = max(512, dns.message.from_wire(question).payload)
                if answer := self._answered("udp", question, limit):
                    self._datagrams.sendto(answer, client)

    def _stream(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    if answer := self._answered("tcp", read_framed(connection)):
                        connection.sendall(struct.pack("!H", len(answer)) + answer)

    def close(self) -> None:
        for made in (self._datagrams, self._listener):
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._datagrams.close()
        self._listener.close()


@contextlib.contextmanager
def server(space: str, address: str, answer: Answer) -> Iterator[Server]:
    made = Server(space, address, answer)
    try:
        yield made
    finally:
        made.close()


def with_records(*records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Answer:
    """Answers whatever is asked with `A 10.0.0.1` and the like."""

    def answer(query: dns.message.Message) -> dns.message.Message:
        message = dns.message.make_response(query)
        message.set_rcode(rcode)
        for record in records:
            kind, _, text = record.partition(" ")
            message.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, text))
        return message

    return answer
