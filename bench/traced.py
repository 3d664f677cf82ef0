"""linkspand with a stopwatch around its phases: `python -m bench.traced FILE flags…`.

FILE gets a JSON line a phase: [name, start, end], in seconds of the monotonic clock, which all processes of a machine
share. What is not there (any more) under its name is said on standard error and left out.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

_ID = re.compile("[0-9a-f]{64}")
# (phase, where it is found)
PHASES = (
    ("request", "linkspan.api.routes:Api._answer"),
    ("Containers.create", "linkspan.daemon.containers:Containers.create"),
    ("Images.view", "linkspan.daemon.images:Images.view"),
    ("Launch.prepare", "linkspan.daemon.launch:Launch.prepare"),
    ("Containers.start", "linkspan.daemon.containers:Containers.start"),
    ("Lifecycle._join", "linkspan.daemon.lifecycle:Lifecycle._join"),
    ("Mutation.carry_out", "linkspan.daemon.mutation:Mutation.carry_out"),
    ("Ledger.commit", "linkspan.daemon.ledger:Ledger.commit"),
    ("Kernel.apply", "linkspan.kernel.linux:LinuxKernel.apply"),
    ("Launch.start", "linkspan.daemon.launch:Launch.start"),
    ("rootfs.mount", "linkspan.runtime.rootfs:mount"),
    ("Launch._write_files", "linkspan.daemon.launch:Launch._write_files"),
    ("Launch._surroundings", "linkspan.daemon.launch:Launch._surroundings"),
    ("spec.oci_spec", "linkspan.runtime.spec:oci_spec"),
    ("Processes.create", "linkspan.runtime.processes:Processes.create"),
    ("Child (vfork, exec of conmon)", "linkspan.runtime.conmon:Child.__init__"),
    ("Line.read (until the pid is told)", "linkspan.runtime.conmon:Line.read"),
    ("Child.wait (conmon's first process)", "linkspan.runtime.conmon:Child.wait"),
    ("Attachments.created", "linkspan.daemon.attachments:Attachments.created"),
    ("Processes.start", "linkspan.runtime.processes:Processes.start"),
    ("Lifecycle.remove", "linkspan.daemon.lifecycle:Lifecycle.remove"),
    ("Launch.stop", "linkspan.daemon.launch:Launch.stop"),
    ("Processes.delete", "linkspan.runtime.processes:Processes.delete"),
    ("Launch.remove", "linkspan.daemon.launch:Launch.remove"),
)


def trace(name: str, place: str, into: TextIO) -> bool:
    """Puts a stopwatch around the function at `module:attribute.attribute`. False where there is none."""
    module, _, path = place.partition(":")
    *owners, last = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        function = getattr(owner, last)
    except (ImportError, AttributeError):
        return False
    setattr(owner, last, _timed(name, function, into))
    return True


def _timed(name: str, function: Callable[..., Any], into: TextIO) -> Callable[..., Any]:
    def tell(start: float, arguments: tuple[Any, ...]) -> None:
        what = f"{arguments[1].method} {_ID.sub('…', arguments[1].path)}" if name == "request" else name
        into.write(json.dumps([what, start, time.monotonic()]) + "\n")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*arguments: Any, **options: Any) -> Any:
            start = time.monotonic()
            try:
                return await function(*arguments, **options)
            finally:
                tell(start, arguments)

        return later

    @functools.wraps(function)
    def now(*arguments: Any, **options: Any) -> Any:
        start = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            tell(start, arguments)

    return now


def main() -> None:
    from linkspan.main import linkspand

    into = Path(sys.argv.pop(1)).open("a", buffering=1)  # noqa: SIM115 - until the daemon ends
    for name, place in PHASES:
        if not trace(name, place, into):
            print(f"bench.traced: there is no {place}", file=sys.stderr)
    linkspand()


if __name__ == "__main__":
    main()
