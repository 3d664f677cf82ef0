"""Selectors: what says by labels whom a policy, or a rule of one, is about. The grammar is Calico's, all of it.

    app == "web"      app != "web"      app in {"web", "api"}      app not in {"web"}
    has(app)          app contains "w"  app starts with "w"        app ends with "b"
    all()             global()          !x      x && y      x || y      (x)

`!=` and `not in` are true of what has no such label; `contains`, `starts with` and `ends with` are not. Strings stand
in either kind of quotes, and have no escapes. An empty selector is `all()`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn, TypeAlias

from linkspan.errors import InvalidArgument

LONGEST = 4096  # characters
_DEEPEST = 64  # parentheses in each other
NAMESPACE = "projectcalico.org/namespace"  # the label that says which network an endpoint is on
LABEL = re.compile(r"[a-zA-Z0-9_./-]{1,512}")
Labels: TypeAlias = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class All:
    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "all()"


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
    """Of what is on no network: sets of addresses, and the hosts themselves."""

    def matches(self, labels: Labels) -> bool:
        return NAMESPACE not in labels

    def __str__(self) -> str:
        return "global()"


@dataclasses.dataclass(frozen=True, slots=True)
class Has:
    label: str

    def matches(self, labels: Labels) -> bool:
        return self.label in labels

    def __str__(self) -> str:
        return f"has({self.label})"


@dataclasses.dataclass(frozen=True, slots=True)
class Equal:
    label: str
    value: str

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) == self.value

    def __str__(self) -> str:
        return f"{self.label} == {_quoted(self.value)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Unequal:
    label: str
    value: str

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) != self.value

    def __str__(self) -> str:
        return f"{self.label} != {_quoted(self.value)}"


@dataclasses.dataclass(frozen=True, slots=True)
class In:
    label: str
    values: frozenset[str]

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) in self.values

    def __str__(self) -> str:
        return f"{self.label} in {_set(self.values)}"


@dataclasses.dataclass(frozen=True, slots=True)
class NotIn:
    label: str
    values: frozenset[str]

    def matches(self, labels: Labels) -> bool:
        return labels.get(self.label) not in self.values

    def __str__(self) -> str:
        return f"{self.label} not in {_set(self.values)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Contains:
    label: str
    value: str

    def matches(self, labels: Labels) -> bool:
        return (found := labels.get(self.label)) is not None and self.value in found

    def __str__(self) -> str:
        return f"{self.label} contains {_quoted(self.value)}"


@dataclasses.dataclass(frozen=True, slots=True)
class StartsWith:
    label: str
    value: str

    def matches(self, labels: Labels) -> bool:
        return (found := labels.get(self.label)) is not None and found.startswith(self.value)

    def __str__(self) -> str:
        return f"{self.label} starts with {_quoted(self.value)}"


@dataclasses.dataclass(frozen=True, slots=True)
class EndsWith:
    label: str
    value: str

    def matches(self, labels: Labels) -> bool:
        return (found := labels.get(self.label)) is not None and found.endswith(self.value)

    def __str__(self) -> str:
        return f"{self.label} ends with {_quoted(self.value)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Not:
    of: Selector

    def matches(self, labels: Labels) -> bool:
        return not self.of.matches(labels)

    def __str__(self) -> str:
        return f"!{self.of}" if isinstance(self.of, All | Global | Has) else f"!({self.of})"


@dataclasses.dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Selector, ...]  # two at least

    def matches(self, labels: Labels) -> bool:
        return all(part.matches(labels) for part in self.parts)

    def __str__(self) -> str:
        return " && ".join(f"({part})" if isinstance(part, And | Or) else str(part) for part in self.parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Selector, ...]

    def matches(self, labels: Labels) -> bool:
        return any(part.matches(labels) for part in self.parts)

    def __str__(self) -> str:
        return " || ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


Selector: TypeAlias = (
    All | Global | Has | Equal | Unequal | In | NotIn | Contains | StartsWith | EndsWith | Not | And | Or
)


@functools.lru_cache(maxsize=65536)
def parse(text: str) -> Selector:
    """Raises InvalidArgument, which says where in the text."""
    if len(text) > LONGEST:
        raise InvalidArgument(f"selector: longer than {LONGEST} characters")
    return _Parser(text).whole()


def parts_of(selector: Selector) -> Iterator[Selector]:
    """It, and all that it is made of."""
    yield selector
    match selector:
        case Not(of=one):
            yield from parts_of(one)
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from parts_of(part)


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'  # no string that can be written has both


def _set(values: frozenset[str]) -> str:
    return f"{{{', '.join(map(_quoted, sorted(values)))}}}"


_SPACE = re.compile(r"\s*")
_STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_HAS = re.compile(rf"has\(\s*({LABEL.pattern})\s*\)")
_CALL = re.compile(r"(all|global)\(\s*\)")
# After a label's name; a label may have the name of an operator, too.
_OPERATOR = re.compile(r"==|!=|not\s*in\b|in\b|contains\b|starts\s*with\b|ends\s*with\b")
_COMPARISONS: Mapping[str, type[Equal | Unequal | Contains | StartsWith | EndsWith]] = {
    "==": Equal,
    "!=": Unequal,
    "contains": Contains,
    "startswith": StartsWith,
    "endswith": EndsWith,
}


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def whole(self) -> Selector:
        self._skip()
        if self._at == len(self._text):
            return All()
        found = self._or()
        if self._at < len(self._text):
            self._fail("&&, || or the end")
        return found

    def _or(self) -> Selector:
        parts = [self._and()]
        while self._take("||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Selector:
        parts = [self._operation()]
        while self._take("&&"):
            parts.append(self._operation())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _operation(self) -> Selector:
        negated = False
        while self._take("!"):
            negated = not negated
        found = self._plain()
        return Not(found) if negated else found

    def _plain(self) -> Selector:
        if self._take("("):
            self._depth += 1
            if self._depth > _DEEPEST:
                self._fail(f"fewer than {_DEEPEST} parentheses in each other")
            inner = self._or()
            self._need(")")
            self._depth -= 1
            return inner
        if has := self._match(_HAS):
            return Has(has[1])
        if call := self._match(_CALL):
            return All() if call[1] == "all" else Global()
        label = self._match(LABEL)
        if label is None:
            self._fail("a label, has(…), all(), global() or (")
        return self._comparison(label[0])

    def _comparison(self, label: str) -> Selector:
        operator = self._match(_OPERATOR)
        if operator is None:
            self._fail(f"==, !=, in, not in, contains, starts with or ends with after the label {label}")
        name = re.sub(r"\s", "", operator[0])
        if name in ("in", "notin"):
            values = self._values()
            return In(label, values) if name == "in" else NotIn(label, values)
        return _COMPARISONS[name](label, self._string())

    def _values(self) -> frozenset[str]:
        self._need("{")
        values: list[str] = []
        while not self._take("}"):
            if values:
                self._need(",")
                if self._take("}"):  # a comma may be the last
                    break
            values.append(self._string())
        return frozenset(values)

    def _string(self) -> str:
        found = self._match(_STRING)
        if found is None:
            self._fail("a string in quotes")
        return found[1] if found[1] is not None else found[2]

    def _need(self, mark: str) -> None:
        if not self._take(mark):
            self._fail(mark)

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        self._skip()
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
            self._skip()
        return found

    def _skip(self) -> None:
        if found := _SPACE.match(self._text, self._at):
            self._at = found.end()

    def _fail(self, wanted: str) -> NoReturn:
        rest = self._text[self._at : self._at + 20]
        found = f"at {rest!r} (character {self._at + 1})" if rest else "at its end"
        shown = self._text if len(self._text) <= 100 else f"{self._text[:97]}..."
        raise InvalidArgument(f"selector {shown!r}: expected {wanted} {found}")
