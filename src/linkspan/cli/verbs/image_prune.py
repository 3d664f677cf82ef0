"""`image prune`: remove images that nothing uses."""

from __future__ import annotations

from linkspan.cli import quantities, words
from linkspan.cli.flags import Invocation, Verb, switch
from linkspan.cli.verbs.prune import PRUNE_FLAGS, confirmed


def run(call: Invocation) -> int:
    every = call.line.on("all")
    warning = "all images without at least one container associated to them" if every else "all dangling images"
    if not confirmed(call, f"This will remove {warning}."):
        return 0
    filters = [*call.line.list("filter"), f"dangling={'false' if every else 'true'}"]
    answer = call.client.post("/images/prune", {"filters": quantities.filters(filters)}) or {}
    deleted = answer.get("ImagesDeleted") or []
    if deleted:
        print("Deleted Images:")
        for item in deleted:
            print(f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}")
        print()
    print(f"Total reclaimed space: {words.size(answer.get('SpaceReclaimed') or 0)}")
    return 0


VERB = Verb(
    "[OPTIONS]",
    "Remove unused images: those without a name, or with -a all that no container uses.",
    run,
    (switch("all", "a", "Also those that have a name"), *PRUNE_FLAGS),
    most=0,
)
