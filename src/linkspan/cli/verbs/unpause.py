"""`unpause`."""

from __future__ import annotations

from linkspan.cli.client import Client
from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    def act(client: Client, name: str) -> None:
        client.call("POST", f"/containers/{name}/unpause")

    return each(call, act)


VERB = Verb("CONTAINER [CONTAINER...]", "Thaw the processes of paused containers.", run, least=1)
