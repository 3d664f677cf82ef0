"""macvlan and ipvlan networks: options, parents, and what is rendered of them."""

from __future__ import annotations

import dataclasses
import re

import pytest

from linkspan.engine.join import connect, join, leave
from linkspan.engine.networks import NetworkRequest, create_network, remove_network
from linkspan.engine.render import render_all
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.cluster import Host, Remote
from linkspan.model.container import EndpointSettings
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import put
from linkspan.state.objects import HOST as HERE
from linkspan.state.objects import Address, Device, KernelObject, Route, Sysctl

from .conftest import DRIVERS, HOST, World

LAN = Pool(subnet="10.211.55.0/24", ip_range="10.211.55.128/25", gateway="10.211.55.1")


def network(world: World, name: str, driver: str = "macvlan", pool: Pool = LAN, **options: str) -> Network:
    internal = options.pop("internal", "") == "true"
    request = NetworkRequest(
        id=world.ids(1)[0], created="", name=name, driver=driver, pools=(pool,), options=options, internal=internal
    )
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    return world.now.network(name)


def started(world: World, name: str, mode: str, ports: dict[str, str] | None = None) -> str:
    made = world.container(name, mode, ports)
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    return made.id


def rendered(world: World, *kinds: type) -> list[KernelObject]:
    """But for the default networks' own."""
    found = [o for o in render_all(world.now, DRIVERS, HOST).values() if isinstance(o, kinds)]
    return [o for o in found if "docker0" not in o.key and "ip_forward" not in o.key[-1] and "docker0" not in o.key[-1]]


def test_a_container_stands_on_the_hosts_interface(world: World) -> None:
    made = network(world, "lan", parent="eth0")
    id_ = started(world, "web", "lan", ports={"80/tcp": "8080"})
    (endpoint,) = world.now.endpoints_in(world.now.containers[id_])
    path = world.now.sandboxes[endpoint.sandbox_id].path
    assert (endpoint.address, endpoint.gateway, endpoint.mac) == ("10.211.55.128", "10.211.55.1", "02:42:0a:d3:37:80")
    assert (endpoint.bindings, endpoint.exposed, made.internal) == ((), (), False)
    assert rendered(world, Device, Address, Route, Sysctl) == [
        Device(path, "eth0", "macvlan", f"linkspan:{endpoint.id}", "eth0", "bridge", "02:42:0a:d3:37:80"),
        Sysctl(path, "net/ipv6/conf/eth0/disable_ipv6", "1"),
        Address(path, "eth0", "10.211.55.128/24"),
        Route(path, "0.0.0.0/0", "eth0", "10.211.55.1"),
    ]


def test_ports_follow_the_way_out(world: World) -> None:
    lan = network(world, "lan", parent="eth0")
    id_ = started(world, "web", "bridge", ports={"80/tcp": "8080"})
    web = world.now.containers[id_]
    change = connect(world.now, web, lan, EndpointSettings(gw_priority=1), world.around())
    world.now = world.now.after(change.writes)
    shape = {e.interface: (e.default_route, len(e.bindings)) for e in world.now.endpoints_in(web)}
    assert shape == {"eth0": (False, 0), "eth1": (True, 0)}


def test_an_internal_network_has_no_gateway(world: World) -> None:
    made = network(world, "inside", pool=Pool(subnet="10.9.0.0/24"), parent="eth1", internal="true")
    assert made.pools[0].gateway == ""
    started(world, "one", "inside")
    assert not rendered(world, Route)
    assert [o.address for o in rendered(world, Address) if isinstance(o, Address)] == ["10.9.0.1/24"]


def test_without_a_parent_there_is_a_dummy_that_leads_nowhere(world: World) -> None:
    made = network(world, "alone", pool=Pool(subnet="10.9.0.0/24"))
    assert (made.parent, made.parent_made, made.internal) == (f"dm-{made.id[:12]}", True, True)
    assert rendered(world, Device) == [Device(HERE, made.parent, "dummy", f"linkspan:{made.id}")]


