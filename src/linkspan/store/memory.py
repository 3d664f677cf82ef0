"""A store that forgets. It keeps bytes, so that what goes through it has gone through the records' JSON form too."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from linkspan.model.snapshot import KINDS, Snapshot, Write, put


class MemoryStore:
    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], bytes] = {}

    def load(self) -> Snapshot:
        return Snapshot().after(
            put(msgspec.json.decode(body, type=KINDS[kind])) for (kind, _), body in self._rows.items()
        )

    def commit(self, writes: Sequence[Write], *, durable: bool = True) -> None:
        for write in writes:
            if write.record is None:
                self._rows.pop((write.kind, write.id), None)
            else:
                self._rows[write.kind, write.id] = msgspec.json.encode(write.record)

    def close(self) -> None:
        pass
