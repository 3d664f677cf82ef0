"""Sockets in the sandboxes, and what is answered there.

Most questions are asked again and again: an answer is kept by the bytes of its question, id apart, until anything of
the zone changes. That is one lookup and two system calls a question; docs/decisions/resolver.md has the measurements.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import socket
from collections.abc import Callable
from pathlib import Path

from linkspan.errors import LinkspanError
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.redirect import ADDRESS, Redirect
from linkspan.resolver import wire
from linkspan.resolver.forward import Forward
from linkspan.resolver.streams import Streams
from linkspan.resolver.upstream import Upstream
from linkspan.resolver.zone import Answer, Zone
from linkspan.state.names import HostListener, Listening, Named, NameKey, NameRecord

_AT_A_TIME = 64  # questions of one sandbox before the next one has its turn
_LONGEST = 4096  # bytes of a question by UDP
_KEPT = 4096  # answers kept for one sandbox
_BUFFER = 4 << 20  # bytes of questions that wait: the default takes some 250 of them
_RCVBUFFORCE = 33
_TIDYING = 0.5  # seconds

Cached = bytes | tuple[wire.Query, tuple[bytes, ...]]
"""An answer without its id; or what it is made of, where its records are to be shuffled."""


@dataclasses.dataclass(eq=False, slots=True)
class Place:
    """Where questions are asked: a sandbox, or the host."""

    record: Listening | HostListener
    datagrams: socket.socket
    forward: Forward
    streams: Streams = dataclasses.field(init=False)
    kept: dict[bytes, Cached] = dataclasses.field(default_factory=dict)


class Server:
    """Belongs to the thread that made it, whose namespace is the host's."""

    def __init__(self, namespaces: Path, upstream: Upstream) -> None:
        self._redirect = Redirect()
        self._namespaces = Namespaces(namespaces)
        self._upstream = upstream
        self._places: dict[NameKey, Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.zone = Zone()

    @property
    def busy(self) -> bool:
        """Whether there is a sandbox to answer for."""
        return bool(self.zone.sandboxes)

    def put(self, record: NameRecord) -> None:
        """Raises LinkspanError or OSError where it cannot be carried out; then it is as if it had not been put."""
        there = self._places.get(record.key)
        if not isinstance(record, Named) and (there is None or _elsewhere(there.record, record)):
            self.drop(record.key)
            self._places[record.key] = self._open(record)
        elif there and not isinstance(record, Named):
            there.record = record
        self.zone.put(record)

    def drop(self, key: NameKey) -> None:
        self.zone.drop(key)
        if place := self._places.pop(key, None):
            self._close(place)

    def forget(self) -> None:
        """Answers that were kept: the zone has changed."""
        for place in self._places.values():
            place.kept.clear()
        asyncio.get_running_loop().call_later(_TIDYING, self._redirect.tidy)

    def close(self) -> None:
        for place in self._places.values():
            asyncio.get_running_loop().remove_reader(place.datagrams)
            place.datagrams.close()
            place.streams.close()
        self._places.clear()

    # -- sockets ------------------------------------------------------------------------------------------------------

    def _open(self, record: Listening | HostListener) -> Place:
        with contextlib.ExitStack() as opened:
            if isinstance(record, Listening):
                datagrams, listener = self._sockets(record.path, ADDRESS, 0)
            else:
                datagrams, listener = self._sockets("", record.address, record.port)
            opened.enter_context(datagrams)
            opened.enter_context(listener)
            datagrams.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
            listener.listen(128)
            if isinstance(record, Listening):
                with self._namespaces.inside(record.path):
                    self._redirect.install(datagrams.getsockname()[1], listener.getsockname()[1])
            place = Place(record, datagrams, Forward(self._dial))
            place.streams = Streams(listener, lambda message: self._answer_stream(place, message))
            opened.pop_all()
        asyncio.get_running_loop().add_reader(datagrams, self._serve, place)
        return place

    def _sockets(self, namespace: str, address: str, port: int) -> tuple[socket.socket, socket.socket]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self._namespaces.inside(namespace), contextlib.ExitStack() as opened:
            datagrams = opened.enter_context(self._socket(family, socket.SOCK_DGRAM))
            listener = opened.enter_context(self._socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for made in (datagrams, listener):
                if port:  # the process that this one takes over from has it for a moment longer
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                made.bind((address, port))
            opened.pop_all()
        return datagrams, listener

    def _dial(self, namespace: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        with self._namespaces.inside(namespace):
            return self._socket(family, kind)

    @staticmethod
    def _socket(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def _close(self, place: Place) -> None:
        asyncio.get_running_loop().remove_reader(place.datagrams)
        place.datagrams.close()
        place.streams.close()
        if isinstance(place.record, Listening):
            # Where the sandbox is gone the table is too; where it has left its last network with names, it lives on.
            with contextlib.suppress(OSError, LinkspanError), self._namespaces.inside(place.record.path):
                self._redirect.remove()

    # -- answers ------------------------------------------------------------------------------------------------------

    def _serve(self, place: Place) -> None:
        """As many questions as are there, but not at the others' cost."""
        receive, send, kept = place.datagrams.recvfrom, place.datagrams.sendto, place.kept.get
        for _ in range(_AT_A_TIME):
            try:
                message, client = receive(_LONGEST)
            except OSError:
                return
            known = kept(message[2:])
            if known is None:
                answer = self._consider(place, message, client)
            elif isinstance(known, bytes):
                answer = message[:2] + known
            else:
                answer = _shuffled(message, known)
            if answer is None:
                continue
            try:  # noqa: SIM105 - contextlib would take a tenth of the time of it all
                send(answer, client)
            except OSError:
                pass  # a client that is gone, or has no room, asks again or does not care

    def _consider(self, place: Place, message: bytes, client: tuple[str, int]) -> bytes | None:
        """The answer to a question that was not asked lately; None where it is still to come, or nothing to be said."""
        try:
            query = wire.parse(message)
        except wire.Malformed as error:
            return wire.refusal(message, error.rcode) if error.rcode is not None else None
        found = self._find(place, query)
        if found is None:
            self._later(place, query, message, lambda answer: place.datagrams.sendto(answer, client))
            return None
        answer = wire.reply(query, found.rcode, _in_any_order(found), limit=query.size)
        if len(place.kept) >= _KEPT:
            place.kept.clear()
        if len(found.records) < 2:
            place.kept[message[2:]] = answer[2:]
        elif not wire.truncated(answer):
            place.kept[message[2:]] = (query, found.records)
        return answer

    def _find(self, place: Place, query: wire.Query) -> Answer | None:
        """None where somebody else is to be asked."""
        record = place.record
        if isinstance(record, HostListener):
            return self.zone.host_answer(query)
        found = self.zone.answer(record.id, query)
        single = query.type in (wire.A, wire.AAAA) and query.name is not None and "." not in query.name
        if found is None and single and self._upstream.ndots(record):
            return Answer()  # who sets ndots wants a single word looked up with the search domains first
        return found

    def _later(self, place: Place, query: wire.Query, message: bytes, send: Callable[[bytes], object]) -> None:
        async def ask() -> None:
            answer = await self._ask_others(place, query, message, tcp=False)
            # It may be closed by now.
            with contextlib.suppress(OSError):
                send(answer)

        task = asyncio.get_running_loop().create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_others(self, place: Place, query: wire.Query, message: bytes, *, tcp: bool) -> bytes:
        servers = self._upstream.servers(place.record) if isinstance(place.record, Listening) else ()
        answer = await place.forward.ask(query, message, servers, tcp=tcp)
        try:
            return wire.shorten(answer, query, wire.LARGEST if tcp else query.size)
        except wire.Malformed:
            return wire.reply(query, wire.SERVFAIL)

    async def _answer_stream(self, place: Place, message: bytes) -> bytes | None:
        """The answer to a question that came by TCP; None where nothing is to be said."""
        try:
            query = wire.parse(message)
        except wire.Malformed as error:
            return wire.refusal(message, error.rcode) if error.rcode is not None else None
        found = self._find(place, query)
        if found is None:
            return await self._ask_others(place, query, message, tcp=True)
        return wire.reply(query, found.rcode, _in_any_order(found))


def _elsewhere(before: Listening | HostListener, after: Listening | HostListener) -> bool:
    if isinstance(before, Listening) and isinstance(after, Listening):
        return before.path != after.path
    return before != after


def _in_any_order(found: Answer) -> list[bytes]:
    return random.sample(found.records, len(found.records))


def _shuffled(message: bytes, known: tuple[wire.Query, tuple[bytes, ...]]) -> bytes:
    query, records = known
    return message[:2] + wire.reply(query, wire.NOERROR, random.sample(records, len(records)))[2:]
