"""`commit`: an image of what a container has written."""

from __future__ import annotations

from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.reference import Reference


def run(call: Invocation) -> int:
    line, container = call.line, call.arguments[0]
    reference = Reference(call.arguments[1]) if len(call.arguments) > 1 else None
    query = {
        "container": container,
        "repo": reference.name if reference else None,
        "tag": reference.tag if reference else None,
        "comment": line.text("message") or None,
        "author": line.text("author") or None,
        "pause": line.on("pause"),
        "changes": line.list("change"),
    }
    print(call.client.call("POST", "/commit", query)["Id"])
    return 0


VERB = Verb(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Make an image of a container and what it has written.",
    run,
    (
        Flag("author", "a", "string", "Who made it"),
        Flag("change", "c", "list", "Apply a Dockerfile instruction (CMD, ENV …) to the image"),
        Flag("message", "m", "string", "Say how it came to be"),
        switch("pause", "p", "Pause the container meanwhile", default=True),
    ),
    least=1,
    most=2,
)
