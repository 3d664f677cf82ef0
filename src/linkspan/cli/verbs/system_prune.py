"""`system prune`: remove everything that is not in use."""

from __future__ import annotations

import json
from typing import Any

from linkspan.cli import quantities, words
from linkspan.cli.flags import Invocation, Verb, switch
from linkspan.cli.verbs.prune import PRUNE_FLAGS, confirmed


def run(call: Invocation) -> int:
    line = call.line
    what = ["all stopped containers", "all networks not used by at least one container"]
    if line.on("volumes"):
        what.append("all anonymous volumes not used by at least one container")
    what.append(
        "all images without at least one container associated to them" if line.on("all") else "all dangling images"
    )
    if not confirmed(call, "This will remove:" + "".join(f"\n  - {text}" for text in what) + "\n"):
        return 0
    filters = line.list("filter")
    plain = {"filters": quantities.filters(filters)}
    space = _report(call, "/containers/prune", plain, "Containers", "ContainersDeleted")
    space += _report(call, "/networks/prune", plain, "Networks", "NetworksDeleted")
    if line.on("volumes"):
        space += _report(call, "/volumes/prune", plain, "Volumes", "VolumesDeleted")
    dangling = json.dumps({**json.loads(plain["filters"] or "{}"), "dangling": {str(not line.on("all")).lower(): True}})
    space += _report(call, "/images/prune", {"filters": dangling}, "Images", "ImagesDeleted")
    print(f"Total reclaimed space: {words.size(space)}")
    return 0


def _report(call: Invocation, path: str, query: dict[str, str | None], title: str, key: str) -> int:
    answer: dict[str, Any] = call.client.post(path, query) or {}
    items = answer.get(key) or []
    if items:
        print(f"Deleted {title}:")
        for item in items:
            print(
                item if isinstance(item, str) else "".join(f"{name.lower()}: {value}" for name, value in item.items())
            )
        print()
    return int(answer.get("SpaceReclaimed") or 0)


VERB = Verb(
    "[OPTIONS]",
    "Remove stopped containers, unused networks and unused images.",
    run,
    (
        switch("all", "a", "Also images that have a name"),
        switch("volumes", "", "Also anonymous volumes"),
        *PRUNE_FLAGS,
    ),
    most=0,
)
