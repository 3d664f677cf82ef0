"""Programs of the host, run in a container's network namespace: its network, the host's files."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence

from linkspan.errors import Internal, Unsupported

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"
_PATIENCE = 10.0  # seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it said."""

    status: int
    out: str
    err: str


def find(program: str) -> str:
    """The path of a program of the host, "" where it has none."""
    return shutil.which(program, path=_PATH) or ""


def entering(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs a command in the namespace at this path; a process of its own enters it.

    Raises Unsupported where a program is missing.
    """
    program = find(command[0])
    nsenter = find("nsenter")
    if not program or not nsenter:
        raise Unsupported(f"there is no program {command[0] if nsenter else 'nsenter'} on this host: install it")
    return [nsenter, f"--net={namespace}", "--", program, *command[1:]]


async def run(namespace: str, command: Sequence[str]) -> Ended:
    """Raises Unsupported, and Internal where it does not end within ten seconds."""
    process = await asyncio.create_subprocess_exec(
        *entering(namespace, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _PATIENCE)
    except TimeoutError:
        raise Internal(f"{' '.join(command)[:100]} did not end within {_PATIENCE:.0f} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Ended(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
