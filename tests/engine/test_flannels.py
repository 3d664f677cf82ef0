"""flannel networks: what their options mean, what this host's part of one is, and what others' parts need here."""

from __future__ import annotations

import dataclasses
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.drivers.available import DRIVERS as ALL
from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.flannel import CONFIG, FlannelDriver
from linkspan.engine.flannels import check_config, prefix_of, wanted_config
from linkspan.engine.join import Surroundings, join
from linkspan.engine.networks import NetworkRequest, create_network, remove_network
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.update import NetworkUpdate, update_network
from linkspan.errors import Conflict, Forbidden, InvalidArgument, Unavailable, Unsupported
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.ipam.ports import PortSpace
from linkspan.model.container import EndpointIpamConfig, EndpointSettings
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.flannel import Lease, parse_config
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.model.subnet import HostSubnet, host_subnet_id
from linkspan.state.host import HostFacts, Underlay
from linkspan.state.objects import HOST as HERE
from linkspan.state.objects import Address, FdbEntry, Neighbour, NftElement, Route, Veth, Vxlan

from .conftest import HOST, World

IN_CLUSTER = dataclasses.replace(HOST, host_id="h1", underlay=Underlay("eth0", "10.211.55.4"))
UNDERLAY = Underlay("eth0", "10.211.55.4", mtu=1500, on_link=("10.211.55.0/24",))
DRIVERS = {**ALL, "flannel": FlannelDriver(underlay=UNDERLAY)}
NETWORK = "10.5.0.0/16"


def config(number: int = 1, **backend: object) -> str:
    return json.dumps({"Network": f"10.{number + 4}.0.0/16", "Backend": {"Type": "vxlan", "VNI": number, **backend}})


def request(world: World, name: str = "fl", text: str = "", **options: str) -> NetworkRequest:
    text = text or config()
    options = {name.replace("_", "."): value for name, value in options.items()}
    pools = (Pool(subnet=parse_config(text).v4.network),)
    return NetworkRequest(
        name=name, driver="flannel", id=world.ids(1)[0], pools=pools, options={CONFIG: text, **options}
    )


def created(world: World, asked: NetworkRequest) -> Network:
    change = create_network(world.now, asked, DRIVERS, DEFAULT_SOURCES, IN_CLUSTER)
    world.now = world.now.after(change.writes)
    return world.now.network(asked.name)


def part(network: Network, third: int, host: int, *, own: bool = False) -> HostSubnet:
    subnet = f"10.5.{third}.0/24"
    lease = Lease(subnet, f"10.211.55.{host}", backend="vxlan", vni=1, vtep=f"02:00:00:00:00:{host:02x}")
    return HostSubnet(id=host_subnet_id(network.id, subnet), network_id=network.id, lease=lease, own=own)


def around(world: World) -> Surroundings:
    return Surroundings(DRIVERS, "/run/netns", PortSpace(), world.ids(8), "h1")


def test_in_a_mesh_there_are_no_plain_ways(world: World) -> None:
    """Not by host-gw, whichever way the configuration came to etcd; with direct routing, tunnels are everybody's."""
    meshed = dataclasses.replace(IN_CLUSTER, underlay=Underlay("linkspan-mesh", "100.127.0.4"))
    asked = request(world, text=config(Type="host-gw"))
    with pytest.raises(Unsupported, match=r"use flannel\.backend=vxlan"):
        create_network(world.now, asked, DRIVERS, DEFAULT_SOURCES, meshed)
    create_network(world.now, request(world, text=config(DirectRouting=True)), DRIVERS, DEFAULT_SOURCES, meshed)


def test_a_network_is_the_cluster_s_and_has_no_gateway_of_its_own(world: World) -> None:
    network = created(world, request(world))
    assert (network.scope, network.strict_blocks) == ("global", True)
    assert [(pool.subnet, pool.gateway) for pool in network.pools] == [(NETWORK, "")]


