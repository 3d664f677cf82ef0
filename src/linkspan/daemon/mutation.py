"""One change, carried out: the intent is recorded, then the kernel is made to follow; or nothing of it is left."""

from __future__ import annotations

from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.programmer import Programmer
from linkspan.engine.change import Change
from linkspan.engine.render import Drivers, render_touched
from linkspan.state.plan import diff


class Mutation:
    def __init__(self, ledger: Ledger, programmer: Programmer, drivers: Drivers, events: Events) -> None:
        self._ledger, self._programmer, self._drivers, self._events = ledger, programmer, drivers, events

    async def carry_out(self, change: Change) -> None:
        """Raises what the kernel or the store raised, with records and kernel as they were.

        Not to be cancelled half-way: the verbs run in tasks of their own, which a client that goes away does not end.
        """
        writes = change.writes
        # Sandboxes and endpoints stand for what a power cut takes away with them: they need not outlive it.
        passing = all(write.kind in ("sandbox", "endpoint") for write in writes)
        before = self._ledger.commit(writes, durable=not passing)
        plan = diff(
            render_touched(before, writes, self._drivers), render_touched(self._ledger.now, writes, self._drivers)
        )
        if plan:
            try:
                await self._programmer.run(lambda kernel: kernel.apply(plan))
            except Exception:
                # The kernel has undone its part of the plan.
                self._ledger.commit(before.inverse(writes))
                raise
        for event in change.events:
            self._events.publish(event)
