"""Go templates, as --format takes them, on JSON values.

Fields (`.State.Pid`), variables, `if`/`else`/`range`/`with`/`end`, pipes, Go's comparison functions, `index`, `len`,
`print`, `printf`, `println`, and Docker's own: `json`, `split`, `join`, `lower`, `upper`, `title`, `pad`, `truncate`.
A field that no key matches exactly is looked for whatever its capitals, as `.ID` is `Id` in Docker's JSON. A value may
be a function: then it is a method, and takes the arguments that follow it (`{{.Label "com.example"}}`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from linkspan.cli.failure import Failure

_ACTION = re.compile(
    r"\{\{(?P<left>- )?\s*(?P<comment>/\*.*?\*/)?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|.)*?)\s*(?P<right> -)?\}\}",
    re.S,
)
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:\\.|[^\"\\])*\"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<field>(?:\$\w*)?(?:\.\w+)+|\.|\$\w*)"
    r"|(?P<word>\w+)|(?P<sign>:=|[|(),=]))"
)

Scope = dict[str, Any]
Function = Callable[..., Any]


class TemplateError(Failure):
    """The template is wrong, or does not fit the value."""


class _Missing:
    """A map's key that is not there: `<no value>`."""


MISSING = _Missing()


class _Break(Exception):
    """`{{break}}`"""


class _Continue(Exception):
    """`{{continue}}`"""


def render(text: str, value: object, *, strict: bool = True) -> str:
    """The template applied to the value. With `strict` a key that is not there is an error. Raises TemplateError."""
    return Template(text).render(value, strict=strict)


class Template:
    def __init__(self, text: str) -> None:
        self._pieces = _split(text)
        self._nodes, end = self._parse(0, ())
        if end < len(self._pieces):
            raise TemplateError(f"template parsing error: template: :1: unexpected {{{{{self._pieces[end][1]}}}}}")

    def render(self, value: object, *, strict: bool = True) -> str:
        output: list[str] = []
        _Run(value, strict, output).nodes(self._nodes, {"$": value}, value)
        return "".join(output)

    def _parse(self, at: int, ends: tuple[str, ...]) -> tuple[list[Any], int]:
        nodes: list[Any] = []
        while at < len(self._pieces):
            kind, text = self._pieces[at]
            if kind == "text":
                nodes.append(("text", text))
                at += 1
                continue
            word, _, rest = text.partition(" ")
            if word in ends or word in ("end", "else"):
                if not ends:
                    raise TemplateError(f"template parsing error: template: :1: unexpected {{{{{word}}}}}")
                return nodes, at
            if word in ("if", "with", "range"):
                node, at = self._block(word, rest, at + 1)
                nodes.append(node)
                continue
            nodes.append((word, None) if text in ("break", "continue") else ("action", _pipeline_of(text)))
            at += 1
        if ends:
            raise TemplateError("template parsing error: template: :1: unexpected EOF")
        return nodes, at

    def _block(self, word: str, rest: str, at: int) -> tuple[Any, int]:
        body, at = self._parse(at, ("else", "end"))
        other: list[Any] = []
        keyword, _, more = self._pieces[at][1].partition(" ")
        if keyword == "else":
            if more.strip():
                inner, _, condition = more.strip().partition(" ")
                node, at = self._block(inner, condition, at + 1)
                return (word, _pipeline_of(rest), body, [node]), at
            other, at = self._parse(at + 1, ("end",))
        return (word, _pipeline_of(rest), body, other), at + 1


def _split(text: str) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    position, trim = 0, False
    while position < len(text):
        match = _ACTION.search(text, position)
        start = text.find("{{", position)
        if start >= 0 and (match is None or match.start() > start):
            raise TemplateError("template parsing error: template: :1: unclosed action")
        plain = text[position : match.start() if match else len(text)]
        if trim:
            plain = plain.lstrip()
        if match and match["left"]:
            plain = plain.rstrip()
        if plain:
            pieces.append(("text", plain))
        if match is None:
            break
        if not match["comment"]:
            if not match["body"].strip():
                raise TemplateError("template parsing error: template: :1: missing value for command")
            pieces.append(("action", match["body"].strip()))
        position, trim = match.end(), bool(match["right"])
    return pieces


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise TemplateError(
                f"template parsing error: template: :1: unexpected {text[position:].split()[0]!r} in operand"
            )
        kind = match.lastgroup or ""
        if kind == "field" and match.start(kind) > 0 and text[match.start(kind) - 1] == ")":
            kind = "after"  # `(…).Field`
        tokens.append((kind, match[match.lastgroup or 0]))
        position = match.end()
    return tokens


