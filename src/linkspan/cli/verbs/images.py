"""`images`: the images of this host."""

from __future__ import annotations

from typing import Any

from linkspan.cli import quantities, table, words
from linkspan.cli.flags import Flag, Invocation, Verb, switch

HEADERS = {
    "ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE", "VirtualSize": "SIZE",
}  # fmt: skip
NONE = "<none>"


def run(call: Invocation) -> int:
    line = call.line
    filters = list(line.list("filter"))
    if call.arguments:
        filters.append(f"reference={call.arguments[0]}")
    query = {"all": line.on("all"), "filters": quantities.filters(filters)}
    images = call.client.get("/images/json", query)
    full, digests = line.on("no-trunc"), line.on("digests")
    rows = [row for image in images for row in _rows(image, full=full, digests=digests)]
    if line.on("quiet") and not line.text("format"):
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return 0
    columns = "{{.Repository}}\t{{.Tag}}\t" + ("{{.Digest}}\t" if digests else "")
    columns += "{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    print(table.write(rows, line.text("format") or table.configured_format("imagesFormat"), columns, HEADERS), end="")
    return 0


def _rows(image: dict[str, Any], *, full: bool, digests: bool) -> list[dict[str, Any]]:
    """One line for each tag; with `digests` for each digest of it too."""
    tags = [text.rpartition(":") for text in image.get("RepoTags") or [] if text != f"{NONE}:{NONE}"]
    digest_of = dict(text.split("@", 1) for text in image.get("RepoDigests") or [] if text != f"{NONE}@{NONE}")
    if tags:
        return [
            _row(image, name, tag, digest_of.get(name, NONE) if digests else NONE, full=full) for name, _, tag in tags
        ]
    if digest_of:
        return [_row(image, name, NONE, digest if digests else NONE, full=full) for name, digest in digest_of.items()]
    return [_row(image, NONE, NONE, NONE, full=full)]


def _row(image: dict[str, Any], name: str, tag: str, digest: str, *, full: bool) -> dict[str, Any]:
    created, size = float(image.get("Created") or 0), words.size(image.get("Size") or 0, digits=3)
    containers = image.get("Containers", -1)
    shared = image.get("SharedSize", -1)
    return {
        "ID": image["Id"] if full else words.short_id(image["Id"]),
        "Repository": name,
        "Tag": tag,
        "Digest": digest,
        "CreatedSince": words.since(created),
        "CreatedAt": words.local_time(created),
        "Size": size,
        "VirtualSize": words.size(image.get("Size") or 0),
        "Containers": "N/A" if containers == -1 else str(containers),
        "SharedSize": "N/A" if shared == -1 else words.size(shared),
        "UniqueSize": "N/A" if shared == -1 else words.size((image.get("Size") or 0) - shared),
    }


VERB = Verb(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images.",
    run,
    (
        switch("all", "a", "Show intermediate images too"),
        switch("digests", "", "Show digests"),
        Flag("filter", "f", "filter", "Show those that match (dangling=true, reference=web* …)",
             check=quantities.filter_entry),
        Flag("format", "", "string", "table, json, or a Go template ({{.Repository}})"),
        switch("no-trunc", "", "Do not shorten anything"),
        switch("quiet", "q", "Show the ids only"),
    ),
    most=1,
)  # fmt: skip
