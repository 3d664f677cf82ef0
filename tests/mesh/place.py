"""The place of the mesh's tests: hosts on one fabric, which run the store of what they share among themselves."""

from __future__ import annotations

import concurrent.futures
import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from demo.hosts import Fabric

from demo import hosts
from tests.cluster.place import Member
from tests.cluster.place import until as patiently

FLAGS = ("--mesh", "--mesh-encryption=off")


class Mesh:
    """Hosts h1, h2 … at 10.211.55.1, .2 …; none of them runs anything before it is started."""

    def __init__(self, folder: Path, count: int, flags: Sequence[str] = FLAGS) -> None:
        self.folder, self.flags = folder, flags
        folder.mkdir(parents=True)
        self.fabric = Fabric()
        self.hosts: dict[str, Member] = {}
        for number in range(1, count + 1):
            name, address = f"h{number}", f"10.211.55.{number}"
            self.hosts[name] = Member(folder / name, self._plugged(name, address), address)

    def _plugged(self, name: str, address: str) -> hosts.Host:
        host = self.fabric.plug(name, f"{address}/24")
        # wireguard-go is spoken to in a folder that the hosts would share.
        host.run(["mkdir", "-p", "/var/run/wireguard"])
        host.run(["mount", "-t", "tmpfs", "none", "/var/run/wireguard"])
        return host

    def __getitem__(self, number: int) -> Member:
        return self.hosts[f"h{number}"]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.hosts.values())

    def begin(self) -> None:
        """The first host begins a mesh."""
        self[1].start(*self.flags)
        until(self[1].usable, "the first host can use its store")

    def join(self, number: int, at: int = 1) -> None:
        """A host joins by a token, and by the address of one host that is in the mesh."""
        token = self[at].linkspan("mesh", "token").out.strip()
        self[number].start(*self.flags, "--join", self[at].at, "--token", token)
        until(self[number].usable, f"host {number} can use the store")

    def each(self, numbers: Sequence[int], work: Callable[[Member], object]) -> None:
        """The work done on these hosts at once."""
        with concurrent.futures.ThreadPoolExecutor(len(numbers)) as threads:
            list(threads.map(work, [self[number] for number in numbers]))

    def kill(self, number: int) -> None:
        """Every process of the host is gone at once, and with them its links, mounts and rules. Its disk stays."""
        member = self[number]
        member.host.end()
        assert member.process
        member.process.wait(20)

    def plug(self, number: int) -> None:
        """The machine runs again, and nothing on it yet. The kernel would end it with the thread that does this."""
        member = self[number]
        member.host = self._plugged(member.name, member.at)
        member.remove_control_groups()
        shutil.rmtree(member.exec_root)

    def voters(self, number: int) -> list[str]:
        """Names of the hosts that have a vote in the store, as one host sees it."""
        addresses = {host["Address"]: host["Name"] for host in self[number].request("GET", "/hosts")[1]}
        members: list[Mapping[str, Any]] = self[number].request("GET", "/cluster")[1]["Members"]
        places = (member["Address"].rpartition(":")[0] for member in members)
        return sorted(addresses.get(place, place) for place in places)

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
        try:
            yield made
        except BaseException as error:
            for member in made:
                for log in (member.log, member.data_root / "mesh/etcd/etcd.log"):
                    error.add_note(f"-- {member.name}, {log.name}:\n{log.read_text()[-3000:] if log.exists() else ''}")
            raise
        for member in made:
            said = member.log.read_text() if member.log.exists() else ""
            assert "Traceback" not in said, said[-4000:]
    finally:
        made.close()


def restart(member: Member, number: signal.Signals = signal.SIGTERM) -> None:
    """Its daemon ends, and starts as its unit would start it, with nothing but --mesh."""
    member.end(number)
    member.start(*FLAGS)


def until(holds: Callable[[], object], what: str, within: float = 120) -> float:
    """As in tests/cluster, with the patience that several etcd need: a new member's vote took 36 s."""
    return patiently(holds, what, within)


def same(read: Callable[[], object], wanted: object, what: str) -> None:
    until(lambda: read() == wanted, what)
