"""What changes under some prefixes: every change once and in order, over whichever member answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from linkspan.errors import LinkspanError
from linkspan.store.etcd.address import MemberAddress
from linkspan.store.etcd.contract import Compacted
from linkspan.store.etcd.http import Broken, Stream
from linkspan.store.etcd.members import Members, NotBegun, failed_as
from linkspan.store.etcd.values import Changes, Event, Interrupted, Told, Watching
from linkspan.store.etcd.wire import Header, RangeAnswer, Streamed, WatchResult, decode, encode, span

QUIET = 5.0  # seconds without a word, after which the member has to answer a question
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between rounds over all members
_SETTLED = 0.1  # seconds between two connections because other prefixes are to be watched
OPENING = 5.0  # seconds until a member watches all that it was asked for
_UNREAD = 1 << 18  # bytes
_QUESTION = encode({"key": b"\x00", "limit": 1, "keys_only": True})


class Watch:
    """What is known between one connection and the next.

    One connection carries many watches, which are asked for together: none can be added to it. Where other prefixes are
    to be watched, another connection goes on where this one has come to.
    """

    def __init__(self, members: Members, after: Mapping[str, int]) -> None:
        self._members = members
        self._known = dict(after)  # prefix → the revision up to which all was told
        self._cluster = 0  # its id
        self._store = members.store
        self._stream: Stream | None = None
        self._asked: frozenset[str] = frozenset()  # the prefixes that it is watched for
        self._opened = 0.0
        self._changing: asyncio.TimerHandle | None = None

    def include(self, prefix: str, *, after: int) -> None:
        """See contract.Watches.include."""
        self._known[prefix] = after
        self._change()

    def exclude(self, prefix: str) -> None:
        """See contract.Watches.exclude."""
        self._known.pop(prefix, None)
        self._change()

    def _change(self) -> None:
        """Another connection, in a moment: there may be more to change."""
        if self._changing is None and self._stream is not None and self._asked != self._known.keys():
            loop = asyncio.get_running_loop()
            self._changing = loop.call_at(max(loop.time(), self._opened + _SETTLED), self._hang_up)

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.hang_up()

    async def tell(self) -> AsyncGenerator[Told, None]:
        """See contract.Watches.tell."""
        pause = _FIRST_PAUSE
        interrupted = False
        try:
            while True:
                for address in self._members.in_order():
                    try:
                        async with contextlib.aclosing(self._over(address)) as heard:
                            async for told in heard:
                                interrupted = False
                                if isinstance(told, Changes):
                                    pause = _FIRST_PAUSE
                                yield told
                    except Compacted:
                        raise
                    except (NotBegun, Broken, LinkspanError) as error:
                        if self._changing:  # we have hung up
                            break
                        self._members.avoid(address)
                        if not interrupted:
                            interrupted = True
                            yield Interrupted(f"{address}: {error}")
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._settle()

    def _settle(self) -> None:
        if self._changing:
            self._changing.cancel()
            self._changing = None

    async def _over(self, address: MemberAddress) -> AsyncGenerator[Told, None]:
        """Over one member, until that ends with an error."""
        self._settle()
        prefixes = list(self._known)
        request = together(encode({"create_request": self._wanted(*one)}) for one in enumerate(prefixes))
        opened = 0
        events: list[list[Event]] = [[] for _ in prefixes]
        async with (
            self._members.stream(address, "/v3/watch", request) as stream,
            self._watching(stream, prefixes) as all_open,
            self._attention(address, stream) as attention,
            contextlib.aclosing(_results(stream, attention)) as results,
        ):
            async for result in results:
                if result.canceled:
                    raise _cancelled(result)
                if result.watch_id >= len(prefixes):
                    raise Broken("it tells of what it was not asked for")
                if result.created:
                    if not opened:
                        await self._check(address, result.header)
                    opened += 1
                    if opened == len(prefixes):
                        all_open()
                        yield Watching(str(address))
                    continue
                found = events[result.watch_id]
                found += [raw.plain() for raw in result.events]
                if result.fragment:
                    continue
                events[result.watch_id] = []
                prefix = prefixes[result.watch_id]
                if (known := self._known.get(prefix)) is None:
                    continue
                # What was included anew may have been told here already, up to a later revision.
                found = [event for event in found if event.now.mod_revision > known]
                # A message is of whole revisions, and that of its header may be a later one than its events'.
                revision = found[-1].now.mod_revision if found else max(known, result.header.revision)
                self._known[prefix] = revision
                yield Changes(prefix, revision, found)

    def _wanted(self, number: int, prefix: str) -> dict[str, Any]:
        return {
            **span(prefix),
            "start_revision": self._known[prefix] + 1,
            "progress_notify": True,
            "fragment": True,  # a gateway takes 4 MiB from its member at once
            "watch_id": number,
        }

    @contextlib.asynccontextmanager
    async def _watching(self, stream: Stream, prefixes: Sequence[str]) -> AsyncIterator[Callable[[], None]]:
        """To be told that every prefix is watched, or it is not waited for any longer."""
        self._stream, self._asked = stream, frozenset(prefixes)
        loop = asyncio.get_running_loop()
        self._opened = loop.time()
        slow = loop.call_later(OPENING, stream.hang_up)
        self._change()  # others may be wanted by now
        try:
            yield slow.cancel
        finally:
            slow.cancel()
            self._stream = None

    @contextlib.asynccontextmanager
    async def _attention(self, address: MemberAddress, stream: Stream) -> AsyncIterator[_Attention]:
        attention = _Attention(lambda: self._members.ask_one(address, "/v3/kv/range", _QUESTION), stream.hang_up)
        paying = asyncio.create_task(attention.pay())
        try:
            yield attention
        finally:
            paying.cancel()
            await asyncio.gather(paying, return_exceptions=True)

    async def _check(self, address: MemberAddress, header: Header) -> None:
        """Raises Compacted where this is no continuation of what we know: another cluster, or an older state of it."""
        if self._cluster not in (0, header.cluster_id):
            raise Compacted(f"etcd at {address} is another cluster than before")
        if self._store != self._members.store:
            raise Compacted(f"etcd at {address} has another past than before")
        self._cluster = header.cluster_id
        known = max(self._known.values(), default=0)
        if header.revision < known:
            # The member may only be behind. Asked like this, it first catches up with the others.
            answer = decode(await self._members.ask_one(address, "/v3/kv/range", _QUESTION), RangeAnswer)
            if answer.header.revision < known:
                raise Compacted(f"etcd at {address} has gone back to revision {answer.header.revision}")


def together(requests: Iterable[bytes]) -> bytes:
    """The body of one request that asks for several watches.

    The gateway answers the first one while it may not have read the others, and its HTTP server (Go's) then throws away
    what is left of a request: unless that is 256 KiB or more. So, with spaces behind them, they are always read.
    """
    asked = list(requests)
    return b"\n".join(asked) + b" " * (_UNREAD if len(asked) > 1 else 0)


class _Attention:
    """Asks the member something whenever it has been silent for long, and hangs up where it fails of that."""

    def __init__(self, ask: Callable[[], Awaitable[object]], hang_up: Callable[[], None]) -> None:
        self._ask, self._hang_up = ask, hang_up
        self.heard = False  # something, since it was looked at last
        self.failure: Exception | None = None  # that we hung up for

    async def pay(self) -> None:
        while self.failure is None:
            self.heard = False
            await asyncio.sleep(QUIET)
            if not self.heard:
                try:
                    await self._ask()
                except (NotBegun, Broken, LinkspanError) as error:
                    self.failure = error
                    self._hang_up()


async def _results(stream: Stream, attention: _Attention) -> AsyncGenerator[WatchResult, None]:
    rest = b""
    try:
        async for piece in stream.pieces:
            attention.heard = True
            *lines, rest = (rest + piece).split(b"\n")
            for result in _decoded(lines):
                yield result
    except Broken as broken:
        raise attention.failure or broken from None
    for result in _decoded([rest] if rest else []):  # what it ends with has no end of line
        yield result
    raise Broken("it ended the watch")


def _decoded(lines: list[bytes]) -> Iterator[WatchResult]:
    for line in lines:
        streamed = decode(line, Streamed)
        if streamed.error is not None:
            raise failed_as(streamed.error)
        if streamed.result is not None:
            yield streamed.result


def _cancelled(result: WatchResult) -> Exception:
    if result.compact_revision:
        return Compacted(f"etcd: the history before revision {result.compact_revision} is compacted")
    return Broken(f"it ended the watch: {result.cancel_reason or 'without a reason'}")
