"""More endpoints on one network than a bridge has ports, on a real kernel: sandboxes without containers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.daemon.events import Events
from linkspan.daemon.identity import new_id
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.reconcile import converge
from linkspan.drivers.available import DRIVERS
from linkspan.engine.change import Change
from linkspan.engine.join import Surroundings, join, leave
from linkspan.engine.networks import NetworkRequest, create_network
from linkspan.ipam import segments
from linkspan.ipam.ports import PortSpace
from linkspan.kernel.contract import Kernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig, PortBinding
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Pool
from linkspan.model.snapshot import drop, put
from linkspan.state.host import HostFacts
from linkspan.store.memory import MemoryStore
from tests.hosts import Host, enter, hosts, needs_root, socket_in

pytestmark = [pytest.mark.root, needs_root]
GATEWAY, GATEWAY6, OUTSIDE, HERE = "10.90.0.1", "fd90::1", "10.211.55.9", "10.211.55.4"


class Engine:
    """Deciding, recording and the kernel, joined as in the daemon."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.facts = HostFacts(namespaces=str(folder))

        def make() -> Kernel:
            enter(host.path)
            return LinuxKernel(folder)

        self.programmer = Programmer(make)
        self.ledger = Ledger(MemoryStore())
        self.mutation = Mutation(self.ledger, self.programmer, DRIVERS, Events(), lambda *_: None)
        self.run(self.converge())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)

    def converge(self) -> Coroutine[Any, Any, int]:
        return converge(self.ledger, self.programmer, DRIVERS, lambda: self.facts)

    def create(self, *, ipv6: bool = False, **options: str) -> str:
        pools = (Pool(subnet="10.90.0.0/16"), *((Pool(subnet="fd90::/64"),) if ipv6 else ()))
        request = NetworkRequest(id=new_id(), created="", name="own", pools=pools, ipv6=ipv6, options=options)
        self.carry_out(create_network(self.ledger.now, request, DRIVERS, (), self.facts))
        return request.id

    def carry_out(self, change: Change) -> None:
        self.run(self.mutation.carry_out(change))

    def join(self, network: str, count: int) -> list[Endpoint]:
        """So many containers, all in one change. The last of several has port 80 published as 8080."""
        moment, writes = self.ledger.now, []
        for number in range(count):
            bindings = {"80/tcp": (PortBinding(host_port="8080"),)} if number == count - 1 > 0 else {}
            id_ = new_id()
            container = Container(
                id=id_,
                name=id_[:12],
                created="",
                image_id="",
                config=Config(),
                host_config=HostConfig(network_mode="own", port_bindings=bindings),
                networks={network: EndpointSettings()},
            )
            moment = moment.after([put(container)])
            around = Surroundings(DRIVERS, str(self.folder), PortSpace(), (new_id(), new_id()))
            made = [put(container), *join(moment, container, around).writes]
            moment = moment.after(made)
            writes += made
        self.carry_out(Change(tuple(writes)))
        return [write.record for write in writes if isinstance(write.record, Endpoint)]

    def leave(self, endpoints: list[Endpoint]) -> None:
        now = self.ledger.now
        gone = [leave(now, now.containers[e.container_id], removed=True).writes for e in endpoints]
        self.carry_out(Change(tuple(write for writes in gone for write in writes)))

    def space(self, endpoint: Endpoint) -> str:
        return self.ledger.now.sandboxes[endpoint.sandbox_id].path

    def bridges(self) -> dict[str, int]:
        """Ports of each bridge of the host."""
        links = self.host.json("ip", "-j", "link")
        names = [link["ifname"] for link in self.host.json("ip", "-j", "link", "show", "type", "bridge")]
        return {name: sum(link.get("master") == name for link in links) for name in names}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], tuple[Engine, Host]]]:
    with hosts(main=f"{HERE}/24", outside=f"{OUTSIDE}/24") as made:
        engines: list[Engine] = []

        def engine() -> tuple[Engine, Host]:
            engines.append(Engine(made["main"], tmp_path / "netns"))
            return engines[-1], made["outside"]

        yield engine
        for one in engines:
            now = one.ledger.now
            one.leave(list(now.endpoints.values()))
            one.carry_out(Change(tuple(map(drop, now.networks.values()))))
            one.programmer.close()
        left = [entry["ifname"] for entry in made["main"].json("ip", "-j", "link")]
        assert left == ["lo", "eth0"] and list((tmp_path / "netns").iterdir()) == []
        made["main"].run("nft", "delete", "table", "inet", "linkspan", check=False)


