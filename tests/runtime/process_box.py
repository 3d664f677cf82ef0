"""Real containers on a busybox root file system, for tests; afterwards nothing of them may be left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from linkspan.runtime import cgroups
from linkspan.runtime.attachment import STDOUT, Attachment
from linkspan.runtime.exits import Exit
from linkspan.runtime.processes import Processes

APPLETS = "cat chmod dd echo env false grep head id ls mount seq sh sleep stty touch tr true yes".split()  # noqa: SIM905


def make_rootfs(folder: Path) -> Path:
    """A root file system of busybox alone."""
    busybox = Path("/bin/busybox")
    if not busybox.exists() or not all(map(shutil.which, ("runc", "conmon"))):
        pytest.skip("needs Debian's runc, conmon and busybox-static")
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    shutil.copy(busybox, folder / "bin/busybox")
    for applet in APPLETS:
        (folder / "bin" / applet).symlink_to("busybox")
    return folder


class Box:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rootfs = make_rootfs(folder / "rootfs")
        self.parent = f"/linkspan-test-{uuid.uuid4().hex[:12]}"
        self.exec_root = folder / "run"
        self.processes = Processes(self.exec_root)
        self._exits = self.processes.exits()

    def spec(self, id: str, args: Sequence[str], *, tty: bool = False) -> dict[str, Any]:
        """The least that runs: its own pid, mount, ipc and uts namespaces, the machine's network."""
        return {
            "ociVersion": "1.0.2",
            "process": self.process(args, tty=tty),
            "root": {"path": str(self.rootfs)},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
            ],
            "linux": {
                "cgroupsPath": f"{self.parent}/{id}",
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
            },
        }

    def process(self, args: Sequence[str], *, tty: bool = False) -> dict[str, Any]:
        user = {"uid": 0, "gid": 0}
        return {"terminal": tty, "user": user, "args": list(args), "env": ["PATH=/bin"], "cwd": "/"}

    def log(self, id: str) -> Path:
        return self.folder / f"{id}.log"

    async def create(self, id: str, *args: str, tty: bool = False, **options: bool) -> int:
        spec = self.spec(id, args, tty=tty)
        return await self.processes.create(id, spec, log_path=self.log(id), tty=tty, **options)

    async def exit(self) -> Exit:
        return await asyncio.wait_for(anext(self._exits), 20)

    async def close(self) -> None:
        await self._exits.aclose()
        for id in self.processes.ids():
            await self.processes.delete(id)
        self.processes.close()


@contextlib.asynccontextmanager
async def box(folder: Path) -> AsyncIterator[Box]:
    """A Box, and after it: no process, mount, cgroup, folder or open file that was not there before."""
    mounts, files = Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    this = Box(folder)
    try:
        yield this
    finally:
        await this.close()
        for top in cgroups.mounted().folders(this.parent):
            if top.exists():
                top.rmdir()  # fails where something of ours is still in it
    # What the asyncio loop itself opened stays open: none, as files are counted inside it.
    assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208
    assert sorted(path.name for path in this.exec_root.glob("*/*")) == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text() or str(folder) in mounts
    assert running(str(this.exec_root)) == []


def running(word: str) -> list[int]:
    """Processes with `word` in their arguments, but for zombies that only init has to reap."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


async def drain(streams: Attachment) -> tuple[bytes, bytes]:
    """Everything until the end of the streams: (standard output, standard error)."""
    output = {True: bytearray(), False: bytearray()}
    while piece := await asyncio.wait_for(streams.read(), 20):
        output[piece[0] == STDOUT] += piece[1]
    await streams.close()
    return bytes(output[True]), bytes(output[False])
