"""`stop`: ask containers to end, and kill those that do not."""

from __future__ import annotations

from linkspan.cli.client import Client
from linkspan.cli.flags import Flag, Invocation, Verb, integer
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    return each(call, lambda client, name: send(call, client, name, "stop"))


def send(call: Invocation, client: Client, name: str, verb: str) -> None:
    """POSTs stop or restart with the flags of the command line."""
    seconds = call.line.number("timeout") if call.line.given("timeout") else None
    client.call("POST", f"/containers/{name}/{verb}", {"signal": call.line.text("signal") or None, "t": seconds})


FLAGS = (
    Flag("signal", "s", "signal", "Signal that asks it to end (default: the container's stop signal)"),
    Flag("timeout", "t", "seconds", "Time it gets before it is killed; -1 waits for ever", check=integer),
)
VERB = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]", "Stop running containers.", run, FLAGS, least=1, aliases={"time": "timeout"}
)