def _pipeline_of(text: str) -> Any:
    tokens = _tokens(text)
    node, end = _pipeline(tokens, 0)
    if end < len(tokens):
        raise TemplateError(f"template parsing error: template: :1: unexpected {tokens[end][1]!r} in command")
    return node


def _pipeline(tokens: list[tuple[str, str]], at: int) -> tuple[Any, int]:
    """([variables], sign, [commands]); a command is a list of operands."""
    names: list[str] = []
    sign = ""
    look = at
    while look < len(tokens) and (
        (tokens[look][0] == "field" and tokens[look][1].startswith("$")) or tokens[look][1] == ","
    ):
        look += 1
    if look < len(tokens) and tokens[look][1] in (":=", "="):
        names = [text for kind, text in tokens[at:look] if kind == "field"]
        sign, at = tokens[look][1], look + 1
    commands: list[list[Any]] = [[]]
    while at < len(tokens):
        kind, text = tokens[at]
        if text == ")" and kind == "sign":
            break
        at += 1
        if kind == "sign" and text == "|":
            commands.append([])
        elif kind == "sign" and text == "(":
            inner, at = _pipeline(tokens, at)
            if at >= len(tokens):
                raise TemplateError("template parsing error: template: :1: unclosed left paren")
            at += 1
            operand: Any = ("pipeline", inner)
            while at < len(tokens) and tokens[at][0] == "after":
                operand = ("field of", operand, tokens[at][1].split(".")[1:])
                at += 1
            commands[-1].append(operand)
        elif kind == "sign":
            raise TemplateError(f"template parsing error: template: :1: unexpected {text!r} in operand")
        else:
            commands[-1].append((kind, text))
    if not all(commands):
        raise TemplateError("template parsing error: template: :1: missing value for command")
    for command in commands:
        for kind, text, *_ in command:
            if kind == "word" and text not in FUNCTIONS and text not in ("true", "false", "nil", "and", "or"):
                raise TemplateError(f'template parsing error: template: :1: function "{text}" not defined')
    return (names, sign, commands), at


