"""A host with Docker's default networks, as records."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from linkspan.drivers.available import DRIVERS
from linkspan.engine.bridges import DefaultBridge
from linkspan.engine.join import Surroundings
from linkspan.engine.networks import default_networks
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.ipam.ports import PortSpace
from linkspan.model.container import (
    Config,
    Container,
    EndpointSettings,
    HostConfig,
    PortBinding,
    State,
)
from linkspan.model.snapshot import Snapshot, put
from linkspan.state.host import HostFacts, HostInterface

HOST = HostFacts(
    namespaces="/run/netns",
    interfaces=(
        HostInterface("lo", loopback=True, addresses=("127.0.0.1/8",)),
        HostInterface("eth0", addresses=("10.211.55.4/24",)),
        HostInterface("eth1"),
    ),
)


class World:
    """Records that grow: each verb decides on the snapshot of now and writes what was decided."""

    def __init__(self) -> None:
        self._ids = (f"{number:08x}".ljust(64, "0") for number in itertools.count(1))
        self.now = Snapshot()
        change = default_networks(self.now, DefaultBridge(), DEFAULT_SOURCES, HOST, self.ids(3), "")
        self.now = self.now.after(change.writes)

    def ids(self, count: int) -> tuple[str, ...]:
        return tuple(itertools.islice(self._ids, count))

    def around(self, **space: object) -> Surroundings:
        return Surroundings(DRIVERS, "/run/netns", PortSpace(**space), self.ids(8))  # type: ignore[arg-type]

    def container(
        self, name: str, mode: str = "bridge", ports: dict[str, str] | None = None, **host: object
    ) -> Container:
        """A created container; `ports` is {"80/tcp": "8080"} or {"80/tcp": "127.0.0.1:8080"}."""
        bindings = {}
        for port, where in (ports or {}).items():
            address, _, number = where.rpartition(":")
            bindings[port] = (PortBinding(host_ip=address, host_port=number),)
        networks = {} if mode.startswith("container:") else {self.now.network(mode).id: EndpointSettings()}
        made = Container(
            id=self.ids(1)[0],
            name=name,
            created="",
            image_id="",
            config=Config(),
            host_config=HostConfig(network_mode=mode, port_bindings=bindings, **host),  # type: ignore[arg-type]
            networks=networks,
        )
        self.now = self.now.after([put(made)])
        return made

    def run(self, container: Container) -> None:
        """As if its process had started."""
        current = self.now.containers[container.id]
        self.now = self.now.after([put(msgspec.structs.replace(current, state=State(status="running", pid=1)))])


@pytest.fixture
def world() -> Iterator[World]:
    yield World()