def test_without_a_cluster_there_is_none(world: World) -> None:
    with pytest.raises(Forbidden, match="needs a cluster"):
        create_network(world.now, request(world), DRIVERS, DEFAULT_SOURCES, HOST)


def test_two_networks_keep_apart(world: World) -> None:
    created(world, request(world))
    with pytest.raises(Conflict, match=r"is the flannel network of /coreos\.com/network already"):
        created(world, request(world, "two", config(2)))
    with pytest.raises(Conflict, match=r"has the device flannel\.1 already"):
        created(world, request(world, "two", config(1), flannel_prefix="/two"))
    with pytest.raises(Conflict, match="overlaps"):
        created(world, request(world, "two", config(1, VNI=2), flannel_prefix="/two"))
    created(world, request(world, "two", config(2), flannel_prefix="/two"))
    with pytest.raises(InvalidArgument, match="internal"):
        created(world, dataclasses.replace(request(world, "x", config(3), flannel_prefix="/x"), internal=True))


def test_addresses_come_from_this_host_s_part_alone(world: World) -> None:
    network = created(world, request(world))
    first = world.container("a", "fl")
    with pytest.raises(Unavailable, match="this host has no subnet of it yet"):
        join(world.now, first, around(world))
    world.now = world.now.after(map(put, (part(network, 7, 4, own=True), part(network, 8, 5))))
    world.now = world.now.after(join(world.now, first, around(world)).writes)
    (endpoint,) = world.now.endpoints_in(first)
    assert (endpoint.address, endpoint.prefix_length, endpoint.gateway) == ("10.5.7.2", 24, "10.5.7.1")
    assert endpoint.default_route and not world.now.blocks
    other = world.container("b", "fl")
    asked = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="10.5.8.9"))
    world.now = world.now.after([put(msgspec.structs.replace(other, networks={network.id: asked}))])
    with pytest.raises(InvalidArgument, match="no configured subnet"):
        join(world.now, world.now.containers[other.id], around(world))


def test_what_is_rendered(world: World) -> None:
    network = created(world, request(world))
    assert not [o for o in render_all(world.now, DRIVERS, HOST).values() if getattr(o, "name", "") == network.bridge]
    world.now = world.now.after(map(put, (part(network, 7, 4, own=True), part(network, 8, 5))))
    container = world.container("a", "fl")
    world.now = world.now.after(join(world.now, container, around(world)).writes)
    rendered = list(render_all(world.now, DRIVERS, HOST).values())
    owner = network.id[:12]
    vtep = "02:00:00:00:00:04"
    assert Vxlan("flannel.1", f"linkspan:{network.id}", 1, "10.211.55.4", 8472, 1450, vtep) in rendered
    for expected in (
        Address(HERE, "flannel.1", "10.5.7.0/32"),
        Address(HERE, network.bridge, "10.5.7.1/24"),
        Neighbour("flannel.1", "10.5.8.0", "02:00:00:00:00:05"),
        FdbEntry("flannel.1", "02:00:00:00:00:05", "10.211.55.5"),
        Route(HERE, "10.5.8.0/24", "flannel.1", "10.5.8.0", onlink=True, metric=512),
        NftElement("spread", NETWORK, comment=owner),
        NftElement("spread_here", "10.5.7.0/24", comment=owner),
        NftElement("spread_masqueraded", NETWORK, comment=owner),
        NftElement("spread_to", f'"{network.bridge}" . {NETWORK}', comment=owner),
        NftElement("spread_tunnels", "8472 . 1", comment=owner),
        NftElement("spread_ends", "8472 . 1 . 10.211.55.5", comment=owner),
    ):
        assert expected in rendered, expected
    assert not [o for o in rendered if isinstance(o, NftElement) and (o.set, o.element) == ("masqueraded", NETWORK)]
    (veth,) = [o for o in rendered if isinstance(o, Veth)]
    assert (veth.mtu, veth.bridge) == (1450, network.bridge)


