"""What a decision says: the records to write and the events to tell once it is done."""

from __future__ import annotations

import dataclasses

from linkspan.model.event import Event
from linkspan.model.network import Network
from linkspan.model.snapshot import Write


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()
    warnings: tuple[str, ...] = ()


def network_event(action: str, network: Network, container_id: str = "") -> Event:
    attributes = {"name": network.name, "type": network.driver}
    if container_id:
        attributes["container"] = container_id
    return Event(kind="network", action=action, id=network.id, attributes=attributes)
