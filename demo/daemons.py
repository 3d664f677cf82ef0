"""The daemon under the scenario: linkspand, or, to check the scenario itself, Debian's dockerd."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CGROUP = "linkspan-demo"


@dataclass(frozen=True)
class Daemon:
    """A daemon by its program, the paths where it finds what it starts, and where its containers run."""

    name: str
    program: str
    paths: tuple[str, ...] = ()
    cgroup: str = ""  # below which each daemon's containers have a control group of their own
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
            *(("--cgroup-parent", f"/{self.cgroup}/{folder.name}") if self.cgroup else ()),
            *more,
        ]


def linkspand() -> Daemon:
    """Our own, from the environment that runs this."""
    return Daemon("linkspand", str(Path(sys.executable).parent / "linkspand"), cgroup=CGROUP)


def dockerd(root: Path) -> Daemon:
    """Debian's, from the packages docker.io and containerd unpacked below `root`."""
    return Daemon(
        "dockerd",
        str(root / "usr/sbin/dockerd"),
        paths=(f"{root}/usr/bin", f"{root}/usr/sbin"),
        nat="iptables -t nat -nL",
    )
