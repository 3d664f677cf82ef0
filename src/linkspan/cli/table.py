"""Rows as Docker's command prints them: in aligned columns, through a Go template, or as one JSON object a line."""

# ruff: noqa: PTH110, PTH111, PTH123
# os.path throughout: pathlib takes longer to import than the command takes to run.

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]  # by field name; a function is a method that templates may call
LEAST, PADDING = 10, 3


def align(rows: Sequence[Sequence[str]], *, least: int = LEAST, padding: int = PADDING) -> str:
    """Columns at least `least` wide with `padding` between them; the last is left as it is."""
    widths: list[int] = []
    for row in rows:
        for number, cell in enumerate(row[:-1]):
            if number == len(widths):
                widths.append(0)
            widths[number] = max(widths[number], len(cell) + padding, least)
    lines = ["".join(f"{cell:{widths[n]}}" for n, cell in enumerate(row[:-1])) + row[-1] for row in rows]
    return "".join(f"{line}\n" for line in lines)


def write(rows: Iterable[Row], format: str, default: str, headers: Mapping[str, str]) -> str:
    """The rows in `format`: "" and `table` are `default` (a template), `json`, `table TEMPLATE` or a TEMPLATE.

    `headers` gives the column titles by field name.
    """
    if format in ("", "table"):
        format = f"table {default}"
    if format == "json":
        format = "{{json .}}"
    titled = format.startswith("table ")
    pattern = format.removeprefix("table ").strip() if titled else format
    pattern = pattern.replace("\\t", "\t").replace("\\n", "\n")
    if titled and re.fullmatch(r"\{\{\.\w+\}\}(\t\{\{\.\w+\}\})*", pattern):
        # Plain fields, as in every default table: no need of the template engine.
        fields = re.findall(r"\w+", pattern)
        if all(field in headers for field in fields):
            cells = [[str(row[field]) for field in fields] for row in rows]
            return align([[headers[field] for field in fields], *cells])
    from linkspan.cli.template import Methods, Template

    template = Template(pattern)
    lines = [template.render(Methods(row)) for row in rows]
    if not titled:
        return "".join(f"{line}\n" for line in lines)
    titles: dict[str, Any] = {**headers, "Label": lambda name: re.sub("[-_]", " ", name.split(".")[-1])}
    head = template.render(titles, strict=False).replace("<no value>", "")
    return align([line.split("\t") for line in (head, *lines)])


def configured_format(key: str) -> str:
    """The user's own default format (`psFormat` and its like) from the client's configuration, or ""."""
    path = f"{os.environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"
    if not os.path.exists(path):
        return ""
    import json

    try:
        with open(path) as file:
            return str(json.load(file).get(key, ""))
    except (OSError, ValueError, AttributeError):
        return ""
