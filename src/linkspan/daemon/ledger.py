"""The records: the snapshot of now, and the step to the next one; and beside it the records without what is still being
asked elsewhere, of which the kernel must not know yet.

Deciding and committing happen in the event loop's thread without a wait between them, so that decisions are serial
without a lock. A commit blocks the loop while SQLite writes its log: 0.3 ms on the machine in docs/decisions/store.md.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from linkspan.model.snapshot import Snapshot, Write
from linkspan.store.contract import Store


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What was written, and is still being asked; `before` are the records before it."""

    before: Snapshot
    writes: Sequence[Write]


class Ledger:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.now: Snapshot = store.load()
        self.told = self.now  # without what is being asked: the same value while nothing is
        self._asked: Counter[tuple[str, str]] = Counter()  # the kinds and ids of what is
        self._overwritten = set[tuple[str, str]]()  # those of them that have been written since
        self._tangled = False  # two have asked for the same record

    @property
    def asking(self) -> bool:
        """Whether something is still being asked."""
        return bool(self._asked)

    def commit(self, writes: Sequence[Write], *, durable: bool = True) -> Snapshot:
        """Answers the snapshot before the writes. Raises Internal, with nothing changed, where the store refuses."""
        before = self.now
        if writes:
            self._store.commit(writes, durable=durable)
            self.now = before.after(writes)
            if self._asked:
                self._overwritten.update(key for w in writes if (key := (w.kind, w.id)) in self._asked)
                self.told = self.told.after(writes)
            else:
                self.told = self.now
        return before

    def ask(self, writes: Sequence[Write], *, durable: bool = True) -> Asked:
        """The same, for what others have yet to agree to: `grant` or `refuse` it then."""
        before = self.now
        self._store.commit(writes, durable=durable)
        self.now = before.after(writes)
        keys = [(write.kind, write.id) for write in writes]
        self._tangled |= any(key in self._asked for key in keys)
        self._asked.update(keys)
        self._overwritten.difference_update(keys)
        return Asked(before, writes)

    def grant(self, asked: Asked) -> bool:
        """What was asked holds, as far as nobody has written something else since. Answers as `refuse` does."""
        still = [write for write in asked.writes if self._still(write)]
        tangled = self._answered(asked)
        if self._asked:
            self.told = self.told.after(still)
        return tangled

    def refuse(self, asked: Asked) -> bool:
        """The records as they were before; but where somebody has written something else since, that stays.

        Answers whether the kernel has to be looked over: two have asked for one record at once, and it may have been
        told of another one than holds now that all is answered.
        """
        writes = self.inverse(asked)
        self._store.commit(writes)
        self.now = self.now.after(writes)
        return self._answered(asked)

    def inverse(self, asked: Asked) -> Sequence[Write]:
        """What takes that back."""
        written = {(write.kind, write.id): write for write in asked.writes}
        return asked.before.inverse([write for write in written.values() if self._still(write)])

    def _still(self, write: Write) -> bool:
        """Whether it is as it was written."""
        key = write.kind, write.id
        return key not in self._overwritten and self.now.get(*key) == write.record

    def _answered(self, asked: Asked) -> bool:
        for write in asked.writes:
            key = write.kind, write.id
            self._asked[key] -= 1
            if not self._asked[key]:
                del self._asked[key]
                self._overwritten.discard(key)
        if self._asked:
            return False
        tangled, self._tangled = self._tangled, False
        self.told = self.now
        return tangled

    def close(self) -> None:
        self._store.close()
