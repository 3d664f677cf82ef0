"""`rename`."""

from __future__ import annotations

from linkspan.cli.failure import Failure
from linkspan.cli.flags import Invocation, Verb


def run(call: Invocation) -> int:
    old, new = (name.strip() for name in call.arguments)
    if not old or not new:
        raise Failure("Error: Neither old nor new names may be empty")
    call.client.call("POST", f"/containers/{old}/rename", {"name": new})
    return 0


VERB = Verb("CONTAINER NEW_NAME", "Rename a container.", run, least=2, most=2)
