"""`pull`: an image from its registry."""

from __future__ import annotations

import sys
from typing import TextIO

from linkspan.cli import credentials, progress
from linkspan.cli.client import Client
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.reference import Reference


def run(call: Invocation) -> int:
    line, image = call.line, call.arguments[0]
    quiet = line.on("quiet")
    reference = Reference(image)
    if line.on("all-tags") and (reference.tag or reference.digest):
        raise Failure("tag can't be used with --all-tags/-a")
    if not line.on("all-tags") and not reference.tag and not reference.digest and not quiet:
        print("Using default tag: latest")
    output = None if quiet else sys.stdout
    sys.stdout.flush()
    pull(call.client, image, platform=line.text("platform"), output=output, every_tag=line.on("all-tags"))
    suffix = f"@{reference.digest}" if reference.digest else f":{reference.tag or 'latest'}"
    print(reference.name + ("" if line.on("all-tags") else suffix))
    return 0


def pull(client: Client, image: str, *, platform: str, output: TextIO | None, every_tag: bool = False) -> None:
    """Pulls, showing the progress on `output`. Raises Failure."""
    reference = Reference(image)
    tag = reference.digest or reference.tag or "latest"
    query = {
        "fromImage": reference.name,
        "tag": None if every_tag else tag,
        "platform": platform or None,
    }
    response = client.request("POST", "/images/create", query, headers=credentials.header(image))
    progress.show(response.objects(), output)


VERB = Verb(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Get an image from a registry.",
    run,
    (
        switch("all-tags", "a", "Get every tag of the name"),
        switch("disable-content-trust", "", "Accepted; images are not verified", default=True),
        Flag("platform", "", "string", "Platform of the image (linux/amd64)"),
        switch("quiet", "q", "Do not show the progress"),
    ),
    least=1,
    most=1,
)
