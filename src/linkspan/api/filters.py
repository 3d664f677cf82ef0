"""Docker's filters on images, networks, volumes and events, and those of the prune verbs, as predicates.

The rules are those of `containers.filter`; each builder raises InvalidArgument for an unknown key or value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from linkspan.api.times import parse_moment, seconds
from linkspan.containers.filter import Filters, checked, matches_labels, matches_name, parse_flag
from linkspan.daemon.views import ContainerView, ImageView, NetworkView, VolumeView
from linkspan.errors import InvalidArgument
from linkspan.model.event import Event

_EVENT_KINDS = ("container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume", "config")
_EVENT_KEYS = (*_EVENT_KINDS, "event", "label", "scope", "type")


def images(filters: Filters, resolve: Callable[[str], ImageView], now: float) -> Callable[[ImageView], bool]:
    """`resolve` finds the images named by before and since; it raises NotFound."""
    checked(filters, ("dangling", "label", "label!", "before", "since", "reference", "until"))
    dangling = parse_flag("dangling", filters["dangling"]) if filters.get("dangling") else None
    before = min((resolve(ref).image.created for ref in filters.get("before", ())), default=None)
    since = max((resolve(ref).image.created for ref in filters.get("since", ())), default=None)
    until = _until(filters, now)
    patterns = [_glob(pattern) for pattern in filters.get("reference", ())]

    def wanted(view: ImageView) -> bool:
        image = view.image
        return (
            (dangling is None or dangling is not bool(image.tags))
            and _labels(filters, image.config.labels)
            and (before is None or image.created < before)
            and (since is None or image.created > since)
            and (until is None or (bool(image.created) and seconds(image.created) < until))
            and (not patterns or any(p.fullmatch(name) for p in patterns for name in _names(image.tags)))
        )

    return wanted


def tags_shown(filters: Filters, view: ImageView) -> ImageView:
    """With a reference asked for, only the tags that it means are told, as Docker does."""
    if not (patterns := [_glob(pattern) for pattern in filters.get("reference", ())]):
        return view
    tags = tuple(tag for tag in view.image.tags if any(p.fullmatch(name) for p in patterns for name in _names((tag,))))
    return dataclasses.replace(view, image=msgspec.structs.replace(view.image, tags=tags))


def images_to_prune(filters: Filters, now: float) -> Callable[[ImageView], bool]:
    """True for what goes: untagged images, or with dangling=false every image that no container uses."""
    checked(filters, ("dangling", "label", "label!", "until"))
    only_dangling = parse_flag("dangling", filters["dangling"]) if filters.get("dangling") else True
    until = _until(filters, now)

    def drop(view: ImageView) -> bool:
        return (
            view.containers == 0
            and not (only_dangling and view.image.tags)
            and _labels(filters, view.image.config.labels)
            and (until is None or (bool(view.image.created) and seconds(view.image.created) < until))
        )

    return drop


def containers_to_keep(filters: Filters, now: float) -> Callable[[ContainerView], bool]:
    checked(filters, ("label", "label!", "until"))
    until = _until(filters, now)
    return lambda view: (
        not _labels(filters, view.container.config.labels)
        or (until is not None and seconds(view.container.created) >= until)
    )


def networks(filters: Filters) -> Callable[[NetworkView], bool]:
    checked(filters, ("dangling", "driver", "id", "label", "name", "scope", "type"))
    dangling = parse_flag("dangling", filters["dangling"]) if filters.get("dangling") else None
    for type_ in filters.get("type", ()):
        if type_ not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter: 'type'='{type_}'")

    def wanted(view: NetworkView) -> bool:
        network = view.network
        kind = "builtin" if network.predefined else "custom"
        return (
            (dangling is None or dangling is (not view.endpoints and not network.predefined))
            and _any(filters.get("driver"), network.driver)
            and (not filters.get("id") or any(id_ in network.id for id_ in filters["id"]))
            and matches_labels(filters.get("label", ()), network.labels)
            and (not filters.get("name") or matches_name(filters["name"], network.name))
            and _any(filters.get("scope"), network.scope)
            and _any(filters.get("type"), kind)
        )

    return wanted


def networks_to_keep(filters: Filters, now: float) -> Callable[[NetworkView], bool]:
    checked(filters, ("label", "label!", "until"))
    until = _until(filters, now)
    return lambda view: (
        not _labels(filters, view.network.labels) or (until is not None and seconds(view.network.created) >= until)
    )


def volumes(filters: Filters) -> Callable[[VolumeView], bool]:
    checked(filters, ("dangling", "driver", "label", "name"))
    dangling = parse_flag("dangling", filters["dangling"]) if filters.get("dangling") else None

    def wanted(view: VolumeView) -> bool:
        volume = view.volume
        return (
            (dangling is None or dangling is not bool(view.used_by))
            and _any(filters.get("driver"), volume.driver)
            and matches_labels(filters.get("label", ()), volume.labels)
            and (not filters.get("name") or matches_name(filters["name"], volume.name))
        )

    return wanted


def volumes_to_keep(filters: Filters, *, all_by_default: bool) -> Callable[[VolumeView], bool]:
    """Since 1.42 a prune takes anonymous volumes only, unless `all` is asked for."""
    checked(filters, ("all", "label", "label!"))
    everything = parse_flag("all", filters["all"]) if filters.get("all") else all_by_default
    return lambda view: not _labels(filters, view.volume.labels) or not (everything or view.volume.anonymous)


def events(filters: Filters) -> Callable[[Event], bool]:
    checked(filters, _EVENT_KEYS)

    def wanted(event: Event) -> bool:
        attributes = event.attributes
        return (
            _any(filters.get("type"), event.kind)
            and _any(filters.get("scope"), "local")
            and _matches_action(filters.get("event", ()), event.action)
            and matches_labels(filters.get("label", ()), attributes)
            and all(_concerns(event, kind, filters[kind]) for kind in _EVENT_KINDS if filters.get(kind))
        )

    return wanted


def _matches_action(wanted: Sequence[str], action: str) -> bool:
    # `exec_create: sh -c …` is found as exec_create, `health_status: healthy` under both forms.
    return not wanted or action in wanted or action.partition(":")[0] in wanted


def _concerns(event: Event, kind: str, refs: Sequence[str]) -> bool:
    """The event is of that kind and names one of `refs`; a container filter also finds what carries its id."""
    if event.kind == kind:
        names = [event.id, event.attributes.get("name", "")]
        if kind == "image":
            names += [name.rpartition(":")[0] for name in names if not name.startswith("sha256:")]
    elif kind == "image" and event.kind == "container":
        image = event.attributes.get("image", "")
        names = [image, image.rpartition(":")[0]]
    elif kind == "container" and event.kind == "network":
        names = [event.attributes.get("container", "")]
    else:
        return False
    return any(ref in names or (len(ref) >= 4 and names[0].startswith(ref)) for ref in refs)


def _labels(filters: Filters, labels: Mapping[str, str] | None) -> bool:
    """`label` conditions all hold, and none of `label!`."""
    return matches_labels(filters.get("label", ()), labels) and not any(
        matches_labels((one,), labels) for one in filters.get("label!", ())
    )


def _until(filters: Filters, now: float) -> float | None:
    values = filters.get("until", ())
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    return parse_moment(values[0], now) if values else None


def _any(wanted: Sequence[str] | None, value: str) -> bool:
    return not wanted or value in wanted


def _names(tags: Iterable[str]) -> Iterable[str]:
    """`mysql:8` is found as mysql:8 and as mysql."""
    for tag in tags:
        yield tag
        yield tag.rpartition(":")[0]


def _glob(pattern: str) -> re.Pattern[str]:
    """Go's path.Match: `*` and `?` stop at slashes. Raises InvalidArgument."""
    parts, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if char == "[" and (end := pattern.find("]", at + 1)) > 0:
            parts.append("[" + pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[") + "]")
            at = end
        elif char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        else:
            parts.append(re.escape(char))
        at += 1
    try:
        return re.compile("".join(parts))
    except re.error:
        raise InvalidArgument(f"invalid filter 'reference={pattern}'") from None
