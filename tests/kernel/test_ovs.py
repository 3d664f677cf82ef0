"""Open vSwitch networks on three hosts, each with a switch of its own: who reaches whom, by hand-made records."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linkspan.drivers.ovs import UPLINK_BRIDGE, OvsDriver
from linkspan.engine.render import render_all
from linkspan.errors import Conflict, Internal, Unavailable
from linkspan.kernel.contract import Kernel
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.cluster import GLOBAL
from linkspan.model.cluster import Host as Member
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, put
from linkspan.state.host import HostFacts, Underlay
from linkspan.state.objects import HOST, Address, KernelObject, Namespace, Sysctl, Veth, state_of
from linkspan.state.plan import Plan, diff
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink, SwitchFacts
from tests.hosts import Host, hosts, needs_root, socket_in
from tests.kernel.conftest import OnItsThread
from tests.ovs import OpenVSwitch, needs_ovs, open_vswitch

pytestmark = [pytest.mark.root, needs_root, needs_ovs]

GATEWAY = "10.77.0.1"
MTU = {"gre": 1454, "vxlan": 1446}
_ports = itertools.count(7000)


@dataclasses.dataclass
class Machine:
    """A host with a switch, a kernel of ours, and one container on each network."""

    name: str
    number: int
    host: Host
    ovs: OpenVSwitch
    folder: Path
    kernel: LinuxKernel
    driver: OvsDriver
    snapshot: Snapshot = dataclasses.field(default_factory=Snapshot)

    @property
    def address(self) -> str:
        return f"10.211.55.{self.number}"

    @property
    def inside(self) -> str:
        """Of its container."""
        return f"10.77.0.{10 + self.number}"

    @property
    def sandbox(self) -> str:
        return f"{self.folder}/netns/c{self.number}"

    def desired(self) -> dict[tuple[str, ...], KernelObject]:
        return render_all(self.snapshot, {"ovs": self.driver}, HostFacts(namespaces="", forward_accept=False))

    def converge(self) -> int:
        desired = self.desired()
        settings = [(item.namespace, item.name) for item in desired.values() if isinstance(item, Sysctl)]
        plan = diff(self.host.call(self.kernel.read, settings), desired)
        self.host.call(self.kernel.apply, plan)
        assert diff(self.host.call(self.kernel.read, settings), desired) == Plan()
        return len(plan)

    def close(self) -> None:
        self.host.call(self.kernel.close)

    def clear(self) -> None:
        self.snapshot = Snapshot()
        self.host.call(self.kernel.apply, diff(self.host.call(self.kernel.read), {}))
        assert self.host.call(self.kernel.read) == {}
        assert (self.ovs.table("Bridge"), self.ovs.table("Port"), self.ovs.table("QoS")) == ([], [], [])
        # The switch takes them away when it has read its database, which takes one that has just started a moment.
        deadline = time.monotonic() + 10
        while not (links := self.links()) <= {"lo", "eth0", "ovs-netdev"}:
            assert time.monotonic() < deadline, links
            time.sleep(0.02)

    def links(self) -> set[str]:
        return {entry["ifname"] for entry in self.host.json("ip", "-j", "link")}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    folder = tmp_path_factory.mktemp("ovs")
    addresses = {name: f"10.211.55.{number}/24" for number, name in enumerate("abc", 1)}
    with hosts(**addresses) as made, contextlib.ExitStack() as stack:
        machines = []
        for number, (name, host) in enumerate(made.items(), 1):
            own = folder / name
            ovs = stack.enter_context(open_vswitch(host.path, own / "ovs"))
            kernel = host.call(LinuxKernel, own / "netns", switch=str(ovs.database))
            driver = OvsDriver(Underlay("eth0", f"10.211.55.{number}"), host.call(kernel.switch))
            machines.append(Machine(name, number, host, ovs, own, kernel, driver))
            stack.callback(machines[-1].close)
        yield machines


@pytest.fixture
def machines(three: list[Machine]) -> Iterator[list[Machine]]:
    yield three
    for machine in three:
        machine.clear()


def network(tunnel: str = "gre", vlan: int = 0, number: int = 1, mtu: int = 0) -> Network:
    return Network(
        id=f"{number}" * 12,
        name=f"net{number}",
        driver="ovs",
        created="",
        scope=GLOBAL,
        pools=(Pool(subnet="10.77.0.0/24", gateway=GATEWAY),),
        bridge=f"br-{number}",
        mode=tunnel,
        vlan=vlan,
        vni=4095 + number,
        mtu=mtu or MTU[tunnel],
    )


def connected(machines: list[Machine], on: Network, vlans: dict[str, int] | None = None) -> None:
    """A container of each machine's is on the network, and the machines know of each other."""
    for machine in machines:
        id_ = f"{machine.name}{on.id}"
        endpoint = Endpoint(
            id=id_,
            network_id=on.id,
            sandbox_id=f"s{id_}",
            container_id=f"c{id_}",
            interface="eth0",
            host_interface=f"veth{id_[:11]}",
            mac=f"02:42:0a:4d:00:{machine.number:02x}",
            address=machine.inside,
            prefix_length=24,
            gateway=GATEWAY,
            vlan=(vlans or {}).get(machine.name, on.vlan),
        )
        others = [Member(id=m.name, name=m.name, address=m.address) for m in machines if m is not machine]
        sandbox = Sandbox(id=f"s{id_}", container_id=f"c{id_}", kind="own", path=machine.sandbox)
        records = (on, sandbox, endpoint, *others)
        machine.snapshot = Snapshot().after(map(put, records))
        machine.converge()


