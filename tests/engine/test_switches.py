"""ovs networks: options, what they need of the host, and what is rendered of them."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from linkspan.drivers.ovs import UPLINK_BRIDGE, OvsDriver, tunnel_name
from linkspan.engine.join import connect, join
from linkspan.engine.networks import NetworkRequest, create_network
from linkspan.engine.render import render_all
from linkspan.errors import InvalidArgument, LinkspanError, Unavailable, Unsupported
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.cluster import Host
from linkspan.model.container import EndpointSettings
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import put
from linkspan.state.host import HostFacts, Underlay
from linkspan.state.objects import HOST as HERE
from linkspan.state.objects import Address, KernelObject, NftElement, Veth
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink, SwitchFacts

from .conftest import DRIVERS, HOST, World

UNDER = Underlay("eth0", "10.211.55.4")
ALONE = dataclasses.replace(HOST, switch=SwitchFacts(""))
SHARED = dataclasses.replace(ALONE, host_id="here", underlay=UNDER)
POOLS = {"net": (Pool(subnet="10.77.0.0/24", gateway="10.77.0.1"),)}


def network(world: World, name: str = "net", host: HostFacts = SHARED, **options: str) -> Network:
    request = NetworkRequest(
        id=world.ids(1)[0],
        created="",
        name=name,
        driver="ovs",
        pools=POOLS.get(name, ()),
        options={option.replace("__", "."): value for option, value in options.items()},
    )
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, host).writes)
    return world.now.network(name)


def started(world: World, name: str, mode: str, **vlan: str) -> str:
    made = world.container(name, mode)
    if vlan:
        (id_,) = made.networks
        made = msgspec.structs.replace(made, networks={id_: EndpointSettings(driver_opts=vlan)})
        world.now = world.now.after([put(made)])
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    (endpoint,) = world.now.endpoints_in(made)
    return endpoint.id


def rendered(world: World, host: HostFacts, *kinds: type) -> list[KernelObject]:
    drivers = {**DRIVERS, "ovs": OvsDriver(host.underlay, host.switch)}
    return [o for o in render_all(world.now, drivers, host).values() if isinstance(o, kinds)]


def test_a_bridge_a_port_and_a_tunnel_to_each_host(world: World) -> None:
    made = network(world, vlan="7")
    assert (made.scope, made.mode, made.vni, made.mtu, made.vlan) == ("global", "gre", 4096, 1454, 7)
    assert rendered(world, SHARED, OvsBridge, OvsPort) == []  # nobody here is on it
    host = Host(id="there", name="h2", address="10.211.55.5", address6="fd00::5")
    world.now = world.now.after([put(host)])
    id_ = started(world, "web", "net")
    container = world.now.endpoints[id_].container_id
    alias, veth = f"linkspan:{made.id}", world.now.endpoints[id_].host_interface
    said = (("container_id", container), ("container_iface", "eth0"))
    bridge = OvsBridge(made.bridge, alias, "system", 1454, f"02:42:{made.id[:2]}:00:00:0{made.id[7]}", 7)
    found = rendered(world, SHARED, OvsBridge, OvsPort, OvsUplink, Veth)
    assert isinstance(found[0], OvsBridge) and dataclasses.replace(found[0], mac="") == dataclasses.replace(
        bridge, mac=""
    )
    name = tunnel_name(made.id, "there")
    addresses = ("10.211.55.4", "10.211.55.5")
    assert found[1] == OvsPort(made.bridge, name, alias, "gre", *addresses, 4096, apart=True, said=(("host", "h2"),))
    assert isinstance(found[2], Veth) and (found[2].bridge, found[2].hairpin, found[2].offload) == ("", False, True)
    assert found[3] == OvsPort(made.bridge, veth, f"linkspan:{id_}", tag=7, said=said)
    assert len(name) == 15


def test_in_user_space_it_has_an_uplink_and_whole_packets(world: World) -> None:
    host = dataclasses.replace(SHARED, switch=SwitchFacts("", "netdev"))
    for name in ("one", "two"):
        network(world, name, host, tunnel="vxlan", com__docker__network__bridge__name=f"br-{name}")
        started(world, f"c{name}", name)
    assert rendered(world, host, OvsUplink) == [OvsUplink(UPLINK_BRIDGE, "10.211.55.4")]
    assert Address(HERE, UPLINK_BRIDGE, "169.254.76.83/32") in rendered(world, host, Address)
    assert NftElement("switched", "10.211.55.4") in rendered(world, host, NftElement)
    assert not any(veth.offload for veth in rendered(world, host, Veth) if isinstance(veth, Veth))
    # The administrator has put the address on a bridge of the switch's: it goes out over that.
    theirs = dataclasses.replace(
        host, switch=SwitchFacts("", "netdev", (("br-phy", "netdev"),), frozenset({"br-phy", "eth0"}))
    )
    assert rendered(world, theirs, OvsUplink) == []


def test_hosts_are_reached_by_the_ip_version_that_both_have(world: World) -> None:
    under = Underlay("eth0", "", "fd00::4")
    made = network(world, host=dataclasses.replace(SHARED, underlay=under), tunnel="vxlan")
    assert made.mtu == 1500 - 54 - 20
    world.now = world.now.after(
        [put(Host(id="a", name="a", address="10.0.0.1", address6="fd00::5")), put(Host(id="b", name="b"))]
    )
    started(world, "web", "net")
    found = rendered(world, dataclasses.replace(SHARED, underlay=under), OvsPort)
    tunnels = [(o.local, o.remote) for o in found if isinstance(o, OvsPort) and o.kind]
    assert tunnels == [("fd00::4", "fd00::5")]


def test_without_a_cluster_it_is_a_switch_of_this_host(world: World) -> None:
    made = network(world, host=ALONE)
    assert (made.scope, made.mode, made.vni, made.mtu) == ("local", "", 0, 1500)
    world.now = world.now.after([put(Host(id="a", name="a", address="10.0.0.1"))])
    started(world, "web", "net")
    assert [o.kind for o in rendered(world, ALONE, OvsPort) if isinstance(o, OvsPort)] == [""]


def test_a_vlan_of_ones_own(world: World) -> None:
    network(world, vlan="10")
    asked = {"": 10, "20": 20, "0": 0}
    for number, (text, tag) in enumerate(asked.items()):
        id_ = started(world, f"c{number}", "net", **({"vlan": text} if text else {}))
        assert world.now.endpoints[id_].vlan == tag
    made = world.container("bad")
    with pytest.raises(InvalidArgument, match=r"invalid value for vlan: '5000': use 1 to 4094, or 0 for none"):
        connect(
            world.now, made, world.now.network("net"), EndpointSettings(driver_opts={"vlan": "5000"}), world.around()
        )


NO_SWITCH = dataclasses.replace(SHARED, switch=SwitchFacts("Open vSwitch does not run on this host: because"))
BY_IPV6 = dataclasses.replace(SHARED, switch=SwitchFacts("", "netdev"), underlay=Underlay("eth0", "", "fd00::4"))


@pytest.mark.parametrize(
    "host, options, kind, said",
    [
        (NO_SWITCH, {}, Unavailable, "Open vSwitch does not run on this host: because"),
        (BY_IPV6, {}, Unsupported, "Open vSwitch in user space finds other hosts by IPv4 alone"),
        (SHARED, {"tunnel": "stt"}, InvalidArgument, "invalid value for tunnel: 'stt': use gre or vxlan"),
        (SHARED, {"vlan": "4095"}, InvalidArgument, "invalid value for vlan: '4095'"),
        (SHARED, {"vlan": "x"}, InvalidArgument, "invalid value for vlan: 'x'"),
        (SHARED, {"parent": "eth0"}, InvalidArgument, "network net: unknown option: parent"),
        (SHARED, {"com__docker__network__bridge__name": "docker0"}, InvalidArgument, "it is another network's"),
        (SHARED, {"com__docker__network__bridge__enable_icc": "false"}, InvalidArgument, "unknown option"),
    ],
)
def test_what_cannot_be(
    world: World, host: HostFacts, options: dict[str, str], kind: type[LinkspanError], said: str
) -> None:
    before = world.now
    with pytest.raises(kind, match=said):
        network(world, host=host, **options)
    assert world.now == before
