"""`export`: a container's file system as a tar archive."""

from __future__ import annotations

from linkspan.cli.flags import Flag, Invocation, Verb
from linkspan.cli.verbs.save import refuse_terminal, write_file


def run(call: Invocation) -> int:
    path = call.line.text("output")
    refuse_terminal(path, "export")
    write_file(call.client.request("GET", f"/containers/{call.arguments[0]}/export").pieces(), path)
    return 0


VERB = Verb(
    "[OPTIONS] CONTAINER",
    "Write a container's file system as a tar archive, by default to standard output.",
    run,
    (Flag("output", "o", "file", "Write to this file"),),
    least=1,
    most=1,
)