def received(source: str, target: str, address: str, size: int, tries: int = 15) -> bool:
    """Whether a datagram of this size comes through whole. As with any network, the first may be lost to ARP."""
    port = next(_ports)
    server, client = socket_in(target, socket.SOCK_DGRAM), socket_in(source, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("", port))
        server.settimeout(0.2)
        data = bytes(range(256)) * (size // 256 + 1)
        for _ in range(tries):
            client.sendto(data[:size], (address, port))
            with contextlib.suppress(TimeoutError):
                return server.recv(1 << 16) == data[:size]
    return False


def stream(source: str, target: str, address: str, size: int) -> bool:
    """Whether so many bytes come through one TCP connection as they were sent."""
    port = next(_ports)
    server, client = socket_in(target), socket_in(source)
    data = bytes(range(251)) * (size // 251)
    with server, client:
        server.bind(("", port))
        server.listen()
        client.settimeout(5)
        client.connect((address, port))
        accepted, _ = server.accept()
        accepted.settimeout(10)
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        with accepted:
            got = bytearray()
            while part := accepted.recv(1 << 16):
                got += part
        sender.join()
    return bytes(got) == data


def who_answers(source: str, machines: list[Machine], address: str) -> str:
    """The machine whose host has the address, as seen from a sandbox; "" is nobody."""
    port = next(_ports)
    servers = [socket_in(machine.host.path) for machine in machines]
    for machine, server in zip(machines, servers, strict=True):
        server.bind(("", port))
        server.listen()

        def answer(server: socket.socket = server, name: str = machine.name) -> None:
            with contextlib.suppress(OSError), server.accept()[0] as accepted:
                accepted.sendall(name.encode())

        threading.Thread(target=answer, daemon=True).start()
    with socket_in(source) as client, contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.close)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
        try:
            client.connect((address, port))
            return client.recv(10).decode()
        except OSError:
            return ""


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("tunnel", ["gre", "vxlan"])
def test_containers_reach_each_other_with_packets_of_any_size(machines: list[Machine], tunnel: str) -> None:
    connected(machines, network(tunnel))
    for source, target in itertools.permutations(machines, 2):
        for size in (1, MTU[tunnel] - 28, 9000):
            assert received(source.sandbox, target.sandbox, target.inside, size), (source.name, target.name, size)
    assert stream(machines[0].sandbox, machines[1].sandbox, machines[1].inside, 3_000_000)
    assert stream(machines[2].sandbox, machines[0].sandbox, machines[0].inside, 3_000_000)
    for machine in machines:
        assert machine.converge() == 0
        assert who_answers(machine.sandbox, machines, GATEWAY) == machine.name  # each host is its own's gateway


def test_a_frame_for_all_comes_to_each_once(machines: list[Machine]) -> None:
    connected(machines, network())
    kind = 0x88B5  # for local experiments

    def listening(sandbox: str) -> socket.socket:
        made = socket_in(sandbox, socket.SOCK_RAW, socket.AF_PACKET)
        made.bind(("eth0", kind))
        made.settimeout(0.5)
        return made

    assert received(machines[0].sandbox, machines[1].sandbox, machines[1].inside, 1)  # the tunnels are there
    assert received(machines[0].sandbox, machines[2].sandbox, machines[2].inside, 1)
    with contextlib.ExitStack() as stack:
        ears = [stack.enter_context(listening(machine.sandbox)) for machine in machines]
        frame = b"\xff" * 6 + bytes.fromhex("02420a4d0001") + kind.to_bytes(2, "big") + b"once" * 12
        for _ in range(20):
            ears[0].send(frame)
        heard = []
        for ear in ears:
            count = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    count += ear.recvfrom(2000)[1][2] != socket.PACKET_OUTGOING
            heard.append(count)
    assert heard == [0, 20, 20]


def test_vlans_are_apart(machines: list[Machine]) -> None:
    a, b, c = machines
    connected(machines, network(vlan=10), {"a": 20, "c": 20})
    assert received(a.sandbox, c.sandbox, c.inside, 1000)
    assert not received(a.sandbox, b.sandbox, b.inside, 10, tries=3)
    assert who_answers(b.sandbox, machines, GATEWAY) == "b"  # the host is in the network's own VLAN
    assert who_answers(a.sandbox, machines, GATEWAY) == ""
    a.ovs.vsctl("set", "port", f"vetha{'1' * 10}", "tag=10")
    eventually(lambda: a.host.call(a.host.call(a.kernel.watch).lost))
    assert a.converge() == 1


def test_the_hosts_own_connections_go_on_while_its_card_becomes_an_uplink(machines: list[Machine]) -> None:
    a, b, _ = machines
    with socket_in(b.host.path) as server, socket_in(a.host.path) as client:
        server.bind(("", port := next(_ports)))
        server.listen()
        client.connect((b.address, port))
        accepted, _ = server.accept()
        accepted.settimeout(1)
        connected(machines, network())
        addresses = [
            entry["local"]
            for link in a.host.json("ip", "-j", "-4", "address", "show", "eth0")
            for entry in link["addr_info"]
        ]
        assert addresses == [a.address]
        with accepted:
            client.sendall(b"still here")
            assert accepted.recv(100) == b"still here"
            a.clear()
            client.sendall(b"and now")
            assert accepted.recv(100) == b"and now"


def test_what_shapes_the_card_is_left_alone(machines: list[Machine]) -> None:
    host = machines[0].host
    host.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1gbit", "burst", "1mb", "latency", "50ms")
    host.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    before = host.run("tc", "qdisc", "show", "dev", "eth0")
    connected(machines, network())
    assert host.run("tc", "qdisc", "show", "dev", "eth0") == before
    machines[0].clear()
    assert host.run("tc", "qdisc", "show", "dev", "eth0") == before
    host.run("tc", "qdisc", "del", "dev", "eth0", "root")
    host.run("tc", "qdisc", "del", "dev", "eth0", "clsact")


def test_a_switch_that_is_killed_is_found_again_with_all_that_was_in_it(machines: list[Machine]) -> None:
    a, b, _ = machines
    connected(machines, network())
    watch = a.host.call(a.kernel.watch)
    assert a.converge() == 0
    assert not a.host.call(watch.lost)
    for pause in (True, False):
        a.ovs.end_switch(signal.SIGKILL)
        if pause:
            assert "ovs-vswitchd does not run" in a.host.call(a.kernel.switch).problem
            with pytest.raises(Unavailable, match="ovs-vswitchd does not run: install openvswitch-switch and start it"):
                a.host.call(a.kernel.apply, diff({}, state_of([OvsBridge("br-9", "linkspan:9", "netdev")])))
            a.host.call(a.kernel.expect, (), switch=True)
            assert not a.host.call(watch.lost)  # nothing can be done now
        a.ovs.start_switch()
        eventually(lambda: a.host.call(watch.lost))
        assert a.converge() == 1  # the flows of the uplink; the rest it has found in its database
        assert not a.host.call(watch.lost)
        assert received(a.sandbox, b.sandbox, b.inside, 1000) and received(b.sandbox, a.sandbox, a.inside, 1000)


def test_a_database_that_went_and_came_is_asked_again(machines: list[Machine]) -> None:
    a, b, _ = machines
    connected(machines, network())
    a.ovs.end_server(signal.SIGKILL)
    assert "nothing answers at unix:" in a.host.call(a.kernel.switch).problem
    a.ovs.start_server()
    eventually(lambda: not a.host.call(a.kernel.switch).problem)  # the switch comes back to it after a second or so
    assert a.converge() == 0
    assert received(a.sandbox, b.sandbox, b.inside, 1000)


def test_what_another_took_away_is_put_back(machines: list[Machine]) -> None:
    a, b, _ = machines
    connected(machines, network())
    watch = a.host.call(a.kernel.watch)
    a.host.call(watch.lost)
    losses: list[Callable[[], object]] = [
        lambda: a.ovs.vsctl("del-port", f"vetha{'1' * 10}"),
        lambda: a.ovs.vsctl("del-br", "br-1"),
        lambda: a.ovs.vsctl("del-br", UPLINK_BRIDGE),
        lambda: a.ovs.vsctl("clear", "bridge", "br-1", "external_ids", "--", "del-br", "br-1"),
        lambda: a.host.run("ip", "link", "set", "br-1", "down"),
    ]
    for take in losses:
        take()
        eventually(lambda: a.host.call(watch.lost))
        assert a.converge() > 0
        assert received(a.sandbox, b.sandbox, b.inside, 1000) and received(b.sandbox, a.sandbox, a.inside, 1000)
    a.ovs.ofctl("del-flows", UPLINK_BRIDGE)
    assert a.converge() == 1
    assert received(b.sandbox, a.sandbox, a.inside, 1000)


def test_somebody_elses_bridges_and_ports_are_left_alone(machines: list[Machine]) -> None:
    a = machines[0]
    a.ovs.vsctl("add-br", "br-1", "--", "set", "bridge", "br-1", "datapath_type=netdev")
    a.ovs.vsctl("add-port", "br-1", "eth0")
    assert a.host.call(a.kernel.switch).interfaces == {"br-1", "eth0"}
    for wanted, said in (
        (OvsBridge("br-1", "linkspan:1", "netdev"), "bridge br-1 of Open vSwitch's exists already"),
        (OvsUplink("up", a.address), "interface eth0 is a port of another bridge of Open vSwitch's"),
        (OvsPort("br-1", "eth0", "linkspan:1"), "port eth0 of Open vSwitch's exists already"),
        (OvsPort("br-2", "x", "linkspan:1"), "there is no bridge br-2 in Open vSwitch"),
    ):
        with pytest.raises(Conflict, match=said):
            a.host.call(a.kernel.apply, diff({}, state_of([wanted])))
    with pytest.raises(Internal, match="cannot create port nothere on bridge br-1 of Open vSwitch's: could not open"):
        a.host.call(a.kernel.apply, diff({}, state_of([OvsPort("br-1", "nothere", "linkspan:1")])))
    assert {row["name"] for row in a.ovs.table("Port")} == {"br-1", "eth0"}
    assert a.host.call(a.kernel.read) == {}
    a.ovs.vsctl("del-br", "br-1")


def test_a_port_moves_and_changes_in_place(machines: list[Machine]) -> None:
    a = machines[0]
    inside = Namespace(a.sandbox)
    veth = Veth("veth1", "linkspan:1", a.sandbox, "eth0", "02:42:00:00:00:02", "", 1454, hairpin=False)
    bridges = [OvsBridge(f"br-{n}", "linkspan:n", "netdev", 1454, f"02:42:00:00:01:0{n}") for n in (1, 2)]
    place = Address(HOST, "br-1", "10.9.0.1/24")
    states = [
        state_of(
            [*bridges, inside, veth, place, OvsPort("br-1", "veth1", "linkspan:1", said=(("container_id", "x"),))]
        ),
        state_of([*bridges, inside, veth, place, OvsPort("br-1", "veth1", "linkspan:2", tag=7, apart=True)]),
        state_of(
            [
                dataclasses.replace(bridges[0], mtu=1400, tag=9, mac="02:42:00:00:01:09"),
                *(bridges[1], inside, dataclasses.replace(veth, offload=False), place),
                OvsPort("br-2", "veth1", "linkspan:1"),
            ]
        ),
        state_of(
            [bridges[0], inside, veth, place, OvsPort("br-1", "tun", "linkspan:1", "gre", a.address, "10.0.0.9", 5)]
        ),
        state_of(
            [bridges[0], inside, veth, place, OvsPort("br-1", "tun", "linkspan:1", "vxlan", a.address, "10.0.0.8", 6)]
        ),
    ]
    before: dict[tuple[str, ...], KernelObject] = {}
    for desired in [*states, *reversed(states)]:
        a.host.call(a.kernel.apply, diff(before, desired))
        assert diff(a.host.call(a.kernel.read), desired) == Plan()
        before = desired


def test_what_goes_while_there_is_no_switch_is_taken_out_when_it_is_back(machines: list[Machine]) -> None:
    a = machines[0]
    connected(machines, network())
    watch = a.host.call(a.kernel.watch)
    desired = a.desired()
    a.ovs.end_switch()
    a.ovs.end_server()
    a.host.call(a.kernel.apply, diff(desired, {}))  # a container that is stopped: nobody waits for the switch
    a.snapshot = Snapshot()
    a.host.call(a.kernel.expect, ())
    a.host.call(watch.lost)
    a.ovs.start_server()
    a.ovs.start_switch()
    eventually(lambda: a.host.call(watch.lost))
    assert a.converge() > 0
    assert a.ovs.table("Bridge") == []


@pytest.fixture(params=["fake", "linux"])
def either(request: pytest.FixtureRequest) -> Iterator[tuple[Kernel, Callable[[bool], None]]]:
    """A kernel, and what takes its switch away or brings it back."""
    if request.param == "fake":
        fake = FakeKernel()
        runs, away = SwitchFacts("", "netdev"), SwitchFacts("Open vSwitch does not run on this host: because")
        fake.switch_facts = runs
        yield fake, lambda there: setattr(fake, "switch_facts", runs if there else away)
        return
    machine = request.getfixturevalue("machines")[0]
    kernel = OnItsThread(machine.host, machine.kernel)

    def change(there: bool) -> None:
        if not there:
            machine.ovs.end_switch()
            return
        machine.ovs.start_switch()
        eventually(lambda: not kernel.switch().problem)

    yield kernel, change  # type: ignore[misc]


def test_a_switch_comes_and_goes_on_any_kernel(either: tuple[Kernel, Callable[[bool], None]]) -> None:
    kernel, change = either
    bridge = OvsBridge("br-7", "linkspan:7", "netdev", 1400, "02:42:00:00:00:07")
    port = OvsPort("br-7", "tun7", "linkspan:7", "gre", "10.211.55.1", "10.211.55.9", 7, apart=True)
    desired = state_of([bridge, port])
    kernel.apply(diff({}, desired))
    kernel.apply(diff({}, desired))  # all is there already
    assert kernel.read() == desired
    with pytest.raises(Conflict, match="there is no bridge br-8 in Open vSwitch"):
        kernel.apply(diff(desired, desired | state_of([OvsPort("br-8", "tun8", "linkspan:7")])))
    assert kernel.read() == desired
    change(False)
    assert kernel.switch().problem.startswith("Open vSwitch does not run on this host: ")
    assert kernel.read() == {}
    with pytest.raises(Unavailable, match="Open vSwitch does not run on this host: "):
        kernel.apply(diff({}, state_of([OvsBridge("br-9", "linkspan:9", "netdev")])))
    change(True)
    assert kernel.read() == desired
    kernel.apply(diff(desired, {}))
    assert kernel.read() == {}


def test_a_switch_of_another_host_is_none_of_ours(machines: list[Machine]) -> None:
    a, b, _ = machines
    a.close()
    a.kernel = a.host.call(LinuxKernel, a.folder / "netns", switch=str(b.ovs.database))
    assert "in another network namespace" in a.host.call(a.kernel.switch).problem
    a.close()
    a.kernel = a.host.call(LinuxKernel, a.folder / "netns", switch=str(a.ovs.database))
