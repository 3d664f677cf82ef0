"""YAML into plain values, with the line that each began at. What is read is the part of YAML that people write.

The parser is libyaml's; what its events mean is decided here, so that nothing is made of a file but text, numbers,
booleans, null, lists and mappings with text for keys. A plain scalar is read as YAML 1.2 has it: `yes` and `10:20` are
text. Aliases count as what they stand for, so that a file of a few lines cannot stand for a billion values.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from linkspan.errors import InvalidArgument

LONGEST = 4 << 20  # bytes
_DEEPEST = 32  # lists and mappings in each other
_MOST = 200_000  # values, each alias counted as what it stands for
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,300}\.[0-9]*([eE][-+][0-9]{1,3})?")
_TAGS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_PARSER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

Path: TypeAlias = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """`lines` says where in the file each value is, from 1 on, by its path of keys and indexes."""

    value: Any
    lines: dict[Path, int]


def read_documents(data: bytes) -> list[Document]:
    """Those of a file that hold something. Raises InvalidArgument, which names the line."""
    if len(data) > LONGEST:
        raise InvalidArgument(f"the file is too large: {len(data)} bytes, {LONGEST} at most")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"line {number}: this is not UTF-8: {data[error.start : error.end]!r}") from None
    try:
        return [one for one in _Reader(text).documents() if one.value is not None]
    except yaml.MarkedYAMLError as error:
        raise InvalidArgument(_said(error, text)) from None
    except yaml.YAMLError as error:  # of a character that no YAML has
        at = getattr(error, "position", None)
        line = f"line {text[:at].count(chr(10)) + 1}: " if isinstance(at, int) else ""
        raise InvalidArgument(f"{line}this is not YAML: {getattr(error, 'reason', error)}") from None


class _Reader:
    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        self._anchors: dict[str, tuple[Any, int]] = {}  # what it stands for, and how many values that is
        self._count = 0
        self._lines: dict[Path, int] = {}

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                self._anchors, self._lines = {}, {}
                value = self._value(next(self._events), ())
                self._expect_end(next(self._events))
                yield Document(value, self._lines)

    def _expect_end(self, event: Any) -> None:
        assert isinstance(event, DocumentEndEvent)

    def _value(self, event: Any, path: Path) -> Any:
        line = event.start_mark.line + 1
        self._lines[path] = line
        if isinstance(event, AliasEvent):
            return self._alias(str(event.anchor), line)
        before = self._count
        self._count_one(1, line)
        if not isinstance(event, ScalarEvent) and event.tag not in (None, "!", *_TAGS):
            raise InvalidArgument(f"line {line}: the tag {event.tag} is not supported")
        if len(path) > _DEEPEST:
            raise InvalidArgument(f"line {line}: more than {_DEEPEST} lists and mappings in each other")
        if isinstance(event, ScalarEvent):
            value: Any = _scalar(event, line)
        elif isinstance(event, SequenceStartEvent):
            value = self._list(path)
        else:
            value = self._mapping(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _list(self, path: Path) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = event.start_mark.line + 1
            key = _scalar(event, line) if isinstance(event, ScalarEvent) else None
            if not isinstance(key, str):
                raise InvalidArgument(f"line {line}: a key must be text")
            if key == "<<" and event.implicit[0]:
                raise InvalidArgument(f"line {line}: merging mappings (<<) is not supported: write the fields out")
            if key in values:
                raise InvalidArgument(f"line {line}: the key {key} is there already")
            values[key] = self._value(next(self._events), (*path, key))
            self._lines[(*path, key)] = line
        return values

    def _alias(self, name: str, line: int) -> Any:
        if name not in self._anchors:
            raise InvalidArgument(f"line {line}: *{name} stands for nothing above it")
        value, size = self._anchors[name]
        self._count_one(size, line)
        return value

    def _count_one(self, more: int, line: int) -> None:
        self._count += more
        if self._count > _MOST:
            raise InvalidArgument(f"line {line}: more than {_MOST} values up to here, with what aliases stand for")


def _scalar(event: ScalarEvent, line: int) -> Any:
    text: str = event.value
    if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
        raise InvalidArgument(f"line {line}: the tag {event.tag} is not supported")
    if event.tag is not None or not event.implicit[0]:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _said(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"this is not YAML: {error}"
    lines = text.splitlines()
    shown = lines[mark.line] if mark.line < len(lines) else ""
    why = str(error.problem or error.context)
    if "\t" in shown[: mark.column + 1]:
        why = "lines are indented by spaces, not tabs"
    return f"line {mark.line + 1}: this is not YAML: {why}: {shown.strip()[:60]!r}"
