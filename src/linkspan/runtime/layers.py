"""What an image's layers hold together, looked up without mounting them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path


class Layers:
    """Directories as overlayfs would stack them, uppermost first."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self._layers = layers

    def status(self, path: str) -> os.stat_result | None:
        """None where there is nothing, or no longer."""
        holders = self._holders(path)
        return holders[0][1] if holders else None

    def names(self, path: str) -> set[str]:
        found, gone = set[str](), set[str]()
        for directory, status in self._holders(path):
            if not stat.S_ISDIR(status.st_mode):
                break
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name not in found and entry.name not in gone:
                        (gone if is_whiteout(entry.stat(follow_symlinks=False)) else found).add(entry.name)
        return found

    def _holders(self, path: str) -> list[tuple[str, os.stat_result]]:
        """Every layer's entry at `path` that shows: under a whiteout, a file or an opaque directory nothing does."""
        found: list[tuple[str, os.stat_result]] = []
        parts = [part for part in path.split("/") if part]
        for layer in self._layers:
            here, hides = str(layer), False
            for index in range(len(parts) + 1):
                if index:
                    here = f"{here}/{parts[index - 1]}"
                try:
                    status = os.lstat(here)
                except OSError:
                    break
                directory = stat.S_ISDIR(status.st_mode)
                if is_whiteout(status):
                    return found
                if index == len(parts):
                    if found and not directory:
                        return found
                    found.append((here, status))
                if not directory or (index and is_opaque(here)):
                    hides = True
                if not directory:
                    break
            if hides:
                break
        return found


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: str | Path) -> bool:
    try:
        return os.getxattr(directory, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False
