"""`rmi`: remove images."""

from __future__ import annotations

import sys

from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Invocation, Verb, switch


def run(call: Invocation) -> int:
    query = {"force": call.line.on("force"), "noprune": call.line.on("no-prune")}
    errors: list[EngineError] = []
    for name in call.arguments:
        try:
            for item in call.client.call("DELETE", f"/images/{name}", query) or []:
                print(f"Deleted: {item['Deleted']}" if item.get("Deleted") else f"Untagged: {item['Untagged']}")
        except EngineError as error:
            errors.append(error)
    if not errors:
        return 0
    sys.stdout.flush()
    missing = all(error.http_status == 404 for error in errors)
    # --force means that they be gone: that they are gone already is no error.
    raise Failure("\n".join(map(str, errors)), 0 if missing and call.line.on("force") else 1)


VERB = Verb(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove images.",
    run,
    (
        switch("force", "f", "Remove it though it has several names, or stopped containers use it"),
        switch("no-prune", "", "Keep parents that nothing else uses"),
    ),
    least=1,
)
