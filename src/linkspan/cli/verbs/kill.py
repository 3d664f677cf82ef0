"""`kill`: send a signal."""

from __future__ import annotations

from linkspan.cli.client import Client
from linkspan.cli.flags import Flag, Invocation, Verb
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    query = {"signal": call.line.text("signal") or None}

    def kill(client: Client, name: str) -> None:
        client.call("POST", f"/containers/{name}/kill", query)

    return each(call, kill)


VERB = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Kill running containers, or send them another signal.",
    run,
    (Flag("signal", "s", "signal", "Signal to send (default KILL)"),),
    least=1,
)
