"""The control groups of one container: where they are, who is in them, freezing them.

Three forms are met: v1, where each controller is a mount of its own; v2, one tree; and both side by side ("hybrid"),
where runc uses v1 and the v2 tree only carries the processes. The mounts are looked up once a process.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from linkspan.errors import Unsupported


class Hierarchy(msgspec.Struct, frozen=True):
    """`controllers`: v1 mount point of each (`memory`, `cpuacct`, `name=systemd`…); `unified`: v2's, or None.

    `version` is the one that carries the controllers: 1 or 2.
    """

    controllers: Mapping[str, Path]
    unified: Path | None

    @property
    def version(self) -> int:
        return 1 if any(not name.startswith("name=") for name in self.controllers) else 2

    def folder(self, controller: str, path: str) -> Path:
        """The folder of the group `path` that holds the controller's files. Raises Unsupported."""
        mount = self.controllers.get(controller) if self.version == 1 else self.unified
        if mount is None:
            raise Unsupported(f"the kernel has no mounted cgroup controller {controller}")
        return mount / path.lstrip("/")

    def folders(self, path: str) -> Iterator[Path]:
        """Every folder that belongs to the group `path`."""
        for mount in {*self.controllers.values(), *([self.unified] if self.unified else [])}:
            yield mount / path.lstrip("/")


def parse(mountinfo: str) -> Hierarchy:
    """From the text of /proc/self/mountinfo (proc(5)): fields, " - ", type, source, super options."""
    controllers: dict[str, Path] = {}
    unified: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            unified = unified or Path(before.split(" ")[4])
        elif kind == "cgroup":
            for option in options.split(","):
                if option not in ("rw", "ro", "xattr", "none", "clone_children"):
                    controllers.setdefault(option, Path(before.split(" ")[4]))
    return Hierarchy(controllers, unified)


@functools.cache
def mounted() -> Hierarchy:
    return parse(Path("/proc/self/mountinfo").read_text())


def pids(path: str) -> list[int]:
    """The processes of the group and of the groups below it, in no order; none where there is no such group."""
    hierarchy = mounted()
    top = hierarchy.folder("freezer" if "freezer" in hierarchy.controllers else "pids", path)
    found: list[int] = []
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            found += map(int, Path(folder, "cgroup.procs").read_text().split())
    return found


def freeze(path: str, frozen: bool) -> None:
    """Raises OSError; returns once the kernel has taken the word, not once every process stands still."""
    hierarchy = mounted()
    if hierarchy.version == 1:
        (hierarchy.folder("freezer", path) / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
    else:
        (hierarchy.folder("freezer", path) / "cgroup.freeze").write_text("1" if frozen else "0")


def frozen(path: str) -> bool:
    """False also where there is no such group."""
    hierarchy = mounted()
    try:
        if hierarchy.version == 1:
            return (hierarchy.folder("freezer", path) / "freezer.state").read_text().strip() != "THAWED"
        return (hierarchy.folder("freezer", path) / "cgroup.freeze").read_text().strip() == "1"
    except (OSError, Unsupported):
        return False


def hasten() -> None:
    """Has the kernel do now what it does before the first process in a while changes its group: blocks for some 10 ms.

    It waits until every processor has looked up, and whoever comes next, within some 10 ms, finds that done. This
    process is told to go where it is, which changes nothing. That it fails is no loss.
    """
    hierarchy = mounted()
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            mount = hierarchy.controllers.get(names.partition(",")[0]) if names else hierarchy.unified
            if mount:
                (mount / path.lstrip("/") / "cgroup.procs").write_text("0")
                return


def oom_killed(path: str) -> bool:
    """Whether the kernel has killed a process of the group for lack of memory; False where there is no such group."""
    hierarchy = mounted()
    name = "memory.oom_control" if hierarchy.version == 1 else "memory.events"
    try:
        return keyed(hierarchy.folder("memory", path) / name).get("oom_kill", 0) > 0
    except Unsupported:
        return False


def keyed(path: Path) -> dict[str, int]:
    """A file of lines `name number`; empty where it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(number) for name, _, number in (line.partition(" ") for line in lines) if number.isdigit()}


def remove(path: str) -> list[OSError]:
    """Removes the group everywhere; what could not be removed is told. Nothing there is success."""
    failures = []
    for top in mounted().folders(path):
        for folder in _bottom_up(top):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                failures.append(error)
    return failures


def _bottom_up(top: Path) -> Iterable[Path]:
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)