class _Run:
    """One application of a template."""

    def __init__(self, root: object, strict: bool, output: list[str]) -> None:
        self._root, self._strict, self._output = root, strict, output

    def nodes(self, nodes: list[Any], scope: Scope, dot: object) -> None:
        for node in nodes:
            match node[0]:
                case "text":
                    self._output.append(node[1])
                case "action":
                    value = self._assigned(node[1], scope, dot)
                    if not node[1][0]:
                        self._output.append(shown(value))
                case "if" | "with":
                    inner = dict(scope) if node[1][1] == ":=" else scope
                    value = self._assigned(node[1], inner, dot)
                    chosen = node[2] if truth(value) else node[3]
                    self.nodes(chosen, inner, value if node[0] == "with" and truth(value) else dot)
                case "range":
                    self._range(node, scope, dot)
                case "break":
                    raise _Break
                case _:
                    raise _Continue

    def _range(self, node: Any, scope: Scope, dot: object) -> None:
        (names, _, _), body, other = node[1], node[2], node[3]
        value = self._pipe(node[1], scope, dot)
        items: list[tuple[Any, Any]]
        if isinstance(value, dict):
            items = sorted(value.items())
        elif isinstance(value, list):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(number, number) for number in range(value)]
        elif value is None or value is MISSING:
            items = []
        else:
            raise TemplateError(f"template: :1: range can't iterate over {shown(value)}")
        for key, item in items:
            inner = {**scope, **dict(zip(names, (key, item) if len(names) > 1 else (item,), strict=False))}
            try:
                self.nodes(body, inner, item)
            except _Continue:
                pass
            except _Break:
                break
            scope.update({name: inner[name] for name in scope if name not in names and name != "$"})
        if not items:
            self.nodes(other, scope, dot)

    def _assigned(self, pipeline: Any, scope: Scope, dot: object) -> Any:
        value = self._pipe(pipeline, scope, dot)
        for name in pipeline[0]:
            scope[name] = value
        return value

    def _pipe(self, pipeline: Any, scope: Scope, dot: object) -> Any:
        value: Any = None
        for number, command in enumerate(pipeline[2]):
            value = self._command(command, scope, dot, [value] if number else [])
        return value

    def _command(self, command: list[Any], scope: Scope, dot: object, piped: list[Any]) -> Any:
        kind, text = command[0][0], command[0][1]
        if kind == "word" and text in ("and", "or"):
            return self._logic(text, command[1:], scope, dot, piped)
        if kind == "word" and text in FUNCTIONS:
            return self._call(text, FUNCTIONS[text], [self._operand(o, scope, dot) for o in command[1:]] + piped)
        value = self._operand(command[0], scope, dot)
        arguments = [self._operand(operand, scope, dot) for operand in command[1:]] + piped
        if callable(value):
            return self._call(text, value, arguments)
        if arguments:
            raise TemplateError(f"template: :1: can't give argument to non-function {text}")
        return value

    def _logic(self, word: str, operands: list[Any], scope: Scope, dot: object, piped: list[Any]) -> Any:
        value: Any = None
        for operand in operands:
            value = self._operand(operand, scope, dot)
            if truth(value) == (word == "or"):
                return value
        return piped[0] if piped else value

    def _call(self, name: str, function: Function, arguments: list[Any]) -> Any:
        try:
            return function(*(None if argument is MISSING else argument for argument in arguments))
        except TemplateError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise TemplateError(f"template: :1: error calling {name.lstrip('.')}: {error}") from None

    def _operand(self, operand: Any, scope: Scope, dot: object) -> Any:
        kind, text = operand[0], operand[1]
        match kind:
            case "string":
                return text[1:-1] if text[0] == "`" else json.loads(text)
            case "number":
                return float(text) if "." in text else int(text)
            case "pipeline":
                return self._pipe(text, scope, dot)
            case "field of":
                return self._fields(self._operand(text, scope, dot), operand[2])
            case "word":
                if text in ("true", "false", "nil"):
                    return {"true": True, "false": False, "nil": None}[text]
                return self._call(text, FUNCTIONS[text], [])
            case _:
                variable, *names = text.split(".")
                if text == ".":
                    return dot
                if variable and variable not in scope:
                    raise TemplateError(f'template parsing error: template: :1: undefined variable "{variable}"')
                return self._fields(scope[variable] if variable else dot, names)

    def _fields(self, value: Any, names: list[str]) -> Any:
        for name in names:
            if isinstance(value, dict):
                if name in value:
                    value = value[name]
                    continue
                near = [key for key in value if isinstance(key, str) and key.lower() == name.lower()]
                if near:
                    value = value[near[0]]
                    continue
                if self._strict:
                    raise TemplateError(
                        f'template parsing error: template: :1: executing "" at <.{".".join(names)}>: '
                        f'map has no entry for key "{name}"'
                    )
                value = MISSING
            elif value is None or value is MISSING:
                if value is None and self._strict:
                    raise TemplateError(
                        f'template parsing error: template: :1: executing "" at <.{".".join(names)}>: '
                        f'nil data; no entry for key "{name}"'
                    )
                return MISSING
            else:
                raise TemplateError(
                    f'template parsing error: template: :1: executing "" at <.{".".join(names)}>: '
                    f"can't evaluate field {name} in type {_type(value)}"
                )
        return value


def truth(value: object) -> bool:
    """Go's truth: not false, 0, nil, or empty."""
    return bool(value) and value is not MISSING


def shown(value: object) -> str:
    """A value as Go's fmt prints it."""
    if value is None or value is MISSING:
        return "<no value>"
    return _go(value)


