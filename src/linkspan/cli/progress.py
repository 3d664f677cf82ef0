"""The progress of pull, push and load: on a terminal one line a layer, changing in place; else one line an event."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import Any, TextIO

from linkspan.cli import words
from linkspan.cli.failure import Failure


def show(messages: Iterable[dict[str, Any]], output: TextIO | None) -> None:
    """Shows the stream to its end; `output` None shows nothing. Raises Failure with an error of the stream."""
    terminal = output is not None and os.isatty(output.fileno())
    lines: dict[str, int] = {}
    for message in messages:
        if message.get("errorDetail") or message.get("error"):
            detail = message.get("errorDetail") or {}
            raise Failure(str(detail.get("message") or message.get("error")))
        if output is not None:
            _show_one(message, output, lines, terminal=terminal)
            output.flush()


def _show_one(message: dict[str, Any], output: TextIO, lines: dict[str, int], *, terminal: bool) -> None:
    identity = message.get("id", "")
    detail = message.get("progressDetail") or {}
    if "aux" in message and "status" not in message:
        return
    if not terminal:
        if not detail:
            output.write(_line(message))
        return
    if identity and detail is not None and "progressDetail" in message:
        up = 0
        if identity in lines:
            up = len(lines) - lines[identity]
        else:
            lines[identity] = len(lines)
            output.write("\n")
            up = 1
        bar = _bar(detail)
        text = f"{identity}: {message.get('status', '')} {bar}".rstrip()
        output.write(f"\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B")
        return
    lines.clear()
    output.write("\x1b[2K\r" + _line(message))


def _line(message: dict[str, Any]) -> str:
    if "stream" in message:
        return str(message["stream"])
    before = f"{message['id']}: " if message.get("id") else ""
    origin = f"(from {message['from']}) " if message.get("from") else ""
    return f"{before}{origin}{message.get('status', '')}\n"


def _bar(detail: dict[str, Any]) -> str:
    """`[=====>    ]  1.2MB/3.4MB`; the bar is left out on a narrow terminal."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{words.size(current):>8}"
    share = min(50, int(current / total * 50))
    bar = "[" + "=" * share + (">" if share < 50 else "") + " " * (49 - share) + "]"
    counts = f"{words.size(current):>8}/{words.size(total)}"
    return f"{bar} {counts}" if shutil.get_terminal_size().columns > 110 else counts
