"""One run at a time on a machine, as root, to its end also where it is interrupted."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from demo.console import Console


def alone(name: str, folder: Path, run: Callable[[Console], int]) -> int:
    """Runs it where nothing else that is called so, with this folder, runs meanwhile. Answers its status."""
    if os.geteuid():
        print(
            f"The {name} makes network namespaces and containers, which needs root: sudo make {name}", file=sys.stderr
        )
        return 2
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, _interrupted)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another {name} is running on this machine", file=sys.stderr)
            return 2
        try:
            return run(Console())
        except RuntimeError as error:
            print(f"\n{name}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\n{name}: interrupted", file=sys.stderr)
            return 130


def _interrupted(number: int, frame: FrameType | None) -> None:
    let_nothing_interrupt()
    raise KeyboardInterrupt


def let_nothing_interrupt() -> None:
    """Ending the hosts takes a moment, and must not be cut short."""
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.SIG_IGN)
