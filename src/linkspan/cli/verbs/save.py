"""`save`: images as one archive."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb


def run(call: Invocation) -> int:
    path = call.line.text("output")
    refuse_terminal(path, "save")
    query = {"names": call.arguments, "platform": call.line.text("platform") or None}
    write_file(call.client.request("GET", "/images/get", query).pieces(), path)
    return 0


def refuse_terminal(path: str, verb: str) -> None:
    """An archive is not for a terminal."""
    if not path and os.isatty(1):
        raise Failure(f"cowardly refusing to {verb} to a terminal. Use the -o flag or redirect")


def write_file(pieces: Iterable[bytes], path: str) -> None:
    """Writes to standard output for "", else to the file, which appears whole or not at all."""
    if not path:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        fresh.replace(target)
    except OSError as error:
        raise Failure(f"failed to write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


VERB = Verb(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Write images into an archive, by default to standard output.",
    run,
    (Flag("output", "o", "file", "Write to this file"), Flag("platform", "", "string", "Only this platform's image")),
    least=1,
)
