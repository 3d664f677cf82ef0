"""Asking the wire who has an address, before a container of ours does.

Three questions 80 ms apart, and 80 ms for the last answer: a quarter of a second, where RFC 5227 takes some seconds. An
address that somebody was heard to have is not given out by itself for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from linkspan.engine.detection import Occupied, Question, questions
from linkspan.kernel.probe import Wire
from linkspan.model.snapshot import Snapshot, Write

log = logging.getLogger(__name__)

TIMES, PAUSE = 3, 0.08  # seconds
_REMEMBERED = 600.0  # seconds
_AT_ONCE = 24  # containers


class Line(Protocol):
    """What is needed of an interface: kernel/probe.py's Wire."""

    def fileno(self) -> int: ...

    def ask(self, address: str) -> None: ...

    def claims(self) -> Iterator[tuple[str, str]]: ...

    def close(self) -> None: ...


class Detecting:
    def __init__(self, line: Callable[[str], Line] = Wire) -> None:
        """`line` opens an interface of this host: OSError where there is none."""
        self._open = line
        self.turns = asyncio.Semaphore(_AT_ONCE)  # for who starts containers by the hundred
        self._listening: dict[str, _Listening] = {}
        self._heard: dict[tuple[str, int], float] = {}  # network id and address → until when it is remembered

    @property
    def occupied(self) -> frozenset[tuple[str, int]]:
        """Addresses, by network, that others were heard to have of late."""
        now = time.monotonic()
        self._heard = {key: end for key, end in self._heard.items() if end > now}
        return frozenset(self._heard)

    async def check(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
        """Returns when nobody has answered for the addresses that a change gives out. Raises Occupied."""
        asked = list(questions(before, after, writes))
        answers = await asyncio.gather(*map(self._ask, asked))
        for question, mac in zip(asked, answers, strict=True):
            if mac:
                key = (question.network.id, int(ipaddress.ip_address(question.address)))
                self._heard[key] = time.monotonic() + _REMEMBERED
                raise Occupied(question, mac)

    async def _ask(self, question: Question) -> str:
        """The MAC address that answers; "" where none does, or nobody can be asked."""
        for interface in question.interfaces:
            with contextlib.suppress(OSError):  # in a cluster, the bridge comes with the first container
                listening = self._listening.get(interface) or _Listening(self._open(interface))
                self._listening[interface] = listening
                with listening.hearing(question) as answer:
                    try:
                        return await listening.ask(question.address, answer)
                    finally:
                        if listening.alone:
                            self._listening.pop(interface, None)
        log.warning("nobody could be asked who has %s: %s", question.address, ", ".join(question.interfaces))
        return ""


class _Listening:
    """One interface, for as long as somebody has a question there."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._waiting: list[tuple[Question, asyncio.Future[str]]] = []
        asyncio.get_running_loop().add_reader(line.fileno(), self._hear)

    @property
    def alone(self) -> bool:
        """Whether this is the last question."""
        return len(self._waiting) == 1

    @contextlib.contextmanager
    def hearing(self, question: Question) -> Iterator[asyncio.Future[str]]:
        waiting = (question, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            yield waiting[1]
        finally:
            self._waiting.remove(waiting)
            if not self._waiting:
                asyncio.get_running_loop().remove_reader(self._line.fileno())
                self._line.close()

    async def ask(self, address: str, answer: asyncio.Future[str]) -> str:
        for _ in range(TIMES):
            self._line.ask(address)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(answer), PAUSE)
        answer.cancel()
        return ""

    def _hear(self) -> None:
        for address, mac in self._line.claims():
            for question, answer in self._waiting:
                if question.address == address and question.mac != mac and not answer.done():
                    answer.set_result(mac)