def test_both_ip_versions(world: World) -> None:
    text = json.dumps(
        {
            "Network": NETWORK,
            "EnableIPv6": True,
            "IPv6Network": "fd00:5::/48",
            "Backend": {"Type": "vxlan", "DirectRouting": True},
        }
    )
    asked = dataclasses.replace(request(world, text=text), ipv6=True)
    asked = dataclasses.replace(asked, pools=(*asked.pools, Pool(subnet="fd00:5::/48")))
    network = created(world, asked)
    both = FlannelDriver(underlay=dataclasses.replace(UNDERLAY, address6="fd00:64::4"))

    def dual(third: int, host: int, *, own: bool) -> HostSubnet:
        found = part(network, third, host, own=own)
        v6 = {"subnet6": f"fd00:5:0:{third}::/64", "public_ip6": f"fd00:64::{host}", "vtep6": f"02:00:00:00:06:0{host}"}
        return msgspec.structs.replace(found, lease=dataclasses.replace(found.lease, **v6))

    world.now = world.now.after(map(put, (dual(7, 4, own=True), dual(8, 5, own=False))))
    container = world.container("a", "fl")
    surroundings = dataclasses.replace(around(world), drivers={**DRIVERS, "flannel": both})
    world.now = world.now.after(join(world.now, container, surroundings).writes)
    (endpoint,) = world.now.endpoints_in(container)
    assert (endpoint.address6, endpoint.prefix_length6, endpoint.gateway6) == ("fd00:5:0:7::2", 64, "fd00:5:0:7::1")
    rendered = list(render_all(world.now, {**DRIVERS, "flannel": both}, HOST).values())
    vxlan6 = Vxlan("flannel-v6.1", f"linkspan:{network.id}", 1, "fd00:64::4", 8472, 1430, "02:00:00:00:06:04")
    for expected in (
        vxlan6,
        Address(HERE, "flannel-v6.1", "fd00:5:0:7::/128"),
        # IPv4 is on one link with that host, IPv6 is not known to be.
        Route(HERE, "10.5.8.0/24", "eth0", "10.211.55.5", metric=512),
        Route(HERE, "fd00:5:0:8::/64", "flannel-v6.1", "fd00:5:0:8::", onlink=True, metric=512),
        Neighbour("flannel-v6.1", "fd00:5:0:8::", "02:00:00:00:06:05"),
        FdbEntry("flannel-v6.1", "02:00:00:00:06:05", "fd00:64::5"),
        NftElement("spread_to6", f'"{network.bridge}" . fd00:5::/48', comment=network.id[:12]),
    ):
        assert expected in rendered, expected


def test_an_option_for_the_mtu_and_one_against_masquerading(world: World) -> None:
    options = {
        "com.docker.network.driver.mtu": "1300",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
        "com.docker.network.bridge.enable_icc": "false",
    }
    asked = request(world)
    network = created(world, dataclasses.replace(asked, options={**asked.options, **options}))
    world.now = world.now.after([put(part(network, 7, 4, own=True))])
    rendered = list(render_all(world.now, DRIVERS, HOST).values())
    sets = {o.set for o in rendered if isinstance(o, NftElement) and o.comment == network.id[:12]}
    assert "spread" in sets and not {"spread_masqueraded", "spread_to"} & sets
    assert [o.mtu for o in rendered if getattr(o, "name", "") == network.bridge] == [1300]


def test_a_network_goes_with_its_parts_and_cannot_be_changed_in_place(world: World) -> None:
    network = created(world, request(world))
    world.now = world.now.after(map(put, (part(network, 7, 4, own=True), part(network, 8, 5))))
    with pytest.raises(Forbidden, match="only labels and DNS servers"):
        update_network(world.now, network, NetworkUpdate(internal=True), DEFAULT_SOURCES, IN_CLUSTER, PortSpace())
    after = world.now.after(remove_network(world.now, network).writes)
    assert not after.subnets and not after.subnets_on and not after.own_subnets


