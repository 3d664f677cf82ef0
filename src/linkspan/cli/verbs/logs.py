"""`logs`: what a container has written."""

from __future__ import annotations

import time

from linkspan.cli import quantities, streams
from linkspan.cli.client import Query
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch


def run(call: Invocation) -> int:
    line, now = call.line, time.time()
    name = call.arguments[0]
    container = call.client.get(f"/containers/{name}/json")
    query: Query = {
        "stdout": True, "stderr": True, "follow": line.on("follow"), "timestamps": line.on("timestamps"),
        "details": line.on("details"), "tail": line.text("tail"),
        "since": _time(line.text("since"), now, "since"), "until": _time(line.text("until"), now, "until"),
    }  # fmt: skip
    if line.on("follow"):
        streams.end_with_reader()
    response = call.client.request("GET", f"/containers/{container['Id']}/logs", query)
    streams.copy_output(response.pieces(), tty=container["Config"]["Tty"])
    return 0


def _time(text: str, now: float, flag: str) -> str | None:
    try:
        return quantities.timestamp(text, now) if text else None
    except ValueError as error:
        raise Failure(f'invalid value for "{flag}": {error}') from None


VERB = Verb(
    "[OPTIONS] CONTAINER",
    "Show what a container has written to its standard output and error.",
    run,
    (
        switch("details", "", "Show what log options add to each line"),
        switch("follow", "f", "Go on showing what it writes"),
        Flag("since", "", "time", "Since a time (2025-01-02T13:23:37Z) or a while ago (42m)"),
        Flag("tail", "n", "lines", "Only this many lines from the end", "all"),
        switch("timestamps", "t", "Show when each line was written"),
        Flag("until", "", "time", "Before a time, or a while ago"),
    ),
    least=1,
    most=1,
)
