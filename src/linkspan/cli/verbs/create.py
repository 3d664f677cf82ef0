"""`create`: a container, not yet started."""

from __future__ import annotations

import os
import sys
from typing import Any

from linkspan.cli.client import Client
from linkspan.cli.configuration import ALIASES, FLAGS, STATUS, body
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Invocation, Parsed, Verb


def run(call: Invocation) -> int:
    try:
        request = body(call.line)
    except Failure as failure:
        raise with_hint(failure, "create", STATUS) from None
    print(create(call.client, call.line, request))
    return 0


def create(client: Client, line: Parsed, request: dict[str, Any]) -> str:
    """The new container's id. An image that is not there is pulled, its progress going to standard error."""
    image = request["Image"]
    cidfile = line.text("cidfile")
    if cidfile and os.path.exists(cidfile):  # noqa: PTH110 (pathlib takes milliseconds to import)
        raise Failure(f"container ID file found, make sure the other container isn't running or delete {cidfile}")
    platform = line.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    reference = _checked(image)
    if line.text("pull") == "always":
        _pull(client, line, image, platform)
    query = {"name": line.text("name") or None, "platform": platform or None}
    try:
        answer = client.post("/containers/create", query, request)
    except EngineError as error:
        if (
            error.http_status != 404
            or not reference
            or not _names_image(error.reason)
            or line.text("pull") != "missing"
        ):
            raise
        if not line.on("quiet"):
            print(f"Unable to find image '{reference}' locally", file=sys.stderr)
        _pull(client, line, image, platform)
        answer = client.post("/containers/create", query, request)
    for warning in answer.get("Warnings") or []:
        print(f"WARNING: {warning}", file=sys.stderr)
    if cidfile:
        from pathlib import Path

        Path(cidfile).write_text(answer["Id"])
    return str(answer["Id"])


def with_hint(failure: Failure, path: str, status: int) -> Failure:
    """The failure as Docker's command shows it for run and create."""
    return Failure(f"linkspan: {failure}\n\nRun 'linkspan {path} --help' for more information", status)


def _checked(image: str) -> str:
    """The image as people write it, with its tag; "" for an id. Raises Failure for what no image can be called."""
    import re

    if re.fullmatch("(sha256:)?[a-f0-9]{64}", image):
        return ""
    from linkspan.cli.reference import Reference

    reference = Reference(image)
    if reference.digest:
        return f"{reference.familiar}@{reference.digest}"
    return f"{reference.familiar}:{reference.tag or 'latest'}"


def _names_image(reason: str) -> bool:
    """A 404 may also be about a network, or another container."""
    return "No such image" in reason or "no such image" in reason


def _pull(client: Client, line: Parsed, image: str, platform: str) -> None:
    from linkspan.cli.verbs.pull import pull

    pull(client, image, platform=platform, output=None if line.on("quiet") else sys.stderr)


VERB = Verb(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a container without starting it, and print its id. `linkspan start` starts it.",
    run,
    FLAGS,
    least=1,
    runs_program=True,
    aliases=ALIASES,
)
