"""Docker's filters on lists of containers, as one predicate.

Values of one key are alternatives, keys are conditions that must all hold; of `label` every value must hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from linkspan.errors import InvalidArgument
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.port import ContainerPort, parse_container_ports

STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
HEALTH = ("none", "starting", "healthy", "unhealthy")
Filters = Mapping[str, Sequence[str]]


class Place(Protocol):
    """One of a container's places on networks."""

    @property
    def network(self) -> Network: ...
    @property
    def endpoint(self) -> Endpoint | None: ...


class Listed(Protocol):
    """What a filter looks at."""

    @property
    def container(self) -> Container: ...
    @property
    def attachments(self) -> Sequence[Place]: ...


Predicate = Callable[[Listed], bool]


class Lookup(Protocol):
    """How names in filters become objects."""

    def created(self, ref: str) -> str:
        """The time stamp of a container's creation. Raises NotFound."""

    def images(self, ref: str) -> Collection[str]:
        """The ids of the images that `ref` names, with those built on them; empty where there is none."""


def compile_filters(filters: Filters, lookup: Lookup) -> Predicate:
    """Raises InvalidArgument for an unknown key or value, NotFound where before or since name no container."""
    tests = [_TESTS[key](values, lookup) for key, values in checked(filters, _TESTS).items() if values]
    return lambda listed: all(test(listed) for test in tests)


def wants_stopped(filters: Filters) -> bool:
    """A status asked for by name lists stopped containers too."""
    return bool(filters.get("status"))


def checked(filters: Filters, known: Collection[str]) -> Filters:
    """The filters, when each key is known. Raises InvalidArgument."""
    for key in filters:
        if key not in known:
            raise InvalidArgument(f"invalid filter '{key}'")
    return filters


def matches_labels(wanted: Sequence[str], labels: Mapping[str, str] | None) -> bool:
    """`key` or `key=value`, every one."""
    have = labels or {}
    for one in wanted:
        key, equals, value = one.partition("=")
        if key not in have or (equals and have[key] != value):
            return False
    return True


def matches_name(wanted: Sequence[str], name: str) -> bool:
    """A part of the name, or a regular expression, any one."""
    return any(one == name or _search(one, name) for one in wanted)


def parse_flag(key: str, values: Sequence[str]) -> bool:
    """The value of a yes-or-no filter. Raises InvalidArgument."""
    readings = {value.lower() in ("1", "t", "true") for value in values}
    if len(readings) != 1 or any(value.lower() not in ("1", "t", "true", "0", "f", "false") for value in values):
        raise InvalidArgument(f"invalid filter '{key}={','.join(values)}'")
    return readings.pop()


def _search(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _ancestor(values: Sequence[str], lookup: Lookup) -> Predicate:
    ids = {id_ for value in values for id_ in lookup.images(value)}
    names = set(values)
    return lambda listed: listed.container.image_id in ids or listed.container.config.image in names


def _before(values: Sequence[str], lookup: Lookup) -> Predicate:
    bound = min(lookup.created(value) for value in values)
    return lambda listed: listed.container.created < bound


def _since(values: Sequence[str], lookup: Lookup) -> Predicate:
    bound = max(lookup.created(value) for value in values)
    return lambda listed: listed.container.created > bound


def _exited(values: Sequence[str], _: Lookup) -> Predicate:
    try:
        codes = {int(value) for value in values}
    except ValueError:
        raise InvalidArgument(f"invalid filter 'exited={','.join(values)}'") from None
    return lambda listed: (
        listed.container.state.status in ("exited", "dead") and (listed.container.state.exit_code in codes)
    )


def _id(values: Sequence[str], _: Lookup) -> Predicate:
    return lambda listed: any(listed.container.id.startswith(value) for value in values)


def _isolation(values: Sequence[str], _: Lookup) -> Predicate:
    return lambda listed: (listed.container.host_config.isolation or "default") in values


def _is_task(values: Sequence[str], _: Lookup) -> Predicate:
    wanted = parse_flag("is-task", values)
    return lambda listed: not wanted  # there is no swarm, so no container is a task


def _label(values: Sequence[str], _: Lookup) -> Predicate:
    return lambda listed: matches_labels(values, listed.container.config.labels)


def _name(values: Sequence[str], _: Lookup) -> Predicate:
    # Both with the slash and without: `^/web$` and `^web$` are both in use.
    return lambda listed: (
        matches_name(values, listed.container.name) or matches_name(values, "/" + listed.container.name)
    )


def _status(values: Sequence[str], _: Lookup) -> Predicate:
    for value in values:
        if value not in STATUSES:
            raise InvalidArgument(f"invalid filter 'status={value}'")
    return lambda listed: listed.container.state.status in values


def _health(values: Sequence[str], _: Lookup) -> Predicate:
    for value in values:
        if value not in HEALTH:
            raise InvalidArgument(f"invalid filter 'health={value}'")

    def has(listed: Listed) -> bool:
        health = listed.container.state.health
        return (health.status if health else "none") in values

    return has


def _volume(values: Sequence[str], _: Lookup) -> Predicate:
    return lambda listed: any(
        value in (mount.name, mount.source, mount.destination) for mount in listed.container.mounts for value in values
    )


def _network(values: Sequence[str], _: Lookup) -> Predicate:
    return lambda listed: any(
        value and (value == place.network.name or place.network.id.startswith(value))
        for place in listed.attachments
        for value in values
    )


def _ports(key: str, values: Sequence[str]) -> frozenset[ContainerPort]:
    try:
        return frozenset(port for value in values for port in parse_container_ports(value))
    except InvalidArgument:
        raise InvalidArgument(f"invalid filter '{key}={','.join(values)}'") from None


def _publish(values: Sequence[str], _: Lookup) -> Predicate:
    wanted = _ports("publish", values)
    return lambda listed: any(
        ContainerPort(binding.container_port, binding.protocol) in wanted
        or ContainerPort(binding.port, binding.protocol) in wanted
        for place in listed.attachments
        if place.endpoint is not None
        for binding in place.endpoint.bindings
    )


def _expose(values: Sequence[str], _: Lookup) -> Predicate:
    wanted = _ports("expose", values)
    return lambda listed: any(
        port in wanted for spec in listed.container.config.exposed_ports or () for port in parse_container_ports(spec)
    )


_TESTS: dict[str, Callable[[Sequence[str], Lookup], Predicate]] = {
    "ancestor": _ancestor,
    "before": _before,
    "since": _since,
    "exited": _exited,
    "expose": _expose,
    "health": _health,
    "id": _id,
    "is-task": _is_task,
    "isolation": _isolation,
    "label": _label,
    "name": _name,
    "network": _network,
    "publish": _publish,
    "status": _status,
    "volume": _volume,
}
