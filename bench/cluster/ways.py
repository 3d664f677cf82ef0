"""The ways: how two ends that talk to each other are made, on two hosts of one cluster."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from demo.etcd import Members, place
from demo.hosts import Fabric, Host
from demo.ovs import THERE, OpenVSwitch

from bench.daemons import Daemon, linkspand
from bench.peers import Docker
from bench.place import Place

ADDRESSES = {"h1": "10.211.55.4", "h2": "10.211.55.5", "h3": "10.211.55.6"}
STREAM, PING = 5201, 5202  # ports


@dataclass(frozen=True)
class Ends:
    """A server's namespace and the address it is reached at; the client's namespace."""

    server: str
    address: str
    client: str


class Cluster:
    """Three hosts with linkspand, one etcd with a member in each."""

    def __init__(self, place_: Place, docker: Docker) -> None:
        self.fabric = Fabric()
        place_.ends_with(self.fabric.end)
        self._place, self._docker = place_, docker
        self._meshes: dict[str, tuple[Daemon, Daemon]] = {}
        hosts = {name: self.fabric.plug(name, f"{address}/24") for name, address in ADDRESSES.items()}
        self.etcd = Members([place(host, ADDRESSES[name]) for name, host in hosts.items()], place_.folder / "etcd")
        place_.ends_with(self.etcd.end)
        self.etcd.start()
        self.daemons = {name: linkspand(place_, docker, name=name, host=host) for name, host in hosts.items()}
        for daemon in self.daemons.values() if THERE else ():
            switch = OpenVSwitch(_space(daemon.host), daemon.folder / "ovs")
            place_.ends_with(switch.close)
        for daemon in self.daemons.values():
            daemon.start("--cluster", self.etcd.url, "--ovs-db", f"unix:{daemon.folder}/ovs/db.sock")
            daemon.load_image()

    def mesh(self, encryption: str) -> tuple[Daemon, Daemon]:
        """Two more hosts, that are a mesh: made when they are asked for first, and kept."""
        if encryption not in self._meshes:
            made = []
            for number in (1, 2):
                name = f"{encryption}{number}"
                host = self.fabric.plug(name, f"10.211.55.{100 + 10 * len(self._meshes) + number}/24")
                # wireguard-go is spoken to in a folder that the hosts would share.
                host.run(["mkdir", "-p", "/var/run/wireguard"])
                host.run(["mount", "-t", "tmpfs", "none", "/var/run/wireguard"])
                made.append(linkspand(self._place, self._docker, name=name, host=host))
            one, two = self._meshes[encryption] = (made[0], made[1])
            flags = ("--mesh", f"--mesh-encryption={encryption}")
            one.start(*flags)
            token = one.timed("GET", "/mesh/token")[1]["Token"]
            joined = f"10.211.55.{100 + 10 * (len(self._meshes) - 1) + 1}"
            two.start(*flags, "--join", joined, "--token", token)
            for daemon in made:
                daemon.load_image()
        return self._meshes[encryption]

    def known(self, network: str, daemons: Iterable[Daemon] = ()) -> None:
        """Returns once every host, or these, know the network. Raises RuntimeError."""
        asked = list(daemons) or list(self.daemons.values())
        deadline = time.monotonic() + 10
        while any(daemon.api("GET", f"/networks/{network}")[0] != 200 for daemon in asked):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not every host knows the network {network}")
            time.sleep(0.01)


@dataclass(frozen=True)
class Way:
    """`make` gives the two ends, and takes everything away afterwards."""

    name: str
    make: Callable[[Cluster], contextlib.AbstractContextManager[Ends]]


@contextlib.contextmanager
def _hosts(cluster: Cluster) -> Iterator[Ends]:
    one, two = cluster.daemons["h1"].host, cluster.daemons["h2"].host
    yield Ends(_space(one), ADDRESSES["h1"], _space(two))


@contextlib.contextmanager
def _published(cluster: Cluster) -> Iterator[Ends]:
    """Docker's way between hosts: the client's bridge, the server's host, a published port, its bridge."""
    one, two = cluster.daemons["h1"], cluster.daemons["h2"]
    server, client = one.create([STREAM, PING]), two.create()
    with _running((one, server), (two, client)):
        yield Ends(one.sandbox(server), ADDRESSES["h1"], two.sandbox(client))


