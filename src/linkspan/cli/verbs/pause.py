"""`pause`."""

from __future__ import annotations

from linkspan.cli.client import Client
from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    def act(client: Client, name: str) -> None:
        client.call("POST", f"/containers/{name}/pause")

    return each(call, act)


VERB = Verb("CONTAINER [CONTAINER...]", "Freeze all processes of running containers.", run, least=1)
