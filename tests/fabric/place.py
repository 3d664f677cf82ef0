"""Test hosts with a fabric each, and nothing else: who reaches whom, and who is parted from whom, is the test's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from demo.hosts import DYING_WITH_US, Fabric, Host

from linkspan.model.mesh import MeshIdentity, MeshPeer


class Member:
    """One host. Its mesh address ends in its number, as does the one on its own network."""

    def __init__(self, folder: Path, fabric: Fabric, number: int, *, encrypted: bool) -> None:
        self.name, self.number, self.folder = f"h{number}", number, folder / f"h{number}"
        self.outer, self.address, self.address6 = f"10.211.55.{number}", f"100.127.0.{number}", f"fd6c::{number}"
        self.host: Host = fabric.plug(self.name, f"{self.outer}/24")
        # wireguard-go is spoken to in a folder that the hosts would share.
        self.host.run(["mkdir", "-p", "/var/run/wireguard"])
        self.host.run(["mount", "-t", "tmpfs", "none", "/var/run/wireguard"])
        self.private_key = self.host.run(["wg", "genkey"]).stdout.strip()
        public = subprocess.run(["wg", "pubkey"], input=self.private_key, text=True, capture_output=True, check=True)
        self.public_key = public.stdout.strip()
        self.peer = MeshPeer(
            self.name, self.name, self.address, self.address6, self.public_key, (f"{self.outer}:6784",)
        )
        self.own = MeshIdentity(
            "mesh", self.name, self.name, self.address, self.address6, self.private_key, encrypted=encrypted
        )
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0

    def launch(self) -> None:
        """Its daemon, so to speak."""
        command = [*self.host.enter(Path.cwd()), *DYING_WITH_US, sys.executable, "-m", "tests.fabric.member"]
        self.process = subprocess.Popen(
            [*command, str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.pid = int(self.process.stdout.readline())  # as the host counts

    def do(self, what: str, **given: Any) -> Any:
        """Its answer; RuntimeError with what it says where that is an error."""
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"do": what, **given}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def start(self) -> Any:
        self.launch()
        return self.do("start", own=msgspec.to_builtins(dataclasses.asdict(self.own)))

    def stop(self, *, kill: bool = False) -> None:
        if self.process and self.process.stdin:
            if kill:
                self.host.run(["kill", "-KILL", str(self.pid)])
            with self.process:  # closes its pipes, and waits
                pass
        self.process = None

    def tell(self, others: Iterable[Member]) -> None:
        """Who its peers are."""
        self.do("peers", peers=[msgspec.to_builtins(other.peer) for other in others])

    def reaches(self, other: Member, *options: str) -> bool:
        command = ["busybox", "ping", "-c1", "-W1", *options, other.address]
        return self.host.run(command, check=False).returncode == 0

    def ip(self, *words: str) -> str:
        return self.host.run(["ip", *words]).stdout

    def pids(self, name: str) -> list[int]:
        """Of the host's processes of that name, as the host counts them."""
        return [int(word) for word in self.host.run(["pgrep", "-x", name], check=False).stdout.split()]

    def kill(self, name: str) -> None:
        for pid in self.pids(name):
            self.host.run(["kill", "-KILL", str(pid)])


class Hosts:
    def __init__(self, folder: Path, count: int, *, encrypted: bool = True) -> None:
        self.fabric = Fabric()
        self.members = [Member(folder, self.fabric, number, encrypted=encrypted) for number in range(1, count + 1)]

    def __getitem__(self, number: int) -> Member:
        return self.members[number - 1]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def start(self) -> None:
        for member in self:
            member.start()
        for member in self:
            member.tell(other for other in self if other is not member)

    def part(self, *pairs: tuple[int, int]) -> None:
        self.fabric.part(*((f"h{one}", f"h{other}") for one, other in pairs))

    def close(self) -> None:
        for member in self:
            member.stop()
        self.fabric.end()


@contextlib.contextmanager
def hosts(folder: Path, count: int, *, encrypted: bool = True) -> Iterator[Hosts]:
    made = Hosts(folder, count, encrypted=encrypted)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def until(holds: Callable[[], object], what: str, within: float = 10) -> float:
    """Waits until it holds; the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began
