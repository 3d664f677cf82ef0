"""`unpause`."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    def act(name: str) -> None:
        call.client.call("POST", f"/containers/{name}/unpause")

    return each(call.arguments, act)


VERB = Verb("CONTAINER [CONTAINER...]", "Thaw the processes of paused containers.", run, least=1)
