"""The daemon under the scenario: linkspand, or, to check the scenario itself, Debian's dockerd."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CGROUP = "linkspan-demo"


@dataclass(frozen=True)
class Daemon:
    """A daemon by its program, the paths where it finds what it starts, and the flags that only it has."""

    name: str
    program: str
    paths: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    nat: str = "linkspan nat"  # what shows the NAT view

    def command(self, folder: Path, socket: Path, *more: str) -> Sequence[str]:
        """The command line of a daemon that keeps everything in `folder`."""
        return [
            self.program,
            *("--config-file", f"{folder}/daemon.json"),  # not the machine's own
            *("--data-root", f"{folder}/lib"),
            *("--exec-root", f"{folder}/exec"),
            *("-H", f"unix://{socket}"),
            *("--pidfile", f"{folder}/daemon.pid"),
            *self.flags,
            *more,
        ]


def linkspand() -> Daemon:
    """Our own, from the environment that runs this."""
    return Daemon("linkspand", str(Path(sys.executable).parent / "linkspand"), flags=("--cgroup-parent", f"/{CGROUP}"))


def dockerd(root: Path) -> Daemon:
    """Debian's, from the packages docker.io and containerd unpacked below `root`."""
    return Daemon(
        "dockerd",
        str(root / "usr/sbin/dockerd"),
        paths=(f"{root}/usr/bin", f"{root}/usr/sbin"),
        nat="iptables -t nat -nL",
    )
