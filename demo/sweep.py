"""What a run may have left, found and removed: a run that was killed could not clean up after itself.

The processes of a run end with it (demo.hosts), and their mounts, links and rules with them. What can stay are files
in the run's folder and empty control groups.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path

from demo.daemons import CGROUP

_CGROUPS = Path("/sys/fs/cgroup")


def sweep(folder: Path) -> list[str]:
    """Removes what a run with this folder has left; returns what could not be removed."""
    deadline = time.monotonic() + 10
    while True:
        left = [*_remove_cgroups(), *_remove_folder(folder)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)  # the kernel is still ending the processes


def _remove_folder(folder: Path) -> list[str]:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    return [str(folder)] if folder.exists() else []


def _remove_cgroups() -> list[str]:
    left = []
    for top in (_CGROUPS, *(path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink())):
        ours = top / CGROUP
        if not ours.is_dir():
            continue
        for directory, _, _ in os.walk(ours, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
        if ours.exists():
            left.append(str(ours))
    return left


def mounts_below(folder: Path) -> list[str]:
    """Mount points below a folder that this process can see."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for point in (line.split()[4] for line in lines) if point.startswith(f"{folder}/")]
