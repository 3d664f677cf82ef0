"""The place of the mesh's tests: hosts on one fabric, which run the store of what they share among themselves."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.hosts import Fabric

from tests.cluster.place import Member, until

FLAGS = ("--mesh", "--mesh-encryption=off")


class Mesh:
    """Hosts h1, h2 … at 10.211.55.1, .2 …; none of them runs anything before it is started."""

    def __init__(self, folder: Path, count: int, flags: Sequence[str] = FLAGS) -> None:
        self.folder, self.flags = folder, flags
        folder.mkdir(parents=True)
        self.fabric = Fabric()
        self.hosts: dict[str, Member] = {}
        for number in range(1, count + 1):
            address = f"10.211.55.{number}"
            host = self.fabric.plug(f"h{number}", f"{address}/24")
            # wireguard-go is spoken to in a folder that the hosts would share.
            host.run(["mkdir", "-p", "/var/run/wireguard"])
            host.run(["mount", "-t", "tmpfs", "none", "/var/run/wireguard"])
            self.hosts[f"h{number}"] = Member(folder / f"h{number}", host, address)

    def __getitem__(self, number: int) -> Member:
        return self.hosts[f"h{number}"]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.hosts.values())

    def begin(self) -> None:
        """The first host begins a mesh."""
        self[1].start(*self.flags)
        until(self[1].usable, "the first host can use its store", 30)

    def join(self, number: int, at: int = 1) -> None:
        """A host joins by a token, and by the address of one host that is in the mesh."""
        token = self[at].linkspan("mesh", "token").out.strip()
        self[number].start(*self.flags, "--join", self[at].at, "--token", token)
        until(self[number].usable, f"host {number} can use the store", 30)

    def voters(self, number: int) -> list[str]:
        """Names of the hosts that have a vote in the store, as one host sees it."""
        addresses = {host["Address"]: host["Name"] for host in self[number].request("GET", "/hosts")[1]}
        members: list[Mapping[str, Any]] = self[number].request("GET", "/cluster")[1]["Members"]
        return sorted(addresses[member["Address"].rpartition(":")[0]] for member in members)

    def close(self) -> None:
        """Ends the hosts with everything in them, and removes what they leave."""
        self.fabric.end()
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            for member in self:
                stack.callback(member.remove)


@contextlib.contextmanager
def mesh(folder: Path, count: int, flags: Sequence[str] = FLAGS) -> Iterator[Mesh]:
    """Hosts that are gone afterwards. `folder` must not be there yet."""
    made = Mesh(folder, count, flags)
    try:
        yield made
        for member in made:
            said = member.log.read_text() if member.log.exists() else ""
            assert "Traceback" not in said, said[-4000:]
    finally:
        made.close()


def restart(member: Member, number: signal.Signals = signal.SIGTERM) -> None:
    """Its daemon ends, and starts as its unit would start it, with nothing but --mesh."""
    member.end(number)
    member.start(*FLAGS)


def same(read: Callable[[], object], wanted: object, what: str, within: float = 20) -> None:
    until(lambda: read() == wanted, what, within)
