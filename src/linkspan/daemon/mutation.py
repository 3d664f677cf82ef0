"""One change, carried out: the intent is recorded, then the kernel is made to follow; or nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from itertools import count

from linkspan.daemon.cluster.contract import Overtaken, Publishing, Unfollowed
from linkspan.daemon.detecting import Detecting
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Asked, Ledger
from linkspan.daemon.programmer import Programmer
from linkspan.engine.change import Change
from linkspan.engine.render import Drivers, Touched, render_touched, touched
from linkspan.errors import LinkspanError
from linkspan.ipam.addresses import UsedUp
from linkspan.kernel.contract import Kernel
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.event import Event
from linkspan.model.snapshot import Record, Snapshot, Write
from linkspan.state.host import HostFacts
from linkspan.state.objects import Enslaved, State
from linkspan.state.plan import Delete, Plan, diff

log = logging.getLogger(__name__)
_ATTEMPTS = 20  # at a decision that other hosts overtake each time


class Mutation:
    def __init__(
        self,
        ledger: Ledger,
        programmer: Programmer,
        drivers: Drivers,
        events: Events,
        follow: Callable[[Snapshot, Snapshot, Collection[str]], None],
        names: Callable[[Snapshot, Sequence[Write]], Awaitable[None]] | None = None,
        card_moved: Callable[[], Awaitable[None]] | None = None,
        host: Callable[[], HostFacts] | None = None,
    ) -> None:
        """`follow` is told of the containers whose places on networks have changed, before the events are; `names` of
        what was written since a snapshot, and returns once it is answered to those who ask for names; `card_moved` of a
        change by which the host's addresses are on another interface now; `host` is what is known of the host."""
        self._ledger, self._programmer, self._drivers, self._events = ledger, programmer, drivers, events
        self._follow, self._names, self._card_moved, self._host = follow, names, card_moved, host
        self._answered = asyncio.Event()  # of what is being asked elsewhere; another one for each time
        self.cluster: Publishing | None = None
        self.detecting: Detecting | None = None
        self.part: Callable[[str], Awaitable[None]] = _at_once  # this host gets its part of a network, if it soon does
        self.unsettled: Callable[[], None] = lambda: None  # the kernel is not as the records say: to be looked over

    @contextlib.asynccontextmanager
    async def turn(self, container: Container) -> AsyncIterator[None]:
        """For deciding and carrying out what gives a container its places on networks: where that takes a while, not
        more of them at a time than are looked after easily."""
        networks = (self._ledger.now.networks.get(id_) for id_ in container.networks)
        if self.detecting and any(network and network.detects for network in networks):
            async with self.detecting.turns:
                yield
        else:
            yield

    async def carry_out(self, change: Change) -> None:
        """Raises what the kernel, the store or the cluster raised, with records and kernel as they were.

        What other hosts have to know is told before anything follows from it here: it may be that one of them was
        quicker (Overtaken). Nor does a container get an address that a stranger on its wire has (Occupied). Not to be
        cancelled half-way: the verbs run in tasks of their own, which a client that goes away does not end.
        """
        writes = change.writes
        # Sandboxes and endpoints stand for what a power cut takes away with them: they need not outlive it.
        passing = all(write.kind in ("sandbox", "endpoint") for write in writes)
        asked = self._ledger.ask(writes, durable=not passing)
        before, now = asked.before, self._ledger.now
        try:
            if self.cluster:
                await self.cluster.publish(before, now, writes)
            if self.detecting:
                await self.detecting.check(before, now, writes)
        except Exception:
            if self._ledger.refuse(asked):
                self.unsettled()
            if self.cluster:
                self.cluster.withdraw()
            self._tell_waiting()
            raise
        without = self._ledger.told
        if self._ledger.grant(asked):
            self.unsettled()
        self._tell_waiting()
        told = self._ledger.told
        parts = touched(without, told, writes)
        # Others may have changed what depends on this, on a network where this endpoint is the first here: the kernel
        # could not follow them yet, and now takes what they have done along.
        old, new = (self._render(moment, parts) for moment in (without, told))
        if plan := diff(old, new):
            try:
                await self._programmer.run(lambda kernel: self._apply(kernel, plan, asked, parts))
            except Exception:
                self._ledger.commit(self._ledger.inverse(asked))
                if self.cluster:
                    self.cluster.withdraw()
                await self._take_back(new, self._render(self._ledger.now, parts))
                if self._ledger.told is not self._ledger.now:
                    self.unsettled()  # whoever of those is refused has left what was made for it
                raise
            if self._card_moved and any(
                isinstance(step.before if isinstance(step, Delete) else step.after, Enslaved) for step in plan
            ):
                await self._card_moved()
        await self._tell(before, writes, change.events)

    def _apply(self, kernel: Kernel, plan: Plan, asked: Asked, parts: Touched) -> None:
        """In the kernel thread. What a plan that failed had made first, others may have counted on: who came to a
        network after the first one here, say. It is there before their plans, which follow; also for those who are
        still asking, as what is there already can be made again."""
        try:
            kernel.apply(plan)
        except Exception:
            left = self._ledger.now.after(self._ledger.inverse(asked))
            with contextlib.suppress(LinkspanError):
                kernel.apply(diff({}, self._render(left, parts)))
            raise

    def _render(self, snapshot: Snapshot, parts: Touched) -> State:
        return render_touched(snapshot, parts, self._drivers, self._host() if self._host else None)

    async def decide(self, decide: Callable[[], Change]) -> Change:
        """Carries out what is decided, and decides anew for as long as other hosts are quicker."""
        for attempt in count(1):
            change = await self.decided(decide)
            try:
                await self.carry_out(change)
                return change
            except Overtaken as error:
                await self.catch_up(error, attempt)
        raise AssertionError

    async def decided(self, decide: Callable[[], Change]) -> Change:
        """What is decided on the records of now. That no address is left may be so only because others are being asked
        for, which may be refused: it is decided anew then, and without a wait where nothing is being asked."""
        for _ in range(_ATTEMPTS):
            try:
                return decide()
            except UsedUp:
                if not self._ledger.asking:
                    raise
                await self._answered.wait()
        return decide()

    def _tell_waiting(self) -> None:
        self._answered.set()
        self._answered = asyncio.Event()

    async def catch_up(self, error: Overtaken, attempt: int) -> None:
        """Returns once the records know what the other host did. Raises the error where that did not help so often."""
        if attempt == _ATTEMPTS or not self.cluster:
            raise error
        if isinstance(error, Unfollowed):
            await self.cluster.follow(error.network_id)
        await self.cluster.caught_up(error.revision, error.network_id)

    async def take_over(self, writes: Sequence[Write], events: Sequence[Event]) -> None:
        """What other hosts have done: it is so, whether this kernel follows or not. What does not is said, and looked
        over at once."""
        without = self._ledger.told
        # What this host follows it has to know also after a power cut: it may have published something there.
        durable = any(write.kind == "subscription" and write.record for write in writes)
        before = self._ledger.commit(writes, durable=durable)
        told = self._ledger.told
        parts = touched(without, told, writes)
        old, new = (self._render(moment, parts) for moment in (without, told))
        if plan := diff(old, new):
            try:
                await self._programmer.run(lambda kernel: kernel.apply(plan))
            except LinkspanError as error:
                log.error("the kernel does not follow what another host has done: %s", error)
                self.unsettled()
        await self._tell(before, writes, events)

    async def _tell(self, before: Snapshot, writes: Sequence[Write], events: Sequence[Event]) -> None:
        after = self._ledger.now
        records = (snapshot.get(w.kind, w.id) for w in writes for snapshot in (before, after))
        self._follow(before, after, {id_ for record in records if (id_ := _container_of(record))})
        if self._names:
            await self._names(before, writes)
        for event in events:
            self._events.publish(event)

    async def _take_back(self, tried: State, left: State) -> None:
        """The kernel has undone its part of the plan. But a look over the whole kernel may have come between that and
        the records' going back, and have made what they said then."""
        try:
            await self._programmer.run(lambda kernel: kernel.apply(diff(tried, left)))
        except LinkspanError as error:
            log.error("not all of a failed change could be taken back: %s", error)


async def _at_once(network_id: str) -> None:
    return


def _container_of(record: Record | None) -> str:
    match record:
        case Container(id=id_) | Endpoint(container_id=id_) | Sandbox(container_id=id_):
            return id_
    return ""
