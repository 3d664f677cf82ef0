"""`diff`: what a container changed in its file system."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb

KINDS = ("C", "A", "D")  # changed, added, deleted, by the API's numbers


def run(call: Invocation) -> int:
    for change in call.client.get(f"/containers/{call.arguments[0]}/changes") or []:
        print(f"{KINDS[change['Kind']]} {change['Path']}")
    return 0


VERB = Verb(
    "CONTAINER",
    "Show what a container changed in its file system: A added, C changed, D deleted.",
    run,
    least=1,
    most=1,
)
