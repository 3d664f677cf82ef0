"""A container's processes as the host's ps shows them: Docker's `top`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

from linkspan.errors import Internal, InvalidArgument

_RENAMED_PID = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def top(pids: Collection[int], ps_args: str) -> tuple[list[str], list[list[str]]]:
    """(titles, rows) of `ps ps_args` for the processes `pids` (of the host); "" is `-ef`.

    Raises Internal with Docker's words, also for what ps itself does not understand; InvalidArgument for a false PID.
    """
    for column, title in _RENAMED_PID.findall(ps_args):
        if column != "pid":  # another column under that title would be taken for the pid
            raise InvalidArgument(f'specifying "{column}={title}" is not allowed')
    args = (ps_args or "-ef").split()
    chosen = ["-q", ",".join(map(str, sorted(pids)))] if pids else []
    code, output, error = await _ps(*args, *chosen)
    if code and chosen:  # some options, such as f, do not go with -q
        code, output, error = await _ps(*args)
    if code and not output:
        raise Internal(f"ps: {error.splitlines()[0] if error else f'exit status {code}'}")
    return parse(output, pids)


def parse(output: str, pids: Collection[int]) -> tuple[list[str], list[list[str]]]:
    """Rows of `pids` only. What is more than there are titles belongs to the last column. Raises Internal."""
    header, *lines = output.splitlines() or [""]
    titles = header.split()
    if "PID" not in titles:
        raise Internal("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows, thread_of_ours = [], False
    for line in lines:
        fields = line.split(None, len(titles) - 1)
        if len(fields) <= column:
            continue
        if fields[column] != "-":  # "-": a thread of the process in the line above (option m)
            if not fields[column].isdigit():
                raise Internal(f"Unexpected pid '{fields[column]}' in ps output")
            thread_of_ours = int(fields[column]) in pids
        if thread_of_ours:
            rows.append([field.strip() for field in fields])
    return titles, rows


async def _ps(*args: str) -> tuple[int, str, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            "ps",
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise Internal("ps is not installed; Debian's package procps has it") from error
    output, error_text = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace"), error_text.decode(errors="replace")
