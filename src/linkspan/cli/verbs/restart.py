"""`restart`: stop and start."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.each import each
from linkspan.cli.verbs.stop import FLAGS, send


def run(call: Invocation) -> int:
    return each(call, lambda client, name: send(call, client, name, "restart"), in_order=True)


VERB = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]", "Restart containers.", run, FLAGS, least=1, aliases={"time": "timeout"}
)
