"""Interfaces given by hand: what may be given, and what becomes of it in the kernel."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import msgspec
import pytest

from linkspan.drivers.available import DRIVERS
from linkspan.engine.announce import announcements
from linkspan.engine.change import Change
from linkspan.engine.join import connect, join, leave
from linkspan.engine.networks import create_network
from linkspan.engine.plug_request import PlugRequest, parse_plug
from linkspan.engine.plugs import leased, plug, set_vlan, unplug
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.request import NetworkRequest
from linkspan.engine.usage import Holding, address_use
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError, NotFound, Unavailable
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.network import Network, Pool
from linkspan.model.plug import Dhcp, Lease, Plug
from linkspan.model.snapshot import put
from linkspan.state.host import HostFacts, HostInterface, Underlay
from linkspan.state.objects import HOST, Address, Bridge, Device, KernelObject, Nic, Route, State, Veth
from linkspan.state.switch import OvsBridge, OvsPort, SwitchFacts
from tests.engine.conftest import World

CARD = "52:54:00:00:00:01"
FACTS = HostFacts(
    namespaces="/run/netns",
    leading_out=frozenset({"eth0"}),
    interfaces=(
        HostInterface("lo", loopback=True, addresses=("127.0.0.1/8",)),
        HostInterface("br0", addresses=("10.211.55.4/24",), kind="bridge", mac=CARD, mtu=1400),
        HostInterface("eth0", mac="52:54:00:00:00:00"),
        HostInterface("eth1", mac=CARD, master=""),
        HostInterface("eth2", mac="52:54:00:00:00:02", master="br0"),
        HostInterface("eth1.5", mac=CARD, kind="vlan"),
        HostInterface("eth1.6", mac=CARD, kind="macvlan"),
        HostInterface("ib5", infiniband=True),
        HostInterface("wlan0", mac="52:54:00:00:00:03", wireless=True),
        HostInterface("sw0", kind="openvswitch", mtu=1450),
    ),
    switch=SwitchFacts("", "netdev", (("sw0", "netdev"), ("swk", "system")), frozenset({"sw0", "swk"})),
)


def moved(old: State, new: State) -> tuple[State, State]:
    return {k: v for k, v in old.items() if new.get(k) != v}, {k: v for k, v in new.items() if old.get(k) != v}


class Plugging:
    """A world in which every change is held against the whole."""

    def __init__(self, world: World) -> None:
        self.world = world

    def change(self, change: Change) -> None:
        before, after = self.world.now, self.world.now.after(change.writes)
        parts = touched(before, after, change.writes)
        whole = moved(*(render_all(moment, DRIVERS, FACTS) for moment in (before, after)))
        assert moved(*(render_touched(moment, parts, DRIVERS) for moment in (before, after))) == whole
        self.world.now = after

    def run(self, name: str, mode: str = "none") -> None:
        container = self.world.container(name, mode)
        self.change(join(self.world.now, container, self.world.around()))
        self.world.run(container)

    def of(self, name: str) -> Container:
        return self.world.now.container(name)

    def plug(self, name: str, host: str = "br0", address: str = "10.1.1.2/24", **asked: Any) -> Plug:
        request = parse_plug(host_interface=host, address="" if "dhcp" in asked else address, **asked)
        self.change(plug(self.world.now, self.of(name), request, FACTS, self.world.ids(1)[0]))
        return self.of(name).plugs[-1]

    def unplug(self, name: str, interface: str = "eth1") -> None:
        self.change(unplug(self.of(name), interface))

    def stop(self, name: str) -> None:
        self.change(leave(self.world.now, self.of(name)))

    def remove(self, name: str) -> None:
        self.change(leave(self.world.now, self.of(name), removed=True))

    def rendered(self, *kinds: type) -> list[KernelObject]:
        return [item for item in render_all(self.world.now, DRIVERS, FACTS).values() if isinstance(item, kinds)]

    def inside(self, name: str, *kinds: type) -> list[Any]:
        sandbox = self.world.now.sandbox(self.of(name))
        assert sandbox is not None
        return [item for item in self.rendered(*kinds) if item.namespace == sandbox.path]  # type: ignore[union-attr]


@pytest.fixture
def given(world: World) -> Plugging:
    return Plugging(world)


def test_on_a_bridge_that_is_there(given: Plugging) -> None:
    given.run("one")
    before = given.world.now
    made = given.plug("one", gateway="10.1.1.1")
    assert (made.interface, made.kind, made.parent, made.made, made.mtu) == ("eth1", "bridge", "br0", False, 1400)
    (veth,) = given.inside("one", Veth)
    assert (veth.name, veth.peer, veth.bridge, veth.mtu, veth.mac) == (
        made.host_interface, "eth1", "br0", 1400, made.mac
    )  # fmt: skip
    assert [a.address for a in given.inside("one", Address)] == ["10.1.1.2/24"]
    assert [(r.destination, r.gateway) for r in given.inside("one", Route)] == [("0.0.0.0/0", "10.1.1.1")]
    (told,) = announcements(before, given.world.now, [given.of("one").id])
    assert (told.interface, told.addresses) == ("eth1", ("10.1.1.2",))
    before = given.world.now
    given.plug("one", address="10.1.1.3/24", interface="eth2")
    assert [told.interface for told in announcements(before, given.world.now, [given.of("one").id])] == ["eth2"]
    given.unplug("one")
    assert [v.peer for v in given.inside("one", Veth)] == ["eth2"]
    given.remove("one")
    assert given.rendered(Veth) == [] and given.of("one").plugs == ()


def test_it_comes_back_as_it_was(given: Plugging) -> None:
    given.run("one")
    given.plug("one")
    (before,) = given.inside("one", Veth)
    given.stop("one")
    assert given.rendered(Veth) == []
    started = given.world.now
    given.change(join(given.world.now, given.of("one"), given.world.around()))
    (after,) = given.inside("one", Veth)
    assert (after.name, after.mac, after.alias) == (before.name, before.mac, before.alias)
    assert len(list(announcements(started, given.world.now, [given.of("one").id]))) == 1


def test_before_its_first_start(given: Plugging) -> None:
    given.world.container("one", "none")
    given.plug("one")
    assert given.rendered(Veth) == []
    given.change(join(given.world.now, given.of("one"), given.world.around()))
    assert [veth.peer for veth in given.inside("one", Veth)] == ["eth1"]


def test_a_bridge_that_is_made_is_there_while_somebody_wants_it(given: Plugging) -> None:
    def bridges() -> list[tuple[str, str]]:
        return [(b.name, b.mac) for b in given.rendered(Bridge) if b.alias == "linkspan:plug"]  # type: ignore[attr-defined]

    given.run("one")
    given.run("two")
    first = given.plug("one", "br7")
    ((name, mac),) = bridges()
    assert (name, first.made) == ("br7", True) and mac == first.bridge_mac
    assert given.plug("two", "br7", "10.1.1.3/24").bridge_mac == mac
    given.stop("one")
    given.stop("two")
    assert bridges() == [("br7", mac)]
    given.remove("one")
    assert bridges() == [("br7", mac)]
    given.remove("two")
    assert bridges() == []


def test_the_way_out_is_the_last_ones(given: Plugging) -> None:
    given.run("one", "bridge")
    given.plug("one", address="10.1.1.2/24")
    assert [r.interface for r in given.inside("one", Route)] == ["eth0"]
    given.plug("one", address="10.2.2.2/24", gateway="10.2.2.1", interface="eth2")
    given.plug("one", address="10.3.3.3/32", gateway="10.9.9.1", interface="eth3")
    assert {(r.destination, r.interface, r.gateway) for r in given.inside("one", Route)} == {
        ("10.9.9.1/32", "eth3", ""),
        ("0.0.0.0/0", "eth3", "10.9.9.1"),
    }
    given.plug("one", address="fd00::2/64", gateway="fd00::1", interface="eth4")
    assert ("::/0", "eth4") in {(r.destination, r.interface) for r in given.inside("one", Route)}
    assert next(a.address for a in given.inside("one", Address) if a.interface == "eth4") == "fd00::2/64"
    for interface, left in (("eth3", "eth2"), ("eth2", "eth0")):
        given.unplug("one", interface)
        assert [r.interface for r in given.inside("one", Route) if r.destination == "0.0.0.0/0"] == [left]


def test_networks_leave_its_name_to_it(given: Plugging) -> None:
    given.run("one", "bridge")
    given.plug("one")
    back = NetworkRequest(id=given.world.ids(1)[0], created="", name="back")
    given.change(create_network(given.world.now, back, DRIVERS, DEFAULT_SOURCES, FACTS))
    network = given.world.now.network("back")
    given.change(connect(given.world.now, given.of("one"), network, EndpointSettings(), given.world.around()))
    assert [e.interface for e in given.world.now.endpoints_in(given.of("one"))] == ["eth0", "eth2"]
    with pytest.raises(Conflict, match="interface eth2 exists already in container one: choose another name with -i"):
        given.plug("one", interface="eth2")


def test_an_address_of_a_network_on_the_same_bridge(given: Plugging) -> None:
    """Nobody else gets it, by chance or by asking; and it is free again when the container goes."""
    own = msgspec.structs.replace(
        given.world.now.network("bridge"), bridge="br0", pools=(Pool(subnet="10.211.55.0/29", gateway="10.211.55.1"),)
    )
    given.world.now = given.world.now.after([put(own)])

    def held() -> tuple[Holding, ...]:
        (use,) = [
            use for use in address_use(given.world.now, DEFAULT_SOURCES, FACTS).networks if use.network.id == own.id
        ]
        return use.subnets[0].holdings

    given.run("net", "bridge")
    assert given.world.now.endpoints_in(given.of("net"))[0].address == "10.211.55.2"
    given.run("one")
    for address, why in (("10.211.55.2/24", "that of container net"), ("10.211.55.1/24", "set aside")):
        with pytest.raises(Conflict, match=f"Address already in use: .*{why}"):
            given.plug("one", address=address)
    made = given.plug("one", address="10.211.55.3/24")
    assert made.network_id == own.id
    assert Holding("10.211.55.3", "in use", "one") in held()
    given.stop("one")
    assert Holding("10.211.55.3", "reserved", "one") in held()
    given.run("next", "bridge")
    assert given.world.now.endpoints_in(given.of("next"))[0].address == "10.211.55.4"
    given.remove("one")
    for name in ("a", "b", "c"):
        given.run(name, "bridge")
    assert given.world.now.endpoints_in(given.of("c"))[0].address == "10.211.55.3"


def test_on_a_card(given: Plugging) -> None:
    given.run("one")
    made = given.plug("one", f"mac:{CARD.upper()}", mac="U:unique")
    (device,) = given.inside("one", Device)
    assert (device.kind, device.parent, device.mode) == ("macvlan", "eth1", "bridge")
    assert device.mac == made.mac == "02:" + hashlib.md5(b"unique\n").digest()[:5].hex(":")
    tagged = given.plug("one", "eth1", "10.1.1.3/24", interface="eth2", vlan="7")
    assert (tagged.made, tagged.ground) == (True, "eth1.7")
    assert Device(HOST, "eth1.7", "vlan", "linkspan:parent", "eth1", "7") in given.rendered(Device)
    given.plug("one", "eth1", "10.1.1.4/24", interface="eth3", vlan="5")  # the administrator's
    assert not any(d.name == "eth1.5" for d in given.rendered(Device))  # type: ignore[attr-defined]
    # A network may stand on the VLAN that was made: it is there until both let go.
    lan = NetworkRequest(
        id=given.world.ids(1)[0], created="", name="lan", driver="macvlan", options={"parent": "eth1.7"},
        pools=(Pool(subnet="10.4.0.0/24"),),
    )  # fmt: skip
    given.change(create_network(given.world.now, lan, DRIVERS, DEFAULT_SOURCES, FACTS))
    given.unplug("one", "eth2")
    assert any(d.name == "eth1.7" for d in given.rendered(Device))  # type: ignore[attr-defined]
    with pytest.raises(Conflict, match=r"eth1\.6 exists already, and is no VLAN"):
        given.plug("one", "eth1", interface="eth4", vlan="6")


def test_a_card_itself(given: Plugging) -> None:
    given.run("one")
    given.plug("one", "eth1", direct=True, mac="02:00:00:00:00:09", interface="wan")
    (nic,) = given.inside("one", Nic)
    assert (nic.name, nic.origin, nic.origin_mac, nic.mac) == ("wan", "eth1", CARD, "02:00:00:00:00:09")
    for options in ({}, {"direct": True}):
        with pytest.raises(Conflict, match="eth1"):
            given.plug("one", "eth1", "10.1.1.9/24", interface="eth3", **options)
    given.unplug("one", "wan")
    given.plug("one", "eth1", direct=True, vlan="9")
    (vlan,) = given.inside("one", Device)
    assert (vlan.kind, vlan.parent, vlan.mode, vlan.name) == ("vlan", "eth1", "9", "eth1")
    with pytest.raises(Conflict, match="interface eth1 of container one stands on eth1"):
        given.plug("one", "eth1", direct=True, interface="eth2")
    with pytest.raises(Forbidden, match="default route leads over eth0"):
        given.plug("one", "eth0", direct=True, interface="eth2")
    with pytest.raises(Conflict, match="eth2 is a port of bridge br0"):
        given.plug("one", "eth2", direct=True, interface="eth2")


def test_in_a_cluster(given: Plugging) -> None:
    """The cluster's addresses are not given by hand, nor is the card over which it hears of this host."""
    lan = Network(
        id="f" * 64,
        name="flat",
        driver="macvlan",
        created="",
        scope="global",
        parent="eth1",
        pools=(Pool(subnet="10.9.0.0/24"),),
    )
    given.world.now = given.world.now.after([put(lan)])
    given.run("one")
    with pytest.raises(Conflict, match=r"10.9.0.7 is of network flat, whose addresses the cluster gives out"):
        given.plug("one", "eth1", "10.9.0.7/24")
    given.plug("one", "eth1", "10.8.0.7/24")
    facts = dataclasses.replace(FACTS, underlay=Underlay("wlan0", "10.8.0.1"))
    asked = parse_plug(host_interface="wlan0", address="10.1.1.9/24", interface="w")
    with pytest.raises(Forbidden, match="reach this one over wlan0"):
        plug(given.world.now, given.of("one"), asked, facts, given.world.ids(1)[0])


