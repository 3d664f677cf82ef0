"""`history`: how an image was made, newest layer first."""

from __future__ import annotations

from typing import Any

from linkspan.cli import table, words
from linkspan.cli.flags import Flag, Invocation, Verb, switch

HEADERS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip
COLUMNS = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"


def run(call: Invocation) -> int:
    line = call.line
    layers = call.client.get(f"/images/{call.arguments[0]}/history", {"platform": line.text("platform") or None})
    rows = [_row(layer, full=line.on("no-trunc"), human=line.on("human")) for layer in layers]
    if line.on("quiet") and not line.text("format"):
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return 0
    print(table.write(rows, line.text("format"), COLUMNS, HEADERS), end="")
    return 0


def _row(layer: dict[str, Any], *, full: bool, human: bool) -> dict[str, Any]:
    created = float(layer.get("Created") or 0)
    made_at = words.iso_time(created)
    made_by = (layer.get("CreatedBy") or "").replace("\t", " ")
    identity = layer.get("Id") or "<missing>"
    return {
        "ID": identity if full or identity == "<missing>" else words.short_id(identity),
        "CreatedSince": words.since(created) if human else made_at,
        "CreatedAt": made_at,
        "CreatedBy": made_by if full else words.ellipsis(made_by, 45),
        "Size": words.size(layer.get("Size") or 0, digits=3) if human else str(layer.get("Size") or 0),
        "Comment": layer.get("Comment") or "",
    }


VERB = Verb(
    "[OPTIONS] IMAGE",
    "Show the layers of an image.",
    run,
    (
        Flag("format", "", "string", "table, json, or a Go template ({{.CreatedBy}})"),
        switch("human", "H", "Show sizes and dates as people read them", default=True),
        switch("no-trunc", "", "Do not shorten anything"),
        Flag("platform", "", "string", "Look at the image of this platform"),
        switch("quiet", "q", "Show the ids only"),
    ),
    least=1,
    most=1,
)
