"""`container prune`: remove every container that does not run."""

from __future__ import annotations

from linkspan.cli import quantities, words
from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.prune import PRUNE_FLAGS, confirmed


def run(call: Invocation) -> int:
    if not confirmed(call, "This will remove all stopped containers."):
        return 0
    answer = call.client.post("/containers/prune", {"filters": quantities.filters(call.line.list("filter"))}) or {}
    deleted = answer.get("ContainersDeleted") or []
    if deleted:
        print("Deleted Containers:\n" + "".join(f"{name}\n" for name in deleted))
    print(f"Total reclaimed space: {words.size(answer.get('SpaceReclaimed') or 0)}")
    return 0


VERB = Verb("[OPTIONS]", "Remove every stopped container.", run, PRUNE_FLAGS, most=0)