def test_kinds_that_this_kernel_lacks(given: Plugging) -> None:
    given.run("one")
    infiniband = given.plug("one", "ib5", vlan="1f")
    (device,) = given.inside("one", Device)
    assert (device.name, device.kind, device.parent, device.mode, infiniband.mac) == ("ib0", "ipoib", "ib5", "001f", "")
    given.plug("one", "dummy0")
    assert [(d.name, d.kind, d.parent) for d in given.inside("one", Device)][1] == ("eth1", "dummy", "")
    given.plug("one", "wlan0", "10.1.1.3/24", interface="wlan0")
    (nic,) = given.inside("one", Nic)
    assert (nic.origin, nic.wireless) == ("wlan0", True)
    given.remove("one")
    given.run("two")
    with pytest.raises(InvalidArgument, match="take no MAC address"):
        given.plug("two", "ib5", mac="02:00:00:00:00:01")
    with pytest.raises(InvalidArgument, match="wireless card has no VLANs"):
        given.plug("two", "wlan0", vlan="7")


def test_on_a_bridge_of_open_vswitchs(given: Plugging) -> None:
    given.run("one")
    made = given.plug("one", "sw0", vlan="7", gateway="10.1.1.1")
    assert (made.kind, made.mtu, made.offload, made.made) == ("ovs", 1450, False, False)
    (veth,) = given.inside("one", Veth)
    assert (veth.bridge, veth.offload, veth.hairpin, veth.mtu) == ("", False, False, 1450)
    container = given.of("one").id
    said = (
        *(("container_id", container), ("container_iface", "eth1"), ("pipework.bridge", "sw0")),
        *(("pipework.containerid", container), ("pipework.interface", "eth1"), ("pipework.vlan", "7")),
    )
    assert given.rendered(OvsPort, OvsBridge) == [OvsPort("sw0", veth.name, f"linkspan:{made.id}", tag=7, said=said)]
    given.change(set_vlan(given.of("one"), "sw0", "eth1", "9"))
    (port,) = given.rendered(OvsPort)
    assert isinstance(port, OvsPort) and port.tag == 9
    given.change(set_vlan(given.of("one"), "sw0", "eth1", ""))
    (port,) = given.rendered(OvsPort)
    assert isinstance(port, OvsPort) and port.tag == 0
    assert set_vlan(given.of("one"), "sw0", "eth1", "") == Change()
    with pytest.raises(NotFound, match="no interface eth1 on a bridge sw1"):
        set_vlan(given.of("one"), "sw1", "eth1", "9")
    # In the kernel's data path; without an address; with an MTU of its own.
    kernel = given.plug("one", "swk", "", interface="eth2", switch=True, mtu=1400)
    assert (kernel.offload, kernel.mtu, kernel.address) == (True, 1400, "")
    given.unplug("one", "eth1")
    assert [port.name for port in given.rendered(OvsPort) if isinstance(port, OvsPort)] == [kernel.host_interface]
    given.unplug("one", "eth2")
    assert given.rendered(OvsPort, OvsBridge, Veth) == []


