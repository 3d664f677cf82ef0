"""A file into records: several documents, and lists in them. It is read whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.manifests import check
from linkspan.model.manifests.kinds import KINDS, Kind
from linkspan.model.manifests.shape import Wrong, parse_path, shaped
from linkspan.model.manifests.yaml_text import Document, Path, read_documents
from linkspan.model.resource import API_VERSION, Metadata, Resource

LARGEST = 256 << 10  # bytes of one resource, as it is stored
_MOST_SAID = 10  # of what is wrong with a file
_KINDS = {kind.name: kind for kind in KINDS}
_FIELDS = ("apiVersion", "kind", "metadata", "spec")
# What Kubernetes writes into the metadata of resources that are read from it, and nobody has said.
_BOOKKEEPING = ("generation", "managedFields", "selfLink")


def read_resources(data: bytes) -> list[Resource]:
    """In the file's order. Raises InvalidArgument, with a line of text for each resource that is wrong."""
    found: dict[tuple[str, str], Resource] = {}
    wrong: list[str] = []
    for document in read_documents(data):
        for path, value in _items(document):
            try:
                record = _record(value)
                if (key := (type(record).__name__, record.id)) in found:
                    raise Wrong(("metadata", "name"), f"{record.id} is in this file already")
                found[key] = record
            except Wrong as one:
                wrong.append(f"line {_line(document, (*path, *one.path))}: {_called(value)}{one}")
    if len(wrong) > _MOST_SAID:
        wrong = [*wrong[:_MOST_SAID], f"and {len(wrong) - _MOST_SAID} more"]
    if wrong:
        raise InvalidArgument("\n".join(wrong))
    if not found:
        raise InvalidArgument("there is no resource in it")
    return list(found.values())


def _items(document: Document) -> Iterator[tuple[Path, Any]]:
    """A List's, in lists; or the document itself."""
    value = document.value
    kind = value.get("kind") if isinstance(value, dict) else None
    items = value.get("items") if isinstance(kind, str) and kind.endswith("List") else None
    if isinstance(items, list):
        yield from ((("items", index), item) for index, item in enumerate(items))
    else:
        yield (), value


def _record(value: Any) -> Resource:
    if not isinstance(value, dict):
        raise Wrong((), "a resource is a mapping, with apiVersion, kind, metadata and spec")
    kind = _kind(value)
    for field in value:
        if field not in _FIELDS:
            raise Wrong((field,), f"unknown field: a resource has {', '.join(_FIELDS)}")
    metadata = shaped(_ours(value.get("metadata") or {}), Metadata, ("metadata",))
    check.name(("metadata", "name"), metadata.name)
    check.labels(("metadata", "labels"), metadata.labels.items())
    if kind.of_network:
        if not metadata.namespace:
            raise Wrong(("metadata", "namespace"), "the name of a network is needed")
        check.network(("metadata", "namespace"), metadata.namespace)
    elif metadata.namespace:
        raise Wrong(("metadata", "namespace"), f"a {kind.name} is of no network")
    try:
        spec = kind.checked(shaped(value.get("spec") or {}, kind.spec, ("spec",)), metadata)
    except InvalidArgument as error:  # with the field's path in front
        path, _, why = str(error).partition(": ")
        raise Wrong(parse_path(path), why) from None
    record: Resource = msgspec.convert({"metadata": metadata, "spec": spec}, kind.record)
    if len(msgspec.json.encode(record)) > LARGEST:
        raise Wrong((), f"it is too large: {LARGEST >> 10} KiB at most")
    return record


def _ours(metadata: Any) -> Any:
    if not isinstance(metadata, dict):
        return metadata
    return {key: value for key, value in metadata.items() if key not in _BOOKKEEPING}


def _kind(value: dict[str, Any]) -> Kind:
    version, kind = value.get("apiVersion"), value.get("kind")
    if version != API_VERSION:
        raise Wrong(("apiVersion",), f"{_short(version)}: only {API_VERSION} is read")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Wrong(("kind",), f"{_short(kind)}: one of {', '.join(_KINDS)}")
    return _KINDS[kind]


def _called(value: Any) -> str:
    """`NetworkPolicy shop/web: `, as far as the document says it."""
    if not isinstance(value, dict) or not isinstance(metadata := value.get("metadata"), dict):
        return ""
    kind, name, namespace = value.get("kind"), metadata.get("name"), metadata.get("namespace")
    if not isinstance(kind, str) or not isinstance(name, str):
        return ""
    return f"{kind[:60]} {f'{namespace[:60]}/' if isinstance(namespace, str) else ''}{name[:60]}: "


def _line(document: Document, path: Path) -> int:
    """Where it is; where it is not, what it should be in."""
    while path not in document.lines and path:
        path = path[:-1]
    return document.lines[path]


def _short(value: object) -> str:
    return "absent" if value is None else repr(value)[:60]
