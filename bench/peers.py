"""Debian's docker.io and containerd, unpacked below a folder: installed, they would start services and, where Docker's
own packages are, take their place. What they link to and call is installed by `setup/packages run demo bench`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from demo.console import Console

from bench.place import FOLDER

PACKAGES = ("docker.io", "containerd")
SHOWN = ("runc", "conmon", "netavark", "containernetworking-plugins", "libnftables1", "iptables", "python3")


def versions(packages: tuple[str, ...] = SHOWN) -> dict[str, str]:
    """The versions of packages that are installed."""
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


class Docker:
    """What was unpacked. `program` is the docker client: the machine's where there is one, else the unpacked one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = (str(root / "usr/bin"), str(root / "usr/sbin"))
        self.dockerd = str(root / "usr/sbin/dockerd")
        self.program = shutil.which("docker") or str(root / "usr/bin/docker")
        self.versions = {
            path.name.partition("_")[0]: path.name.split("_")[1].replace("%3a", ":") for path in root.glob("*.deb")
        }

    def client_version(self) -> str:
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip()


def docker(console: Console) -> Docker:
    """Fetches and unpacks what is not there yet. Raises RuntimeError with apt's words."""
    root = FOLDER / "docker"
    if not (root / "usr/sbin/dockerd").exists():
        part = FOLDER / "docker.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        # apt fetches as a user of its own, which could not write here.
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
        with console.working(f"fetching {' and '.join(PACKAGES)}"):
            done = subprocess.run(command, cwd=part, capture_output=True, text=True, check=False)
            if done.returncode:  # lists that were never fetched, or are too old
                subprocess.run(["apt-get", "-q", "update"], capture_output=True, check=False)
                done = subprocess.run(command, cwd=part, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        with console.working("unpacking"):
            for package in sorted(part.glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", str(package), str(part)], check=True)
                os.truncate(package, 0)  # only its name, for the version
        shutil.rmtree(root, ignore_errors=True)
        part.rename(root)
    return Docker(root)