@contextlib.contextmanager
def _one_bridge(cluster: Cluster) -> Iterator[Ends]:
    """Two containers of one host."""
    one = cluster.daemons["h1"]
    server, client = one.create(), one.create()
    with _running((one, server), (one, client)):
        yield Ends(one.sandbox(server), address_of(one, server), one.sandbox(client))


def _network(*create: str, mesh: str = "") -> Callable[[Cluster], contextlib.AbstractContextManager[Ends]]:
    """Two containers on two hosts, on a network made with these arguments; of a mesh with encryption `on` or `off`."""

    @contextlib.contextmanager
    def make(cluster: Cluster) -> Iterator[Ends]:
        one, two = cluster.mesh(mesh) if mesh else (cluster.daemons["h1"], cluster.daemons["h2"])
        one.docker("network", "create", *create, "bench")
        cluster.known("bench", (one, two))
        try:
            server, client = one.create(network="bench"), two.create(network="bench")
            with _running((one, server), (two, client)):
                ends = Ends(one.sandbox(server), address_of(one, server), two.sandbox(client))
                _reached(ends)
                yield ends
        finally:
            one.docker("network", "rm", "bench")

    return make


def _reached(ends: Ends) -> None:
    """Returns once the client hears the server's kernel refuse it: routes by BGP take seconds. Raises RuntimeError."""
    asking = ["nsenter", f"--net={ends.client}", "iperf3", "-c", ends.address, "-p", "9", "--connect-timeout", "500"]
    deadline = time.monotonic() + 30
    while "refused" not in subprocess.run(asking, capture_output=True, text=True, check=False).stderr:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{ends.address} is not reached")
        time.sleep(0.05)


@contextlib.contextmanager
def _running(*containers: tuple[Daemon, str]) -> Iterator[None]:
    try:
        for daemon, id_ in containers:
            daemon.run(id_)
        yield
    finally:
        for daemon, id_ in containers:
            daemon.remove(id_)


def address_of(daemon: Daemon, id_: str) -> str:
    """A running container's address on its one network."""
    (network,) = daemon.inspect(id_)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def _space(host: Host) -> str:
    return f"/proc/{host.pid}/ns/net"


def _flannel(subnet: str, backend: str) -> Callable[[Cluster], contextlib.AbstractContextManager[Ends]]:
    options = (f"flannel.prefix=/flannel/{backend}", f"flannel.backend={backend}")
    return _network("-d", "flannel", "--subnet", subnet, *(word for one in options for word in ("-o", one)))


def _calico(encapsulation: str) -> Callable[[Cluster], contextlib.AbstractContextManager[Ends]]:
    return _network("-d", "calico", "--subnet", "10.78.0.0/16", "-o", f"encapsulation={encapsulation}")


_SEGMENT = ("-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--ip-range", "10.211.55.64/26")
WAYS: Sequence[Way] = (
    Way("host", _hosts),
    Way("bridge, one host", _one_bridge),
    Way("bridge, published port", _published),
    Way("overlay", _network("-d", "overlay")),
    Way("weave, encrypted (user space)", _network("-d", "weave", mesh="on")),
    Way("weave, not encrypted", _network("-d", "weave", mesh="off")),
    Way("flannel, vxlan", _flannel("10.95.0.0/16", "vxlan")),
    Way("flannel, host-gw", _flannel("10.96.0.0/16", "host-gw")),
    Way("calico, vxlan", _calico("vxlan")),
    Way("calico, never", _calico("never")),
    Way("calico, vxlan-cross-subnet", _calico("vxlan-cross-subnet")),
    Way("flat, bridge", _network("-d", "flat", *_SEGMENT, "-o", "mode=bridge")),
    Way("flat, macvlan", _network("-d", "flat", *_SEGMENT, "-o", "mode=macvlan")),
    Way("flat, routed", _network("-d", "flat", *_SEGMENT, "-o", "mode=routed")),
    Way("OVS, GRE (user space)", _network("-d", "ovs", "--subnet", "10.77.0.0/24")),
)
