"""Other firewalls on the daemon's own host: Debian's ufw and dockerd, as setup/neighbours unpacks them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from demo.hosts import Host

from tests.docker_client import DOCKER
from tests.product import image
from tests.product.engine import CGROUP
from tests.product.place import ROOT, Place

UNPACKED = ROOT / ".cache" / "neighbours"
THERE = (UNPACKED / "usr/sbin/ufw").exists() and (UNPACKED / "usr/sbin/dockerd").exists()
BRIDGE, POOL = "dock0", "172.30.0.0/16"


class Ufw:
    """ufw with files of its own, in the place's folder. It starts out disabled."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._root = place.folder / "ufw"
        for name in ("etc", "lib/ufw", "usr/share/ufw"):
            shutil.copytree(UNPACKED / name, self._root / name, symlinks=True)

    def __call__(self, *arguments: str) -> str:
        modules = UNPACKED / "usr/lib/python3/dist-packages"
        environment = os.environ | {"PYTHONPATH": str(modules), "PYTHONDONTWRITEBYTECODE": "1"}
        command = ["/usr/bin/python3", str(UNPACKED / "usr/sbin/ufw"), f"--rootdir={self._root}"]
        return self._place.host.run([*command, f"--datadir={self._root}", *arguments], env=environment).stdout


def dockerd_beside(place: Place) -> Dockerd:
    """A dockerd on linkspand's host, with a bridge and a pool of its own."""
    place.host.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    place.host.run(["ip", "address", "add", "172.31.0.1/24", "dev", BRIDGE])
    place.host.run(["ip", "link", "set", BRIDGE, "up"])
    flags = ("--bridge", BRIDGE, "--default-address-pool", f"base={POOL},size=24")
    return Dockerd(place.host, place.folder / "dockerd", *flags)


class Dockerd:
    """`folder` is its own."""

    def __init__(self, host: Host, folder: Path, *flags: str) -> None:
        self._host, self._folder, self._flags = host, folder, flags
        self._folder.mkdir()
        self._socket = self._folder / "d.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        folder = self._folder
        command = [
            *(str(UNPACKED / "usr/sbin/dockerd"), "--data-root", str(folder / "lib"), "--exec-root", str(folder / "x")),
            *("--pidfile", str(folder / "pid"), "-H", f"unix://{self._socket}", "--cgroup-parent", f"/{CGROUP}"),
            *self._flags,
        ]
        path = f"{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin:{os.environ['PATH']}:/usr/sbin:/sbin"
        self._process = self._host.start(command, log=folder / "log", env={"PATH": path, "HOME": str(folder)})
        deadline = time.monotonic() + 30
        while subprocess.run([*self._client, "version"], env=self._environment, capture_output=True).returncode:
            assert self._process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    @property
    def _client(self) -> list[str]:
        return [DOCKER, "-H", f"unix://{self._socket}"]

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self._folder), "DOCKER_CLI_HINTS": "false"}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self._client, *arguments], env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def import_web(self) -> None:
        archive = self._folder / "image.tar"
        archive.write_bytes(image.tar())
        known = [change for change in image.WEB if not change.startswith("STOPSIGNAL")]  # not to its import
        self("import", *(word for change in known for word in ("-c", change)), str(archive), "web")
        archive.unlink()

    def clear(self) -> None:
        if containers := self("ps", "-aq").split():
            self("rm", "-f", *containers)

    def end(self) -> None:
        """Its rules stay, as they do."""
        if running := self("ps", "-q").split():
            self("stop", "-t", "0", *running)
        assert self._process is not None
        pid = (self._folder / "pid").read_text().strip()
        self._host.run(["kill", f"-{signal.SIGTERM.value}", pid])
        self._process.wait(30)


def forget_rules(place: Place) -> None:
    """As if no other firewall had ever been there. What is ours stays, or comes back."""
    place.host.run(["iptables-legacy", "-P", "FORWARD", "ACCEPT"])
    place.host.run(["iptables-legacy", "-F"])
    place.host.run(["nft", "flush", "ruleset"])
    place.host.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])


def rules(place: Place, chain: str = "FORWARD", command: str = "iptables") -> list[str]:
    return place.host.run([command, "-S", chain]).stdout.splitlines()


def eventually(holds: Callable[[], object], within: float = 2) -> None:
    """Asserts that a call becomes true."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)
