"""The records: the snapshot of now, and the step to the next one.

Deciding and committing happen in the event loop's thread without a wait between them, so that decisions are serial
without a lock. A commit blocks the loop while SQLite writes its log: 0.3 ms on the machine in docs/decisions/store.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.model.snapshot import Snapshot, Write
from linkspan.store.contract import Store


class Ledger:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.now: Snapshot = store.load()

    def commit(self, writes: Sequence[Write], *, durable: bool = True) -> Snapshot:
        """Answers the snapshot before the writes. Raises Internal, with nothing changed, where the store refuses."""
        before = self.now
        if writes:
            self._store.commit(writes, durable=durable)
            self.now = before.after(writes)
        return before

    def close(self) -> None:
        self._store.close()