def _go(value: object) -> str:
    if value is None or value is MISSING:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if not value.is_integer() or abs(value) >= 1e21 else str(int(value))
    if isinstance(value, dict):
        if not value:
            return "map[]"
        if set(value) == {"HostIp", "HostPort"}:  # Docker's binding is a struct, which Go prints without names
            return "{" + " ".join(_go(value[key]) for key in ("HostIp", "HostPort")) + "}"
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_go(item) for item in value) + "]"
    return str(value)


def _type(value: object) -> str:
    return {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}"}.get(
        type(value), "interface {}"
    )


class Methods(dict[str, Any]):
    """A row of a table: in Docker's command each field is a method, and its JSON is written in another way."""


_HTML = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def to_json(value: object) -> str:
    """Compact JSON as Docker's command writes it: the keys of maps sorted; in rows also `<`, `>` and `&` escaped."""
    if isinstance(value, Methods):
        plain = {key: item for key, item in sorted(value.items()) if not callable(item)}
        return json.dumps(plain, separators=(",", ":"), ensure_ascii=False).translate(_HTML)
    return json.dumps(_sorted(value), separators=(",", ":"), ensure_ascii=False)


def _sorted(value: object) -> object:
    """Go sorts the keys of a map, and keeps the fields of a struct, whose names all begin with a capital."""
    if isinstance(value, dict):
        is_struct = all(re.fullmatch(r"[A-Z]\w*", key) for key in value)
        items = value.items() if is_struct else sorted(value.items())
        return {key: _sorted(item) for key, item in items}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise ValueError("index of untyped nil")
        if isinstance(value, dict):
            value = value.get(key, MISSING if len(keys) == 1 else None)
        elif isinstance(value, (list, str)):
            if not -1 < key < len(value):
                raise ValueError(f"reflect: slice index out of range: {key}")
            value = value[key]
        else:
            raise ValueError(f"can't index item of type {_type(value)}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds)] if len(bounds) != 1 else value[bounds[0] :]


def _printf(pattern: str, *arguments: Any) -> str:
    rest = list(arguments)

    def one(match: re.Match[str]) -> str:
        if match[2] == "%":
            return "%"
        if not rest:
            return f"%!{match[2]}(MISSING)"
        value = rest.pop(0)
        match match[2]:
            case "v" | "s":
                return (
                    f"%{match[1]}s" % _go(value) if isinstance(value, (str, int, float)) or not match[1] else _go(value)
                )
            case "q":
                return json.dumps(str(value), ensure_ascii=False)
            case "d" | "x" | "X" | "o" | "c" | "f" | "g" | "e":
                return str(f"%{match[1]}{match[2]}" % value)
            case "t":
                return _go(value)
            case "T":
                return _type(value)
            case other:
                return f"%!{other}({_type(value)}={_go(value)})"

    return re.sub(r"%([-+# 0]*\d*(?:\.\d+)?)([a-zA-Z%])", one, pattern)


def _equal(value: Any, *others: Any) -> bool:
    return any(value == other for other in others)


def _print(*values: Any) -> str:
    text = ""
    for number, value in enumerate(values):
        # Go puts a space between two operands when neither is a string.
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            text += " "
        text += _go(value)
    return text


def _truncate(text: str, length: int) -> str:
    return text[:length]


FUNCTIONS: dict[str, Function] = {
    "and": lambda *values: values[-1],
    "or": lambda *values: values[-1],
    "not": lambda value: not truth(value),
    "eq": _equal,
    "ne": lambda one, two: bool(one != two),
    "lt": lambda one, two: bool(one < two),
    "le": lambda one, two: bool(one <= two),
    "gt": lambda one, two: bool(one > two),
    "ge": lambda one, two: bool(one >= two),
    "index": _index,
    "slice": _slice,
    "len": len,
    "print": _print,
    "printf": _printf,
    "println": lambda *values: " ".join(_go(value) for value in values) + "\n",
    "json": to_json,
    "split": lambda text, separator: text.split(separator),
    "join": lambda items, separator: separator.join(_go(item) for item in items or []),
    "title": lambda text: text[:1].upper() + text[1:],
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "truncate": _truncate,
}
