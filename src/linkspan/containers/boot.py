"""The order in which containers start by themselves: whoever needs another one starts after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from linkspan.containers.lifecycle import starts_at_boot
from linkspan.errors import LinkspanError
from linkspan.model.container import Container
from linkspan.model.names import parse_link
from linkspan.model.snapshot import Snapshot


def needs(snapshot: Snapshot, container: Container) -> frozenset[str]:
    """The ids of the containers that this one starts after, as far as they are there."""
    # A link on a network with names is only a name: it is better to start after it, and possible without.
    names = (link for settings in container.networks.values() for link in settings.links or ())
    return cannot_do_without(snapshot, container) | _found(snapshot, container, (parse_link(n)[0] for n in names))


def cannot_do_without(snapshot: Snapshot, container: Container) -> frozenset[str]:
    """Those of `needs` that have to run when it starts: whose sandbox, processes or memory it shares, and those that
    it is linked to on the default bridge."""
    host = container.host_config
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    shared = (mode.removeprefix("container:") for mode in modes if mode.startswith("container:"))
    return _found(snapshot, container, (*shared, *(parse_link(link)[0] for link in host.links or ())))


def _found(snapshot: Snapshot, container: Container, refs: Iterable[str]) -> frozenset[str]:
    found = set[str]()
    for ref in refs:
        with contextlib.suppress(LinkspanError):  # it is gone: the start itself says so, where it matters
            found.add(snapshot.container(ref).id)
    return frozenset(found - {container.id})


def boot_order(snapshot: Snapshot) -> list[Container]:
    """What is to start when the daemon does, each after those that it needs; else as they were made.

    Also along a chain of which some links start by other means, or not at all. A circle is broken somewhere.
    """
    wanted = [c for c in snapshot.containers.values() if not c.state.running and starts_at_boot(c)]
    ordered: dict[str, Container] = {}
    _append(snapshot, sorted(snapshot.containers.values(), key=lambda c: (c.created, c.id)), ordered)
    ids = {container.id for container in wanted}
    return [container for id_, container in ordered.items() if id_ in ids]


def _append(snapshot: Snapshot, containers: Iterable[Container], ordered: dict[str, Container]) -> None:
    """Appends each, behind what it needs. Without recursion: a chain may be as long as there are containers."""
    under_way = set[str]()
    stack = [(container, False) for container in reversed(list(containers))]
    while stack:
        container, ready = stack.pop()
        if container.id in ordered:
            continue
        if ready:
            ordered[container.id] = container
        elif container.id not in under_way:
            under_way.add(container.id)
            stack.append((container, True))
            before = (snapshot.containers[id_] for id_ in needs(snapshot, container))
            later = sorted(before, key=lambda c: (c.created, c.id), reverse=True)
            stack += [(one, False) for one in later if one.id not in under_way]
