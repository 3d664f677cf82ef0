"""What the daemon answered, in the form that the user asks for: JSON, or through a Go template."""

from __future__ import annotations

import json
from typing import Any

from linkspan.cli.flags import Flag, Parsed, switch

FORMAT_FLAGS = (
    Flag("format", "", "string", "table, json, or a Go template ({{json .}}) on what --json prints"),
    switch("json", "", "Print all of it as JSON, indented"),
)


def formatted(line: Parsed, found: Any) -> str | None:
    """What to print of `found`, or None where the verb's own words are wanted. Raises TemplateError.

    Of a list `json` and templates make a line for each entry, as docker's `ls` does.
    """
    if line.on("json"):
        return json.dumps(found, indent=4, ensure_ascii=False) + "\n"
    wanted = line.text("format")
    if wanted in ("", "table"):
        return None
    from linkspan.cli.template import Template

    template = Template("{{json .}}" if wanted == "json" else wanted.replace("\\t", "\t").replace("\\n", "\n"))
    return "".join(f"{template.render(one)}\n" for one in (found if isinstance(found, list) else [found]))
