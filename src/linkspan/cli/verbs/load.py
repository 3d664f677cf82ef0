"""`load`: images from an archive that `save` wrote."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from linkspan.cli import progress
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch

PIECE = 1024 * 1024


def run(call: Invocation) -> int:
    line, path = call.line, call.line.text("input")
    if not path and os.isatty(0):
        raise Failure("requested load from stdin, but stdin is empty")
    quiet = line.on("quiet") or not os.isatty(1)
    with open_input(path) as file:
        query = {"quiet": "1" if quiet else "0", "platform": line.text("platform") or None}
        response = call.client.request(
            "POST", "/images/load", query, headers={"Content-Type": "application/x-tar"}, content=pieces(file)
        )
        progress.show(response.objects(), sys.stdout)
    return 0


def open_input(path: str) -> BinaryIO:
    """The file, or standard input for "". Raises Failure."""
    if not path:
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise Failure(f"open {path}: {(error.strerror or str(error)).lower()}") from None


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The file, a megabyte at a time."""
    while piece := file.read(PIECE):
        yield piece


VERB = Verb(
    "[OPTIONS]",
    "Load images from an archive, by default from standard input.",
    run,
    (
        Flag("input", "i", "file", "Read this file"),
        Flag("platform", "", "string", "Load only this platform's image"),
        switch("quiet", "q", "Do not show the progress"),
    ),
    most=0,
)
