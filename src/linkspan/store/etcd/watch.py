"""What changes under a prefix: every change once and in order, over whichever member answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

from linkspan.errors import LinkspanError
from linkspan.store.etcd.address import MemberAddress
from linkspan.store.etcd.contract import Compacted
from linkspan.store.etcd.http import Broken, Stream
from linkspan.store.etcd.members import Members, NotBegun, failed_as
from linkspan.store.etcd.values import Changes, Event, Interrupted, Told, Watching
from linkspan.store.etcd.wire import Header, RangeAnswer, Streamed, WatchResult, decode, encode, span

QUIET = 5.0  # seconds without a word, after which the member has to answer a question
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between rounds over all members
_QUESTION = encode({"key": b"\x00", "limit": 1, "keys_only": True})


class Watch:
    """What is known between one connection and the next."""

    def __init__(self, members: Members, prefix: str, after: int) -> None:
        self._members = members
        self._prefix = prefix
        self._known = after  # the revision up to which all was told
        self._cluster = 0  # its id

    async def tell(self) -> AsyncGenerator[Told, None]:
        """See contract.Etcd.watch."""
        pause = _FIRST_PAUSE
        interrupted = False
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
                    self._members.avoid(address)
                    if not interrupted:
                        interrupted = True
                        yield Interrupted(f"{address}: {error}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _over(self, address: MemberAddress) -> AsyncGenerator[Told, None]:
        """Over one member, until that ends with an error."""
        wanted = {
            **span(self._prefix),
            "start_revision": self._known + 1,
            "progress_notify": True,
            "fragment": True,  # a gateway takes 4 MiB from its member at once
        }
        request = encode({"create_request": wanted})
        events: list[Event] = []
        async with (
            self._members.stream(address, "/v3/watch", request) as stream,
            self._attention(address, stream) as attention,
            contextlib.aclosing(_results(stream, attention)) as results,
        ):
            async for result in results:
                if result.canceled:
                    raise _cancelled(result)
                if result.created:
                    await self._check(address, result.header)
                    yield Watching(str(address))
                    continue
                events += [raw.plain() for raw in result.events]
                if result.fragment:
                    continue
                # A message is of whole revisions, and that of its header may be a later one than its events'.
                self._known = events[-1].now.mod_revision if events else max(self._known, result.header.revision)
                yield Changes(self._known, events)
                events = []

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
        self._cluster = header.cluster_id
        if header.revision < self._known:
            # The member may only be behind. Asked like this, it first catches up with the others.
            answer = decode(await self._members.ask_one(address, "/v3/kv/range", _QUESTION), RangeAnswer)
            if answer.header.revision < self._known:
                raise Compacted(f"etcd at {address} has gone back to revision {answer.header.revision}")


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
