"""`push`: an image into its registry."""

from __future__ import annotations

import sys

from linkspan.cli import credentials, progress
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.reference import Reference


def run(call: Invocation) -> int:
    line, image = call.line, call.arguments[0]
    reference = Reference(image)
    every = line.on("all-tags")
    if every and reference.tag:
        raise Failure("tag can't be used with --all-tags/-a")
    if not every and not reference.tag and not line.on("quiet"):
        print("Using default tag: latest")
    query = {"tag": None if every else reference.tag or "latest", "platform": line.text("platform") or None}
    sys.stdout.flush()
    response = call.client.request(
        "POST", f"/images/{reference.familiar}/push", query, headers=credentials.header(image)
    )
    progress.show(response.objects(), None if line.on("quiet") else sys.stdout)
    if line.on("quiet"):
        print(reference.name + ("" if every else f":{reference.tag or 'latest'}"))
    return 0


VERB = Verb(
    "[OPTIONS] NAME[:TAG]",
    "Put an image into the registry that its name says.",
    run,
    (
        switch("all-tags", "a", "Push every tag of the name"),
        switch("disable-content-trust", "", "Accepted; images are not signed", default=True),
        Flag("platform", "", "string", "Push only this platform's image"),
        switch("quiet", "q", "Do not show the progress"),
    ),
    least=1,
    most=1,
)