def test_a_bridge_of_open_vswitchs_that_is_made(given: Plugging) -> None:
    given.run("one")
    given.run("two")
    first = given.plug("one", "ovs7")  # by its name, as pipework has it
    second = given.plug("two", "ovs7", "10.1.1.3/24")
    given.plug("two", "mine", "10.1.1.4/24", interface="eth2", switch=True)
    assert (first.made, second.made, first.bridge_mac) == (True, True, second.bridge_mac)
    bridges = {item.name: item for item in given.rendered(OvsBridge) if isinstance(item, OvsBridge)}
    assert set(bridges) == {"ovs7", "mine"}
    assert bridges["ovs7"] == OvsBridge("ovs7", "linkspan:plug", "netdev", 1500, first.bridge_mac)
    given.unplug("one")
    assert len(given.rendered(OvsBridge)) == 2
    given.remove("two")


def test_what_open_vswitch_refuses(given: Plugging) -> None:
    given.run("one")
    with pytest.raises(Conflict, match="interface br0 exists already, and is no bridge of Open vSwitch's"):
        given.plug("one", "br0", switch=True)
    with pytest.raises(InvalidArgument, match="invalid VLAN '1f'"):
        given.plug("one", "sw0", vlan="1f")
    with pytest.raises(InvalidArgument, match="invalid MTU 5"):
        given.plug("one", "sw0", mtu=5)
    with pytest.raises(InvalidArgument, match="an address with its prefix length is needed"):
        given.plug("one", "sw0", "", gateway="10.1.1.1", switch=True)
    away = dataclasses.replace(FACTS, switch=SwitchFacts("Open vSwitch does not run on this host: because"))
    with pytest.raises(Unavailable, match="because"):
        plug(given.world.now, given.of("one"), parse_plug(host_interface="ovs7", address="10.1.1.2/24"), away, "5" * 64)


