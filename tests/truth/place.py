"""Every kind of network on test hosts, made by the engine's own decisions, with servers and clients in all of them.

There are no containers: sandboxes with sockets of this process are enough, and 40 of them are made in a second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from linkspan.daemon.cluster.cluster import own_host
from linkspan.drivers.available import DRIVERS
from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.contract import Driver
from linkspan.drivers.overlay import OverlayDriver
from linkspan.drivers.publish import Host as BridgeHost
from linkspan.engine.join import Surroundings, join, leave
from linkspan.engine.networks import create_network
from linkspan.engine.publication import as_remote
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.request import NetworkRequest
from linkspan.ipam.ports import PortSpace
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.container import Config, Container, EndpointIpamConfig, EndpointSettings, HostConfig, PortBinding
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.relay import process
from linkspan.state.host import HostFacts, Underlay
from linkspan.state.objects import State, Sysctl
from linkspan.state.plan import Plan, diff
from tests.hosts import Host, enter, socket_in

HOST = {4: "10.211.55.4", 6: "fd00:55::4"}
OUTSIDE = {4: "10.211.55.9", 6: "fd00:55::9"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
KIND = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
PUBLISHED, UNPUBLISHED = 80, 81


@dataclasses.dataclass(frozen=True)
class Probe:
    """One attempt: from a namespace to an address and port, where the server called `name` should answer."""

    space: str
    address: str
    port: int
    protocol: str
    name: str


class Lab:
    """The records of a host, and the same in the kernel."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        accept_mark: str = "",
        closed: bool = False,
        underlay: Underlay | None = None,
        number: int = 0,
        **driver: object,
    ) -> None:
        """With an `underlay`, it is the host of that number in a cluster."""
        self.host, self.folder = host, folder
        self._ids = (f"{number:08x}".ljust(64, "0") for number in itertools.count((number << 24) + 1))
        self.now = self._applied = Snapshot()
        self._writes: list[Write] = []
        settings = BridgeHost(relay=True, **driver)  # type: ignore[arg-type]
        own = (BridgeDriver(settings), OverlayDriver(settings, underlay))
        self.drivers: Mapping[str, Driver] = {**DRIVERS, **{each.name: each for each in own}}
        self.id = f"host{number}" if underlay else ""
        self._facts = HostFacts(namespaces=str(folder), publish_closed=closed, underlay=underlay, host_id=self.id)
        self.kernel: LinuxKernel = host.call(LinuxKernel, folder, accept_mark=accept_mark)
        command = [sys.executable, "-I", "-S", process.__file__, str(folder / "relay.sock")]
        self._relay = subprocess.Popen(["nsenter", f"--net={host.path}", *command])

    def network(
        self, name: str, subnet: str, subnet6: str = "", *, driver: str = "", internal: bool = False, **options: str
    ) -> Network:
        """`options` are those of the driver, with two underscores for a dot: `bridge__enable_icc`."""
        prefix = "com.docker.network."
        request = NetworkRequest(
            id=next(self._ids),
            created="",
            name=name,
            driver=driver,
            ipv6=bool(subnet6),
            internal=internal,
            pools=(Pool(subnet=subnet), *((Pool(subnet=subnet6),) if subnet6 else ())),
            options={f"{prefix}{key.replace('__', '.')}": value for key, value in options.items()},
        )
        self.take(create_network(self.now, request, self.drivers, (), self._facts).writes)
        return self.now.networks[request.id]

    def take(self, writes: Iterable[Write]) -> None:
        writes = list(writes)
        self._writes += writes
        self.now = self.now.after(writes)

    def container(
        self,
        name: str,
        network: Network,
        port: int = 0,
        *,
        address: str = "",
        mac: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Endpoint:
        """Its endpoint; with `port`, the port 80 is published there."""
        bindings = {f"{PUBLISHED}/{protocol}": (PortBinding(host_port=str(port)),) for protocol in KIND} if port else {}
        container = Container(
            id=next(self._ids),
            name=name,
            created="",
            image_id="",
            config=Config(labels=labels or {}),
            host_config=HostConfig(network_mode=network.name, port_bindings=bindings),
            networks={
                network.id: EndpointSettings(
                    ipam_config=EndpointIpamConfig(ipv4_address=address) if address else None, mac_address=mac
                )
            },
        )
        self.take([put(container)])
        space = PortSpace(relay=True)
        around = Surroundings(self.drivers, str(self.folder), space, tuple(itertools.islice(self._ids, 2)), self.id)
        self.take(join(self.now, container, around).writes)
        (endpoint,) = self.now.endpoints_in(container)
        return endpoint

    def end(self, endpoint: Endpoint) -> None:
        container = self.now.containers[endpoint.container_id]
        self.take(leave(self.now, container).writes)
        self.take([drop(container)])

    def change(self, endpoint: Endpoint, **fields: object) -> None:
        self.take([put(msgspec.structs.replace(endpoint, **fields))])

    def space(self, endpoint: Endpoint) -> str:
        return self.now.sandboxes[endpoint.sandbox_id].path

    def apply(self) -> None:
        def carry_out() -> None:
            self.kernel.apply(diff(self.kernel.read(), self._wanted()))

        self.host.call(carry_out)
        self._applied, self._writes = self.now, []

    def follow(self) -> None:
        """The kernel is made as the records are by what has changed of them, without a look at it."""
        parts = touched(self._applied, self.now, self._writes)
        old, new = (render_touched(moment, parts, self.drivers) for moment in (self._applied, self.now))
        self.host.call(self.kernel.apply, diff(old, new))
        self._applied, self._writes = self.now, []

    def _wanted(self) -> State:
        return render_all(self.now, self.drivers, self._facts)

    def drift(self) -> Plan:
        """What is not as it should be."""
        return self.host.call(lambda: diff(_without_settings(self.kernel.read()), _without_settings(self._wanted())))

    def close(self) -> None:
        self._relay.terminate()
        self._relay.wait(10)
        self.host.call(lambda: self.kernel.apply(diff(self.kernel.read(), {})))
        self.host.call(self.kernel.close)


class Labs:
    """Hosts that share networks, as if a store were between them: what one has is known to all at once."""

    def __init__(self, labs: Mapping[str, Lab], underlays: Mapping[str, Underlay]) -> None:
        self.labs = labs
        for name, lab in labs.items():
            others = [own_host(o.id, n, underlays[n], "") for n, o in labs.items() if n != name]
            lab.take(map(put, others))

    def __getitem__(self, name: str) -> Lab:
        return self.labs[name]

    def network(self, name: str, subnet: str, subnet6: str = "", **options: Any) -> Network:
        """Made on the first of the hosts."""
        first, *others = self.labs.values()
        made = first.network(name, subnet, subnet6, **options)
        for lab in others:
            lab.take([put(made)])
        return made

    def container(self, at: str, name: str, network: Network, port: int = 0, **asked: Any) -> Endpoint:
        lab = self.labs[at]
        made = lab.container(name, network, port, **asked)
        self._tell(at, put(as_remote(lab.now, made, network, lab.id)))
        return made

    def end(self, at: str, endpoint: Endpoint) -> None:
        self.labs[at].end(endpoint)
        self._tell(at, Write("remote", endpoint.id, None))

    def _tell(self, at: str, write: Write) -> None:
        for name, other in self.labs.items():
            if name != at:
                other.take([write])

    def take(self, writes: Iterable[Write]) -> None:
        """What every host knows."""
        writes = list(writes)
        for lab in self.labs.values():
            lab.take(writes)

    def apply(self) -> None:
        for lab in self.labs.values():
            lab.apply()

    def follow(self) -> None:
        for lab in self.labs.values():
            lab.follow()


@contextlib.contextmanager
def labs(made: Mapping[str, Host], folder: Path, underlays: Mapping[str, Underlay]) -> Iterator[Labs]:
    """One on each of the hosts that has an underlay; nothing is left of them."""
    with contextlib.ExitStack() as stack:
        found = {}
        for number, (name, underlay) in enumerate(underlays.items(), 1):
            (folder / name).mkdir()
            found[name] = Lab(made[name], folder / name, underlay=underlay, number=number)
            stack.callback(found[name].close)
        yield Labs(found, underlays)


def _without_settings(state: State) -> State:
    return {key: item for key, item in state.items() if not isinstance(item, Sysctl)}


class Servers:
    """Say their name to whoever connects or sends: TCP and UDP, both IP versions, in many namespaces, in one thread."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, tuple[socket.socket, bytes]] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ended = False

    def listen(self, space: str, name: str, ports: Iterable[int]) -> None:
        for port in ports:
            for protocol, kind in KIND.items():
                made = socket_in(space, kind, socket.AF_INET6)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                made.bind(("::", port))
                if protocol == "tcp":
                    made.listen(512)
                made.setblocking(False)
                self._sockets[made.fileno()] = (made, name.encode())
                self._poll.register(made.fileno(), select.EPOLLIN)

    def __enter__(self) -> Servers:
        self._thread.start()
        return self

    def _serve(self) -> None:
        while not self._ended:
            for descriptor, _ in self._poll.poll(0.1):
                made, name = self._sockets[descriptor]
                try:
                    if made.type == socket.SOCK_STREAM:
                        client, peer = made.accept()
                        with client:
                            client.sendall(_said(name, peer))
                    else:
                        _, peer = made.recvfrom(100)
                        made.sendto(_said(name, peer), peer)
                except OSError:
                    continue

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(5)
        for made, _ in self._sockets.values():
            made.close()
        self._poll.close()


def _said(name: bytes, peer: tuple[str, int]) -> bytes:
    return json.dumps([name.decode(), peer[0].removeprefix("::ffff:")]).encode()


def attempt(
    probes: Collection[Probe], wanted: Collection[Probe], quiet: float = 1.3, most: float = 20
) -> dict[Probe, str]:
    """All at once: who is reached, and the address under which the client was seen there.

    Given up once nothing has happened for `quiet` seconds, which is longer than a lost first packet takes to be sent
    again. For those that are `wanted` it waits `most` seconds, on a machine that has much else to do.
    """
    found: dict[Probe, str] = {}
    waiting: dict[int, tuple[Probe, socket.socket]] = {}
    missing = set(wanted)
    poll = select.epoll()
    by_space: dict[str, list[Probe]] = {}
    for probe in probes:
        by_space.setdefault(probe.space, []).append(probe)
    for space, asked in by_space.items():
        for probe, made in _connecting(space, asked):
            waiting[made.fileno()] = (probe, made)
            poll.register(made.fileno(), select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP)
    deadline = time.monotonic() + most
    while waiting and time.monotonic() < deadline:
        ready = poll.poll(quiet)
        if not ready and not missing:
            break
        for descriptor, _ in ready:
            probe, made = waiting.pop(descriptor)
            poll.unregister(descriptor)
            try:
                name, seen = json.loads(made.recv(200) or b'["", ""]')
                if name == probe.name:
                    found[probe] = seen
                    missing.discard(probe)
            except OSError:
                pass
            made.close()
        if not ready:
            for probe, made in waiting.values():
                if probe.protocol == "udp" and probe in missing:
                    with contextlib.suppress(OSError):
                        made.send(b"who is there?")
    for _, made in waiting.values():
        made.close()
    poll.close()
    return found


def _place(probe: Probe) -> tuple[str, int] | tuple[str, int, int, int]:
    address, _, interface = probe.address.partition("%")
    return (address, probe.port, 0, socket.if_nametoindex(interface)) if interface else (address, probe.port)


def _connecting(space: str, probes: Iterable[Probe]) -> Iterator[tuple[Probe, socket.socket]]:
    """Sockets of a namespace that are on their way; those that know at once that there is none are left out."""
    made: list[tuple[Probe, socket.socket]] = []

    def begin() -> None:
        enter(space)
        for probe in probes:
            client = socket.socket(FAMILY[6 if ":" in probe.address else 4], KIND[probe.protocol])
            client.setblocking(False)
            try:
                client.connect(_place(probe))
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                continue
            if probe.protocol == "udp":
                try:
                    client.send(b"who is there?")
                except OSError:
                    client.close()
                    continue
            made.append((probe, client))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    yield from made