def reaches(source: str, sink: str, address: str, port: int = 80, wait: float = 2) -> bool:
    """Whether a TCP connection from one namespace to an address and port comes out at a listener in another."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket_in(sink, family=family) as server, socket_in(source, family=family) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", 80))
        server.listen()
        client.settimeout(wait)
        try:
            client.connect((address, port))
            there, _ = server.accept()
        except OSError:
            return False
        with there:
            client.sendall(b"x")
            return there.recv(1) == b"x"


def bridges_filter(engine: Engine, *, on: bool) -> None:
    """Whether br_netfilter shows the firewall what passes a bridge; most hosts have not loaded it."""
    for family in ("ip", "ip6"):
        engine.host.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{family}tables={int(on)}", check=False)


def test_fifteen_hundred_endpoints_on_one_network(make: Callable[[], tuple[Engine, Host]]) -> None:
    engine, outside = make()
    bridges_filter(engine, on=False)
    network = engine.create()
    endpoints = engine.join(network, 1_500)
    first = engine.ledger.now.networks[network].bridge
    full = segments.PORTS
    assert sorted(engine.bridges().values()) == [1_500 - 2 * full + 1, full + 1, full + 2]
    assert engine.bridges()[first] == full + 1
    assert engine.run(engine.converge()) == 0  # what is read is what is rendered
    some = [endpoints[number] for number in (0, 499, 500, 1_000, 1_498)]
    for source in some:
        for sink in some:
            if source != sink:
                assert reaches(engine.space(source), engine.space(sink), sink.address)
        assert reaches(engine.space(source), engine.host.path, GATEWAY)
        assert reaches(engine.space(source), engine.space(endpoints[-1]), HERE, port=8080)
    assert reaches(outside.path, engine.space(endpoints[-1]), HERE, port=8080)
    assert reaches(engine.host.path, engine.space(endpoints[-1]), endpoints[-1].address)


@pytest.mark.parametrize("filtered", [False, True], ids=["", "br_netfilter"])
@pytest.mark.parametrize("icc", [True, False], ids=["icc", "no icc"])
def test_what_holds_on_one_bridge_holds_on_several(
    make: Callable[[], tuple[Engine, Host]], monkeypatch: pytest.MonkeyPatch, icc: bool, filtered: bool
) -> None:
    monkeypatch.setattr(segments, "PORTS", 2)
    engine, outside = make()
    bridges_filter(engine, on=filtered)
    network = engine.create(ipv6=True, **{} if icc else {"com.docker.network.bridge.enable_icc": "false"})
    endpoints = engine.join(network, 5)
    last = endpoints[-1]
    assert [e.segment for e in endpoints] == [0, 0, 1, 1, 2]
    for source in endpoints:
        assert reaches(engine.space(source), engine.host.path, GATEWAY)
        assert reaches(engine.space(source), engine.host.path, GATEWAY6)
        for sink in endpoints:
            if source != sink:
                for address in (sink.address, sink.address6):
                    found = reaches(engine.space(source), engine.space(sink), address, wait=2 if icc else 0.1)
                    assert found == icc
        # A published port is reached from every container, and from that itself. With br_netfilter the kernel sends
        # such a packet from port to port instead of by the host: not back where it came from, nor where none may talk.
        if not filtered or (icc and not source.segment):
            assert reaches(engine.space(source), engine.space(last), HERE, port=8080)
    assert reaches(outside.path, engine.space(last), HERE, port=8080)
    assert reaches(engine.host.path, engine.space(endpoints[3]), endpoints[3].address)
    # What is free again is taken first; what nobody is on any more goes, but where it leads to others.
    engine.leave(endpoints[2:4])
    assert len(engine.bridges()) == 3 and reaches(engine.host.path, engine.space(last), last.address)
    (late,) = engine.join(network, 1)
    assert late.segment == 1 and len(engine.bridges()) == 3
    engine.leave([last])
    assert len(engine.bridges()) == 2
    assert engine.run(engine.converge()) == 0
    # And what somebody takes away is put back with everything on it.
    further = next(name for name in engine.bridges() if name.startswith("br1-"))
    engine.host.run("ip", "link", "del", further)
    assert engine.run(engine.converge()) > 0
    assert engine.run(engine.converge()) == 0
    assert reaches(engine.host.path, engine.space(late), late.address)