def test_what_a_request_writes_into_etcd() -> None:
    pools = (Pool(subnet=NETWORK), Pool(subnet="fd00:5::/48"))
    assert wanted_config({}, ()) == "" and wanted_config({}, (Pool(subnet=""),)) == ""
    text = wanted_config({"flannel.vni": "7", "flannel.direct_routing": "true", "flannel.subnet_len": "25"}, pools)
    found = parse_config(text)
    assert (found.backend.type, found.backend.vni, found.backend.direct_routing) == ("vxlan", 7, True)
    assert found.v4.length == 25 and found.v6 is not None
    check_config(found, text, "/p")
    check_config(found, "", "/p")
    check_config(parse_config(json.dumps(json.loads(text), indent=4)), text, "/p")
    with pytest.raises(Conflict, match="etcd holds another flannel config at /p/config"):
        check_config(found, wanted_config({"flannel.backend": "host-gw"}, pools), "/p")
    with pytest.raises(InvalidArgument, match="correct Network"):
        wanted_config({"flannel.backend": "udp"}, ())
    with pytest.raises(InvalidArgument, match="on each host"):
        wanted_config({}, (Pool(subnet=NETWORK, gateway="10.5.0.1"),))
    with pytest.raises(InvalidArgument, match=r"flannel\.port"):
        wanted_config({"flannel.port": "x"}, pools)
    assert prefix_of({}) == "/coreos.com/network" and prefix_of({"flannel.prefix": "a/b/"}) == "/a/b"


# --- a change touches that part of the whole

few = st.sampled_from([1, 2])
records = st.one_of(
    st.builds(
        lambda number: Network(
            id=f"{number}" * 12,
            name=f"n{number}",
            driver="flannel",
            created="",
            bridge=f"br-{number}",
            pools=(Pool(subnet=f"10.{number + 4}.0.0/16"),),
            options={CONFIG: config(number)},
        ),
        few,
    ),
    st.builds(
        lambda number, third, host, own: HostSubnet(
            id=f"{number}" * 12 + f"/{third}",
            network_id=f"{number}" * 12,
            lease=Lease(
                f"10.{number + 4}.{third}.0/24",
                f"192.0.2.{host}",
                backend="vxlan",
                vni=number,
                vtep=f"02:00:00:00:00:{host:02x}",
            ),
            own=own,
        ),
        few,
        st.integers(1, 3),
        st.integers(1, 3),
        st.booleans(),
    ),
    st.builds(
        lambda number: Endpoint(
            id=f"{number}" * 12,
            network_id=f"{number}" * 12,
            sandbox_id="s",
            container_id="c",
            host_interface=f"veth{number}",
            interface=f"eth{number}",
        ),
        few,
    ),
)
TWO = {"flannel": FlannelDriver(underlay=UNDERLAY), "bridge": BridgeDriver()}
FACTS = HostFacts(namespaces="/run/netns")


@given(st.lists(st.lists(st.one_of(records.map(put), records.map(drop)), max_size=4), max_size=8))
def test_a_change_touches_that_part_of_the_whole(steps: list[list[Write]]) -> None:
    now = Snapshot().after([put(Sandbox(id="s", container_id="c", kind="own", path="/s"))])
    for step in steps:
        before, now = now, now.after(step)
        for endpoint in list(now.endpoints.values()):
            if endpoint.network_id not in now.networks:
                step = [*step, drop(endpoint)]
                now = now.after([drop(endpoint)])
        parts = touched(before, now, step)
        whole = dict(render_all(before, TWO, FACTS))
        for key in render_touched(before, parts, TWO):
            del whole[key]
        whole |= render_touched(now, parts, TWO)
        assert whole == render_all(now, TWO, FACTS)
