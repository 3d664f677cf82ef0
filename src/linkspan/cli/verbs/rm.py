"""`rm`: remove containers."""

from __future__ import annotations

from linkspan.cli.client import Client
from linkspan.cli.failure import EngineError
from linkspan.cli.flags import Invocation, Verb, switch
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    line = call.line
    query = {"v": line.on("volumes"), "force": line.on("force"), "link": line.on("link")}

    def remove(client: Client, name: str) -> None:
        try:
            client.call("DELETE", f"/containers/{name.strip('/')}", query)
        except EngineError as error:
            if line.on("force") and error.http_status == 404:
                error.status = 0  # --force means that it be gone: that it is gone already is told, and no failure
            raise

    return each(call, remove)


VERB = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove containers.",
    run,
    (
        switch("force", "f", "Kill it first if it is running"),
        switch("link", "l", "Remove the link of this name, not the container"),
        switch("volumes", "v", "Remove its anonymous volumes too"),
    ),
    least=1,
)