def test_dhcp(given: Plugging) -> None:
    """A lease is of one run; the next run begins without."""
    given.run("one")
    made = given.plug("one", dhcp=Dhcp(client="udhcpc"))
    assert given.inside("one", Address) == []
    sandbox = given.world.now.sandbox(given.of("one"))
    assert sandbox is not None
    lease = Lease(sandbox_id=sandbox.id, address="10.1.1.77", prefix_length=24, gateway="10.1.1.1")
    given.change(leased(given.of("one"), made.id, lease))
    assert [a.address for a in given.inside("one", Address)] == ["10.1.1.77/24"]
    assert [r.gateway for r in given.inside("one", Route)] == ["10.1.1.1"]
    assert leased(given.of("one"), made.id, lease) == leased(given.of("one"), "nobody's", None) == Change()
    given.stop("one")
    given.change(join(given.world.now, given.of("one"), given.world.around()))
    assert given.inside("one", Address) == []


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"host": "eth9"}, NotFound, "no interface eth9"),
        ({"host": "mac:02:00:00:00:00:77"}, NotFound, "MAC address 02:00:00:00:00:77"),
        ({"host": "mac:nonsense"}, InvalidArgument, "invalid MAC address"),
        ({"host": "lo"}, InvalidArgument, "invalid host interface"),
        ({"host": "a b"}, InvalidArgument, "invalid host interface"),
        ({"host": "eth2"}, Conflict, "use the bridge"),
        ({"interface": "x" * 16}, InvalidArgument, "at most 15"),
        ({"host_end": "eth0"}, Conflict, "eth0 exists already on the host"),
        ({"host": "eth1", "host_end": "mine"}, InvalidArgument, "-l names the end on a bridge"),
        ({"address": "10.1.1.2"}, InvalidArgument, "10.1.1.2/24"),
        ({"address": "fd00::2"}, InvalidArgument, "fd00::2/64"),
        ({"address": "10.1.1.2/33"}, InvalidArgument, "invalid address"),
        ({"address": "0.0.0.0/8"}, InvalidArgument, "no interface can have it"),
        ({"address": ""}, InvalidArgument, "or dhcp"),
        ({"address": "10.211.55.4/24"}, Conflict, "the host's own address"),
        ({"gateway": "nonsense"}, InvalidArgument, "invalid gateway"),
        ({"gateway": "fd00::1"}, InvalidArgument, "invalid gateway"),
        ({"gateway": "10.1.1.2"}, InvalidArgument, "invalid gateway"),
        ({"family": "6"}, InvalidArgument, "asks for IPv6"),
        ({"family": "ipx"}, InvalidArgument, "address family"),
        ({"vlan": "7"}, InvalidArgument, "has no VLANs"),
        ({"host": "eth1", "vlan": "4095"}, InvalidArgument, "use 1 to 4094"),
        ({"host": "eth1", "vlan": "seven"}, InvalidArgument, "invalid VLAN"),
        ({"host": "dummy1", "vlan": "7"}, InvalidArgument, "dummy interface has no VLANs"),
        ({"direct": True}, InvalidArgument, "br0 is none"),
        ({"mac": "01:00:00:00:00:00"}, InvalidArgument, "multicast"),
        ({"dhcp": Dhcp(client="pump")}, InvalidArgument, "unknown DHCP client"),
        ({"dhcp": Dhcp(), "family": "6"}, InvalidArgument, "IPv4"),
    ],
)
def test_bad_input(given: Plugging, asked: dict[str, Any], kind: type[LinkspanError], said: str) -> None:
    given.run("one")
    before = given.world.now
    with pytest.raises(kind, match=said):
        given.plug("one", **asked)
    assert given.world.now == before


def test_who_has_no_network_of_its_own(given: Plugging) -> None:
    given.run("hosted", "host")
    with pytest.raises(InvalidArgument, match="uses the host's"):
        given.plug("hosted")
    given.run("one")
    given.run("two")
    given.plug("one", host_end="end1")
    with pytest.raises(Conflict, match=r"10.1.1.2 on br0 was given to container one"):
        given.plug("two")
    with pytest.raises(Conflict, match="end1 exists already"):
        given.plug("two", address="10.1.1.3/24", host_end="end1")
    with pytest.raises(NotFound, match="given no interface eth7"):
        given.unplug("one", "eth7")
    asked = parse_plug(host_interface="br0", address="10.1.1.2/24", family="inet")
    assert asked == PlugRequest(host_interface="br0", address="10.1.1.2/24")
