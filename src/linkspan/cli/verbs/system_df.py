"""`system df`: the disk space in use."""

from __future__ import annotations

from typing import Any

from linkspan.cli import table, words
from linkspan.cli.flags import Flag, Invocation, Verb, switch

HEADERS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
}  # fmt: skip
COLUMNS = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"


def run(call: Invocation) -> int:
    usage = call.client.get("/system/df")
    images, containers = usage.get("Images") or [], usage.get("Containers") or []
    volumes, cache = usage.get("Volumes") or [], usage.get("BuildCache") or []
    used = [image for image in images if image.get("Containers", 0) > 0]
    layers = usage.get("LayersSize") or 0
    kept = sum(image.get("Size", 0) - max(image.get("SharedSize", 0), 0) for image in used)
    running = [item for item in containers if item.get("State") in ("running", "paused", "restarting")]
    written = sum(item.get("SizeRw") or 0 for item in containers)
    idle = written - sum(item.get("SizeRw") or 0 for item in running)
    mounted = [volume for volume in volumes if (volume.get("UsageData") or {}).get("RefCount", 0) > 0]
    stored = sum(_bytes(volume) for volume in volumes)
    rows = [
        _row("Images", len(images), len(used), layers, max(layers - kept, 0)),
        _row("Containers", len(containers), len(running), written, idle),
        _row("Local Volumes", len(volumes), len(mounted), stored, stored - sum(_bytes(volume) for volume in mounted)),
        _row("Build Cache", len(cache), 0, 0, 0),
    ]
    rows[3]["Reclaimable"] = words.size(0)
    print(table.write(rows, call.line.text("format"), COLUMNS, HEADERS), end="")
    return 0


def _bytes(volume: dict[str, Any]) -> int:
    return max(int((volume.get("UsageData") or {}).get("Size", 0)), 0)


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> dict[str, Any]:
    share = f" ({int(reclaimable * 100 / size)}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": words.size(size),
        "Reclaimable": words.size(reclaimable) + share,
    }


VERB = Verb(
    "[OPTIONS]",
    "Show the disk space in use.",
    run,
    (
        Flag("format", "", "string", "table, json, or a Go template ({{.Size}})"),
        switch("verbose", "v", "Accepted for docker's sake"),
    ),
    most=0,
)
