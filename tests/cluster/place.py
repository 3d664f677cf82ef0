"""The place of the cluster's tests: three hosts with linkspand and etcd, and a machine outside that runs none of it.

Every host has its own processes, mounts, folder and control group. What may be done to it: its daemon is killed, its
cable is pulled, it is parted from others or from etcd, or it dies with everything on it and another takes its place.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

from demo.etcd import CLIENTS, Members, place
from demo.hosts import Fabric, Host

from tests.product.engine import CGROUP, Engine, space

ADDRESSES = {"h1": "10.211.55.4", "h2": "10.211.55.5", "h3": "10.211.55.6"}
OUTSIDE = "10.211.55.9"
T = TypeVar("T")


class Member(Engine):
    """linkspand on one host of the cluster."""

    def __init__(self, folder: Path, host: Host, address: str) -> None:
        super().__init__(folder, host, f"{CGROUP}-{host.name}")
        self.name, self.at = host.name, address

    @property
    def id(self) -> str:
        """Its id in the cluster."""
        return next(str(host["ID"]) for host in self.request("GET", "/hosts")[1] if host["Self"])

    def usable(self) -> bool:
        """Whether it can use the cluster's store, by its own word."""
        return bool(self.request("GET", "/cluster")[1]["Usable"])

    def parted_from_etcd(self, parted: bool) -> None:
        """Whether the daemon's packets to etcd are dropped, its own host's member included. Members go on talking."""
        rules = "table ip parted\ndelete table ip parted\n"
        if parted:
            hook = "type filter hook output priority 0;"
            rules += f"table ip parted {{ chain output {{ {hook} tcp dport {CLIENTS} drop; }}; }}"
        self.host.run(["nft", rules])


class Cluster:
    """Hosts by name (`cluster["h1"]`), whose daemons are started with `start`."""

    addresses: ClassVar[Mapping[str, str]] = ADDRESSES

    def __init__(self, folder: Path, *, mtu: int = 1500) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.fabric = Fabric(mtu)
        self.outside = self._plugged("outside", OUTSIDE)
        self.there = space(self.outside)
        self.hosts: dict[str, Member] = {}
        for name, address in self.addresses.items():
            self.hosts[name] = Member(folder / name, self._plugged(name, address), address)
        self.etcd = Members([place(each.host, each.at) for each in self], folder / "etcd")
        self.flags: tuple[str, ...] = ()

    def _plugged(self, name: str, address: str) -> Host:
        host = self.fabric.plug(name, f"{address}/24")
        if name != "outside":
            host.run(["ip", "route", "add", "default", "via", OUTSIDE])
        return host

    def __getitem__(self, name: str) -> Member:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.hosts.values())

    # -- starting -----------------------------------------------------------------------------------------------------

    def start(self, *flags: str) -> None:
        """etcd, then the daemons with their images, all hosts at once."""
        self.flags = flags
        self.etcd.start()
        self.each(lambda member: member.start("--cluster", self.etcd.url, *flags))
        self.each(lambda member: member.import_images())

    def each(self, work: Callable[[Member], T]) -> list[T]:
        """The work done on every host at once; results in the hosts' order."""
        with concurrent.futures.ThreadPoolExecutor(len(self.hosts)) as threads:
            return list(threads.map(work, self))

    # -- what happens to hosts ----------------------------------------------------------------------------------------

    def part(self, *pairs: tuple[str, str]) -> None:
        """What the hosts of each pair send each other is dropped from now on, and nothing else; none: all is well."""
        self.fabric.part(*pairs)

    def cut_off(self, name: str) -> None:
        """The other hosts and this one hear nothing of each other; the machine outside hears everybody."""
        self.part(*((name, other) for other in self.hosts if other != name))

    def cable(self, name: str, *, plugged: bool) -> None:
        self.fabric.cable(name, plugged=plugged)

    def kill_host(self, name: str) -> None:
        """Every process of the host is gone at once, and with them its links, mounts and rules. Its disk stays."""
        member = self.hosts[name]
        self.etcd.kill(name)
        member.host.end()
        if member.process is not None:
            member.process.wait(20)

    def replace_host(self, name: str, *, disk: bool) -> None:
        """Another host in the place of one that was killed: with its disk, or with an empty one. etcd keeps its own.

        The kernel would end the host with the thread that makes it: called from the main thread alone.
        """
        member = self.hosts[name]
        member.host = self._plugged(name, member.at)
        member.remove_control_groups()
        shutil.rmtree(member.exec_root)  # /run of a machine that has started anew is empty
        if not disk:
            shutil.rmtree(member.data_root)
        self.etcd.places[name] = place(member.host, member.at)
        self.etcd.start(name)
        member.start(*member.flags)
        if not disk:
            member.import_images()

    def heal(self) -> None:
        """Everybody hears everybody again, and knows it."""
        self.part()
        for name, member in self.hosts.items():
            self.cable(name, plugged=True)
            member.parted_from_etcd(False)
        for member in self:
            until(member.usable, f"{member.name} can use the cluster's store", 60)

    # -- looking ------------------------------------------------------------------------------------------------------

    def network(self, driver: str, name: str, *options: str, at: str = "h1") -> str:
        """Makes a network on one host and waits until every host knows it; its id."""
        made = self[at].out("network", "create", "-d", driver, *options, name)
        self.known(made)
        return made

    def known(self, network: str) -> None:
        """Returns once every host knows the network."""
        for member in self:
            until(
                lambda member=member: member.request("GET", f"/networks/{network}")[0] == 200,
                f"{member.name} knows the network {network}",
            )

    def clear(self) -> None:
        """Removes what a test has made, on every host: containers, networks, volumes."""
        self.each(lambda member: member.remove_containers())
        for member in self:
            _remove_networks(member)
        self.each(lambda member: member.clear())

    def close(self) -> None:
        """Ends the hosts with everything in them, and removes what they leave."""
        self.etcd.end()
        self.fabric.end()
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            for member in self:
                stack.callback(member.remove)


def _remove_networks(member: Member) -> None:
    """Another host may have removed one, and this one not have heard of it yet; or not have been able yet to tell that
    its containers have gone."""
    began = time.monotonic()
    while networks := member.networks():
        said = [member.docker("network", "rm", network, status=None).both for network in networks]
        assert time.monotonic() - began < 10, f"{member.name} keeps networks: {' '.join(said)}"


def until(holds: Callable[[], object], what: str, within: float = 10) -> float:
    """Waits until it holds, which others bring about; the seconds that it took. AssertionError names `what`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


@contextlib.contextmanager
def cluster(folder: Path, *, mtu: int = 1500) -> Iterator[Cluster]:
    """A cluster that is gone afterwards. `folder` must not be there yet."""
    made = Cluster(folder, mtu=mtu)
    try:
        yield made
    finally:
        made.close()


def kill_daemon(member: Member) -> None:
    """It dies at once; its containers live on. It is started again by `member.start(*member.flags)`."""
    member.end(signal.SIGKILL)