def test_a_vlan_is_made_with_the_first_network_and_goes_with_the_last(world: World) -> None:
    vlan = Device(HERE, "eth1.10", "vlan", "linkspan:parent", "eth1", "10")
    first = network(world, "first", parent="eth1.10")
    second = network(world, "second", pool=Pool(subnet="10.9.0.0/24"), parent="eth1.10", macvlan_mode="private")
    assert first.parent_made and second.parent_made
    for gone in (first, second):
        assert rendered(world, Device) == [vlan]
        world.now = world.now.after(remove_network(world.now, gone).writes)
    assert rendered(world, Device) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parent": "eth7"}, "invalid subinterface vlan name eth7, example formatting is eth0.10"),
        ({"parent": "eth7.10"}, "-o parent interface was not found on the host: eth7"),
        ({"parent": "eth0.x"}, r"unable to parse a valid vlan id from: eth0\.x \(ex\. eth0\.10 for vlan 10\)"),
        ({"parent": "eth0.4095"}, "vlan id must be between 1-4094, received: 4095"),
        ({"parent": "lo"}, "loopback interface is not a valid macvlan parent link"),
        ({"macvlan_mode": "source"}, "requested macvlan mode 'source' is not valid"),
        ({"ipvlan_mode": "l2"}, "unknown option: ipvlan_mode"),
        ({"parent": "eth0", "host_access": "maybe"}, "invalid value for host_access"),
        ({"parent": "eth0", "host_access": "true", "macvlan_mode": "vepa"}, "host_access needs macvlan_mode=bridge"),
    ],
    ids=str,
)
def test_refused(world: World, options: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        network(world, "lan", **options)
    assert "lan" not in {n.name for n in world.now.networks.values()}


def test_passthru_is_alone_on_its_parent(world: World) -> None:
    network(world, "lan", parent="eth0")
    other = Pool(subnet="10.9.0.0/24")
    with pytest.raises(Forbidden, match=r"cannot use mode passthru, macvlan network .* is already using parent interf"):
        network(world, "through", pool=other, parent="eth0", macvlan_mode="passthru")
    network(world, "through", pool=other, parent="eth1", macvlan_mode="passthru")
    with pytest.raises(Forbidden, match="is already using parent interface eth1 in mode passthru"):
        network(world, "more", pool=Pool(subnet="10.10.0.0/24"), parent="eth1")
    id_ = started(world, "one", "through")
    assert world.now.endpoints_in(world.now.containers[id_])[0].mac == ""
    with pytest.raises(Forbidden, match="room for one container in mode passthru, and one is connected to it"):
        started(world, "two", "through")


def test_the_host_has_a_way_in_while_anyone_is_there(world: World) -> None:
    made = network(world, "lan", parent="eth0", host_access="true")
    assert made.pools[0].auxiliary == {"host-eth0": "10.211.55.4", "host": "10.211.55.254"}
    name = f"mv-{made.id[:12]}"
    assert rendered(world, Device) == []
    first, second = started(world, "one", "lan"), started(world, "two", "lan")
    here = [o for o in rendered(world, Device, Address, Route) if o.key[1] == HERE]
    assert sorted((type(o).__name__, *o.key[2:]) for o in here) == [
        ("Address", name, "10.211.55.254/32"),
        ("Device", name),
        ("Route", "10.211.55.128/32"),
        ("Route", "10.211.55.129/32"),
    ]
    inside = [o for o in rendered(world, Route) if isinstance(o, Route) and o.destination == "10.211.55.4/32"]
    assert {o.gateway for o in inside} == {"10.211.55.254"} and len(inside) == 2
    for id_, left in ((first, 3), (second, 0)):
        world.now = world.now.after(leave(world.now, world.now.containers[id_], removed=True).writes)
        assert len([o for o in rendered(world, Device, Address, Route) if o.key[1] == HERE]) == left


def test_the_hosts_own_address_may_be_given(world: World) -> None:
    pool = Pool(subnet="10.9.0.0/24", auxiliary={"host": "10.9.0.77"})
    assert network(world, "lan", pool=pool, parent="eth1", host_access="true").pools[0].auxiliary == pool.auxiliary
    full = Pool(subnet="10.9.1.0/30", auxiliary={"router": "10.9.1.2"})
    with pytest.raises(Conflict, match=r"no address of 10\.9\.1\.0/30 is left for the host"):
        network(world, "full", pool=full, parent="eth1", host_access="true")


@pytest.mark.parametrize(
    ("options", "mode", "gateway"),
    [
        ({}, "l2", "10.211.55.1"),
        ({"ipvlan_mode": "l3"}, "l3", ""),
        ({"ipvlan_mode": "l3s", "ipvlan_flag": "private"}, "l3s.private", ""),
    ],
)
def test_ipvlan(world: World, options: dict[str, str], mode: str, gateway: str) -> None:
    network(world, "lan", "ipvlan", pool=Pool(subnet="10.211.55.0/24"), parent="eth0", **options)
    id_ = started(world, "one", "lan")
    (device,) = (o for o in rendered(world, Device) if isinstance(o, Device))
    assert (device.kind, device.mode, device.mac) == ("ipvlan", mode, "")
    (route,) = (o for o in rendered(world, Route) if isinstance(o, Route))
    assert (route.destination, route.gateway) == ("0.0.0.0/0", gateway)
    assert world.now.endpoints_in(world.now.containers[id_])[0].mac == ""


@pytest.mark.parametrize("options", [{"ipvlan_mode": "l4"}, {"ipvlan_flag": "x"}, {"host_access": "true"}], ids=str)
def test_ipvlan_refused(world: World, options: dict[str, str]) -> None:
    with pytest.raises(LinkspanError, match=r"is not valid|unknown option"):
        network(world, "lan", "ipvlan", parent="eth0", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs a parent (-o parent=…) that every host has: it names none"),
        ({"parent": "eth0.10"}, "that every host has: eth0.10 is none on this one"),
        ({"parent": "eth0", "host_access": "true"}, "host_access is for networks of one host"),
    ],
)
def test_what_a_network_of_the_cluster_cannot_stand_on(world: World, options: dict[str, str], words: str) -> None:
    """Who makes it does not know what other hosts have, nor could one host make a VLAN on another one."""
    member = dataclasses.replace(HOST, host_id="h")
    request = NetworkRequest(
        id=world.ids(1)[0], created="", name="lan", driver="macvlan", scope="global", pools=(LAN,), options=options
    )
    with pytest.raises(InvalidArgument, match=re.escape(words)):
        create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, member)


def test_a_network_of_the_cluster_stands_on_what_each_host_has(world: World) -> None:
    member = dataclasses.replace(HOST, host_id="h")
    request = NetworkRequest(
        id=world.ids(1)[0],
        created="",
        name="lan",
        driver="macvlan",
        scope="global",
        pools=(LAN,),
        options={"parent": "eth0"},
    )
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, member).writes)
    made = world.now.network("lan")
    assert (made.scope, made.parent, made.parent_made) == ("global", "eth0", False)
    started(world, "web", "lan")
    # What others have on the wire needs nothing here.
    other = Host(id="o", name="o", address="10.211.55.5")
    before = render_all(world.now, DRIVERS, member)
    remote = Remote(id="r", network_id=made.id, host_id="o", container_id="c", name="c", address="10.211.55.200")
    assert render_all(world.now.after([put(other), put(remote)]), DRIVERS, member) == before
