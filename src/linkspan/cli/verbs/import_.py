"""`import`: an image of a tar archive of files."""

from __future__ import annotations

import sys

from linkspan.cli import progress
from linkspan.cli.flags import Flag, Invocation, Verb
from linkspan.cli.reference import Reference
from linkspan.cli.verbs.load import open_input, pieces


def run(call: Invocation) -> int:
    line, source = call.line, call.arguments[0]
    name = call.arguments[1] if len(call.arguments) > 1 else ""
    if name:
        Reference(name)  # refuses what no image can be called
    remote = source.startswith(("http://", "https://"))
    query = {
        "fromSrc": source if remote else "-",
        "repo": name or None,
        "message": line.text("message") or None,
        "changes": line.list("change"),
        "platform": line.text("platform") or None,
    }
    if remote:
        response = call.client.request("POST", "/images/create", query)
        progress.show(response.objects(), sys.stdout)
        return 0
    with open_input("" if source == "-" else source) as file:
        response = call.client.request("POST", "/images/create", query, content=pieces(file))
        progress.show(response.objects(), sys.stdout)
    return 0


VERB = Verb(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Make an image of a tar archive of files.",
    run,
    (
        Flag("change", "c", "list", "Apply a Dockerfile instruction (CMD, ENV …) to the image"),
        Flag("message", "m", "string", "Say how it came to be"),
        Flag("platform", "", "string", "Platform of the image"),
    ),
    least=1,
    most=2,
)
