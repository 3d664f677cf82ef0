"""The run's folder, the test hosts it makes, what may be left of them, and the check that nothing is."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from demo.hosts import Host

from bench.worker import Worker

FOLDER = Path("/var/lib/linkspan/bench")
CGROUP = "linkspan-bench"
TIDYING = 0.2  # seconds
_CGROUPS = Path("/sys/fs/cgroup")


def settle() -> None:
    """The kernel takes a namespace apart after its removal has returned, and others wait for that meanwhile."""
    time.sleep(TIDYING)


class Place:
    """The folder of one run, and its hosts. `end` takes all of it away, and answers what could not be."""

    def __init__(self) -> None:
        self.folder = FOLDER / "run"
        self._sweep()
        self.folder.mkdir(parents=True)
        self._before = _machine()
        self._hosts: list[Host] = []
        self._ends: list[Callable[[], None]] = []

    def host(self, name: str, *, own_run: bool = True) -> Host:
        """A test host; with `own_run`, what programs write to /run, /etc and /opt is its own too, and gone with it."""
        host = Host(name)
        self._hosts.append(host)
        if own_run:
            host.run(["mount", "-t", "tmpfs", "run", "/run"])
            host.run(["mkdir", "/run/netns", "/run/lock", "/run/over"])
            for tree in ("etc", "opt"):
                host.run(["mkdir", f"/run/over/{tree}", f"/run/over/{tree}.work"])
                layers = f"lowerdir=/{tree},upperdir=/run/over/{tree},workdir=/run/over/{tree}.work"
                host.run(["mount", "-t", "overlay", "overlay", "-o", layers, f"/{tree}"])
        return host

    def ends_with(self, end: Callable[[], None]) -> None:
        """What else there is to be ended with the place, before the hosts."""
        self._ends.append(end)

    def folder_for(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder

    def worker(self, module: str, name: str) -> tuple[Host, Worker]:
        """A worker in a host of its own, with a folder of its own."""
        host = self.host(name)
        return host, Worker(host, module, str(self.folder_for(name)))

    def end_host(self, host: Host) -> None:
        self._hosts.remove(host)
        host.end()

    def end(self) -> list[str]:
        for end in reversed(self._ends):
            end()
        for host in self._hosts:
            host.end()
        left = self._sweep()
        deadline = time.monotonic() + 15
        while (more := self._more()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left + more

    def _more(self) -> list[str]:
        """What the machine has now and did not have before."""
        after = _machine()
        return [f"{what} {name}" for what, names in after.items() for name in sorted(names - self._before[what])]

    def _sweep(self) -> list[str]:
        deadline = time.monotonic() + 15
        while True:
            if self.folder.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            left = [*_remove_cgroups(), *([str(self.folder)] if self.folder.exists() else [])]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)  # the kernel is still ending the processes


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


def _machine() -> dict[str, set[str]]:
    """What a run could leave on the machine: links of its own network, mounts, and processes that name its folder."""
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return {
        "link": {path.name for path in Path("/sys/class/net").iterdir() if path.name != "bonding_masters"},
        "mount": {point for point in mounts if point.startswith(f"{FOLDER}/")},
        "process": _processes(),
    }


def _processes() -> set[str]:
    found = set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if f"{FOLDER}/run" in command:
                    found.add(f"{path.name} {command[:100]}")
    return found
