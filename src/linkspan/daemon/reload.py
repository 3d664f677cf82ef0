"""What a running daemon takes over from a configuration that has changed, as dockerd does on SIGHUP."""

from __future__ import annotations

import dataclasses

from linkspan.daemon.configuration import Configuration

# Everything else is what containers, networks and listeners were made with: it waits for the next start.
RELOADED = ("log_level", "labels", "insecure_registries")
_SAID_ONCE = ("notes", "validate")


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """`configuration` is the one from now on; `taken` and `waiting` are names of what has changed."""

    configuration: Configuration
    taken: tuple[str, ...]
    waiting: tuple[str, ...]


def reload(current: Configuration, wanted: Configuration) -> Reload:
    changed = [
        field.name
        for field in dataclasses.fields(Configuration)
        if field.name not in _SAID_ONCE and getattr(current, field.name) != getattr(wanted, field.name)
    ]
    taken = tuple(name for name in changed if name in RELOADED)
    merged = dataclasses.replace(current, **{name: getattr(wanted, name) for name in taken})
    return Reload(merged, taken, tuple(name for name in changed if name not in RELOADED))
