"""`pause`."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    def act(name: str) -> None:
        call.client.call("POST", f"/containers/{name}/pause")

    return each(call.arguments, act)


VERB = Verb("CONTAINER [CONTAINER...]", "Freeze all processes of running containers.", run, least=1)
