"""The directories of volumes: <root>/<name>/_data.

A new volume that is mounted where the image has files begins with them, owners and modes kept, as Docker does it: a
database's data directory must belong to the database's user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from linkspan.errors import Internal
from linkspan.runtime import confinement
from linkspan.runtime.rootfs import tree_size


def place(root: Path, name: str) -> Path:
    """The volume's directory, be it there or not."""
    return root / name / "_data"


def create(root: Path, name: str) -> Path:
    """Makes the volume's directory and answers it; one that is there is left as it is."""
    data = place(root, name)
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        (root / name).mkdir(mode=0o701, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            data.mkdir()
            data.chmod(0o755)
    except OSError as error:
        raise Internal(f"cannot make the volume {name}: {data}: {error.strerror}") from error
    return data


def remove(root: Path, name: str) -> None:
    """The directory and all that is in it; nothing there is success."""
    try:
        shutil.rmtree(root / name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Internal(f"cannot remove the volume {name}: {error.filename}: {error.strerror}") from error


def size(root: Path, name: str) -> int:
    """Bytes in files."""
    return tree_size(root / name / "_data")


def copy_up(layers: Sequence[Path], path: str, mountpoint: Path) -> bool:
    """Fills an empty volume with what the image has at `path`; answers whether there was a directory to copy.

    `layers` are the image's, lowest first. A volume that holds anything is left alone. Raises Internal.
    """
    if any(mountpoint.iterdir()) or not _may_be_there(layers, path):
        return False
    done = confinement.run(
        {"do": "copy-up", "layers": [str(layer) for layer in reversed(layers)], "path": path, "to": str(mountpoint)}
    )
    return bool(done["copied"])


def _may_be_there(layers: Sequence[Path], path: str) -> bool:
    """False where no layer has the directory: most volumes, and a process saved for each. A link on the way may be."""
    parts = [part for part in path.split("/") if part]
    for layer in layers:
        here = layer
        for index, part in enumerate(parts):
            here = here / part
            try:
                mode = os.lstat(here).st_mode
            except OSError:
                break
            if stat.S_ISLNK(mode) or (index == len(parts) - 1 and stat.S_ISDIR(mode)):
                return True
    return False
