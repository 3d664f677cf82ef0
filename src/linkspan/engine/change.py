"""What a decision says: the records to write and the events to tell once it is done."""

from __future__ import annotations

import dataclasses

from linkspan.model.event import Event
from linkspan.model.snapshot import Write


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()
    warnings: tuple[str, ...] = ()
