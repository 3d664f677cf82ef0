"""calico networks: what their options mean, and what is rendered of them."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from linkspan.drivers.available import DRIVERS
from linkspan.drivers.calico import CalicoDriver, tunnel_mac
from linkspan.drivers.inside import link_local
from linkspan.engine.announce import announcements
from linkspan.engine.join import Surroundings, join
from linkspan.engine.nat import nat_rows
from linkspan.engine.networks import create_network
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.request import NetworkRequest
from linkspan.errors import InvalidArgument, LinkspanError, Unsupported
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.ipam.ports import PortSpace
from linkspan.model.cluster import Block, Host, Remote, block_id
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import drop, put
from linkspan.state.host import Underlay
from linkspan.state.objects import (
    HOST,
    Address,
    Device,
    FdbEntry,
    KernelObject,
    Neighbour,
    NftElement,
    Route,
    Sysctl,
    Veth,
    Vxlan,
)
from linkspan.state.plan import apply, diff

from .conftest import HOST as FACTS
from .conftest import World

UNDERLAY = Underlay("eth0", "10.211.55.4", "fd00:55::4", 1500, ("10.211.55.0/24", "fd00:55::/64"))
MEMBER = dataclasses.replace(FACTS, host_id="here", underlay=UNDERLAY)
NEAR = Host(id="near", name="near", address="10.211.55.5", address6="fd00:55::5")
FAR = Host(id="far", name="far", address="10.212.0.9", address6="fd00:66::9")
SUBNETS = (Pool(subnet="10.77.0.0/16"), Pool(subnet="fd00:77::/64"))
HERE = {**DRIVERS, "calico": CalicoDriver(underlay=UNDERLAY, host_id="here")}
MAC = {host.id: tunnel_mac(host.address) for host in (NEAR, FAR)}


def created(world: World, facts: object = MEMBER, name: str = "city", **settings: object) -> Network:
    settings = {"pools": SUBNETS, "ipv6": True, **settings}
    request = NetworkRequest(id=name.ljust(64, "0"), created="", name=name, driver="calico", **settings)  # type: ignore[arg-type]
    change = create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, facts)  # type: ignore[arg-type]
    world.now = world.now.after(change.writes)
    return world.now.network(name)


def joined(world: World, name: str, mode: str = "city", **host: object) -> Endpoint:
    container = world.container(name, mode, **host)  # type: ignore[arg-type]
    around = Surroundings(HERE, "/run/netns", PortSpace(), world.ids(8), "here")
    change = join(world.now, container, around)
    world.now = world.now.after(change.writes)
    world.run(container)
    return world.now.endpoints_in(world.now.container(name))[0]


def remote(world: World, network: Network, host: Host, address: str, address6: str = "") -> Remote:
    made = Remote(
        id=f"r{address}",
        network_id=network.id,
        host_id=host.id,
        container_id=f"c{address}",
        name=f"c{address}",
        mac=f"m{address}",
        address=address,
        address6=address6,
    )
    world.now = world.now.after([put(made)])
    return made


def block(world: World, network: Network, subnet: str, host_id: str) -> Block:
    made = Block(id=block_id(network.id, subnet), network_id=network.id, subnet=subnet, host_id=host_id)
    world.now = world.now.after([put(made)])
    return made


def rendered(world: World, *kinds: type, namespace: str = HOST) -> list[KernelObject]:
    return [
        item
        for item in render_all(world.now, HERE, MEMBER).values()
        if isinstance(item, kinds) and getattr(item, "namespace", namespace) == namespace
    ]


def routes(world: World) -> dict[str, Route]:
    return {item.destination: item for item in rendered(world, Route) if isinstance(item, Route)}


# -- options


def test_what_it_is_without_options(world: World) -> None:
    network = created(world)
    assert (network.encapsulation, network.vni, network.mtu, network.scope) == ("vxlan", 4096, 1450, "global")
    assert (network.masquerade, network.identity, network.rest, network.bridge) == (True, "name", 600.0, "")
    assert [(pool.gateway, pool.block) for pool in network.pools] == [("", 0), ("", 0)]
    assert network.options == {}


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"encapsulation": "never"}, "mtu", 1500),
        ({"encapsulation": "never"}, "vni", 0),
        ({"mtu": "1400"}, "mtu", 1400),
        ({"com.docker.network.driver.mtu": "1300"}, "mtu", 1300),
        ({"nat_outgoing": "false"}, "masquerade", False),
        ({"identity": "none"}, "identity", ""),
        ({"identity": "label:app"}, "identity", "label:app"),
        ({"rest": "0"}, "rest", 0.0),
    ],
    ids=str,
)
def test_an_option(world: World, options: dict[str, str], field: str, value: object) -> None:
    assert getattr(created(world, options=options), field) == value


@pytest.mark.parametrize(
    ("text", "blocks"), [("26", (26, 0)), ("122", (0, 122)), ("28,124", (28, 124)), ("32", (32, 0))]
)
def test_the_size_of_blocks(world: World, text: str, blocks: tuple[int, int]) -> None:
    assert tuple(pool.block for pool in created(world, options={"blocksize": text}).pools) == blocks


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"options": {"encapsulation": "always"}}, InvalidArgument, "invalid value for encapsulation: 'always': use"),
        ({"options": {"nat_outgoing": "perhaps"}}, InvalidArgument, "invalid value for nat_outgoing"),
        ({"options": {"blocksize": "19"}}, InvalidArgument, "'19': use 20 to 32 for IPv4 or 116 to 128 for IPv6"),
        ({"options": {"blocksize": "x"}}, InvalidArgument, "invalid value for blocksize: 'x'"),
        (
            {"options": {"blocksize": "24"}, "pools": (Pool(subnet="10.7.0.0/25"),), "ipv6": False},
            InvalidArgument,
            "a block of /24 is larger than 10.7.0.0/25",
        ),
        ({"options": {"mtu": "12"}}, InvalidArgument, "use 68 to 65535"),
        ({"options": {"encapsulation": "ipip"}}, InvalidArgument, "encapsulation=ipip carries IPv4 alone"),
        (
            {"options": {"encapsulation": "ipip"}, "facts": dataclasses.replace(MEMBER, ipip=False)},
            Unsupported,
            "the running kernel lacks IP-in-IP links \\(module ipip\\): use vxlan",
        ),
        ({"options": {"parent": "eth0"}}, InvalidArgument, "unknown option: parent$"),
        ({"options": {"encapsulaton": "never"}}, InvalidArgument, "encapsulaton; did you mean encapsulation?"),
        ({"options": {"rest": "x"}}, InvalidArgument, "invalid value for rest"),
        (
            {"pools": (Pool(subnet="10.7.0.0/24", gateway="10.7.0.1"),), "ipv6": False},
            InvalidArgument,
            "gateway 10.7.0.1: a calico network has none",
        ),
        (
            {"facts": dataclasses.replace(MEMBER, underlay=Underlay("eth0", "", "fd00:55::4"))},
            Unsupported,
            "this host has none for the others",
        ),
    ],
)
def test_what_is_refused(world: World, settings: dict[str, object], error: type[LinkspanError], words: str) -> None:
    before = world.now
    with pytest.raises(error, match=words):
        created(world, **settings)
    assert world.now == before


# -- this host


def test_a_container_is_a_route(world: World) -> None:
    created(world)
    endpoint = joined(world, "web")
    path, outside = world.now.sandboxes[endpoint.sandbox_id].path, endpoint.host_interface
    four, six = sorted(world.now.blocks.values(), key=lambda block: block.subnet_version)
    found = rendered(world, Veth, Address, Route)
    assert set(found) >= {
        Address(HOST, outside, "169.254.1.1/32", own=True),
        Address(HOST, outside, "fe80::1/64"),
        Route(HOST, f"{endpoint.address}/32", outside),
        Route(HOST, f"{endpoint.address6}/128", outside),
        Route(HOST, four.subnet, "", kind="blackhole"),
        Route(HOST, six.subnet, "", kind="blackhole"),
    }
    assert len([item for item in found if isinstance(item, Route)]) == 4
    (pair,) = rendered(world, Veth, namespace=path)
    assert pair == Veth(outside, f"linkspan:{endpoint.id}", path, "eth0", endpoint.mac, "", 1450, hairpin=False)
    assert set(rendered(world, Address, Route, namespace=path)) == {
        Address(path, "eth0", f"{endpoint.address}/32"),
        Address(path, "eth0", f"{endpoint.address6}/128"),
        Address(path, "eth0", f"{link_local(endpoint.mac)}/64"),
        Route(path, "10.77.0.0/16", "eth0", "169.254.1.1", onlink=True),
        Route(path, "0.0.0.0/0", "eth0", "169.254.1.1", onlink=True),
        Route(path, "fd00:77::/64", "eth0", "fe80::1"),
        Route(path, "::/0", "eth0", "fe80::1"),
    }
    elements = {(item.set, item.element) for item in rendered(world, NftElement) if isinstance(item, NftElement)}
    assert elements >= {
        ("ends", f'"{outside}"'),
        ("sources", f'"{outside}" . {endpoint.address}'),
        ("sources6", f'"{outside}" . {endpoint.address6}'),
        ("pools", "10.77.0.0/16"),
        ("masqueraded6", "fd00:77::/64"),
        ("own_blocks", four.subnet),
    }


def test_an_internal_network_leads_nowhere(world: World) -> None:
    created(world, internal=True)
    endpoint = joined(world, "web", ports={"80/tcp": "8080"})
    path = world.now.sandboxes[endpoint.sandbox_id].path
    ways = {item.destination for item in rendered(world, Route, namespace=path) if isinstance(item, Route)}
    assert ways == {"10.77.0.0/16", "fd00:77::/64"}
    elements = [item for item in rendered(world, NftElement) if isinstance(item, NftElement)]
    assert {"internal", "inward", "inward6"} <= {item.set for item in elements}
    assert {item.set for item in elements if item.element in ways} == {"pools", "pools6"}
    assert not endpoint.bindings


def test_a_container_on_two_such_networks(world: World) -> None:
    """The next hop is the same on both."""
    created(world)
    other = created(world, name="town", pools=(Pool(subnet="10.78.0.0/16"),), ipv6=False)
    container = world.container("web", "city")
    both = msgspec.structs.replace(
        container, networks={**container.networks, other.id: container.networks["city".ljust(64, "0")]}
    )
    around = Surroundings(HERE, "/run/netns", PortSpace(), world.ids(8), "here")
    change = join(world.now, both, around)
    world.now = world.now.after([put(both), *change.writes])
    path = next(iter(world.now.sandboxes.values())).path
    ways = {item.destination: item for item in rendered(world, Route, namespace=path) if isinstance(item, Route)}
    assert {"10.77.0.0/16", "10.78.0.0/16", "0.0.0.0/0"} <= set(ways)


def test_it_leads_out_as_networks_with_gateways_do(world: World) -> None:
    """By its IP versions, and then by its name."""
    created(world, pools=SUBNETS[:1], ipv6=False)
    for name, leads in (("alpha", False), ("delta", True)):
        request = NetworkRequest(id=name.ljust(64, "0"), created="", name=name, driver="bridge")
        change = create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, MEMBER)
        world.now = world.now.after(change.writes)
        container = world.container(f"on-{name}", "city")
        names = ("city", name)
        both = {world.now.network(each).id: container.networks[world.now.network("city").id] for each in names}
        container = msgspec.structs.replace(container, networks=both)
        around = Surroundings(HERE, "/run/netns", PortSpace(), world.ids(8), "here")
        world.now = world.now.after([put(container)])
        world.now = world.now.after(join(world.now, container, around).writes)
        (own,) = (e for e in world.now.endpoints_in(container) if e.network_id == world.now.network("city").id)
        assert own.default_route == leads, name


def test_what_nat_shows_and_who_is_told(world: World) -> None:
    created(world, pools=SUBNETS[:1], ipv6=False)
    before = world.now
    joined(world, "web")
    rows = [row for row in nat_rows(world.now) if row.network == "city"]
    assert [(row.target, row.source, row.extra) for row in rows] == [
        ("MASQUERADE", "10.77.0.0/16", "not to calico networks")
    ]
    assert not list(announcements(before, world.now, [world.now.container("web").id]))


def test_published_ports_and_settings(world: World) -> None:
    created(world)
    endpoint = joined(world, "web", ports={"80/tcp": "8080"})
    outside = endpoint.host_interface
    assert Sysctl(HOST, f"net/ipv4/conf/{outside}/route_localnet", "1") in rendered(world, Sysctl)
    assert NftElement("published", "tcp . 8080", f"{endpoint.address} . 80", endpoint.id[:12]) in rendered(
        world, NftElement
    )
    assert not [item for item in rendered(world, Sysctl) if "rp_filter" in str(item) and outside in str(item)]


# -- other hosts


def test_the_way_through_tunnels(world: World) -> None:
    network = created(world)
    world.now = world.now.after([put(NEAR), put(FAR)])
    block(world, network, "10.77.1.0/26", "near")
    block(world, network, "fd00:77::40/122", "far")
    block(world, network, "10.77.2.0/26", "unknown")
    assert set(rendered(world, Vxlan, Neighbour, FdbEntry, Route)) == {
        Vxlan("vx-4096", f"linkspan:{network.id}", 4096, "10.211.55.4", mac=tunnel_mac("10.211.55.4")),
        *(FdbEntry("vx-4096", MAC[host.id], host.address) for host in (NEAR, FAR)),
        *(Neighbour("vx-4096", host.address, MAC[host.id]) for host in (NEAR, FAR)),
        *(Neighbour("vx-4096", link_local(MAC[host.id]), MAC[host.id]) for host in (NEAR, FAR)),
        Route(HOST, "10.77.1.0/26", "vx-4096", "10.211.55.5", onlink=True, source="10.211.55.4"),
        Route(HOST, "fd00:77::40/122", "vx-4096", link_local(MAC["far"]), onlink=True, source="fd00:55::4"),
    }
    ends = {
        item.element
        for item in rendered(world, NftElement)
        if isinstance(item, NftElement) and item.set == "tunnel_ends"
    }
    assert ends == {"4096 . 10.211.55.5", "4096 . 10.212.0.9"}


def test_tunnels_without_numbers_are_those_of_all_networks(world: World) -> None:
    """Of a kernel that has them."""
    ipip: dict[str, object] = {"options": {"encapsulation": "ipip-cross-subnet"}, "ipv6": False}
    city = created(world, pools=SUBNETS[:1], **ipip)
    world.now = world.now.after([put(NEAR), put(FAR)])
    town = created(world, name="town", pools=(Pool(subnet="10.78.0.0/16"),), **ipip)
    block(world, city, "10.77.1.0/26", "near")
    block(world, town, "10.78.1.0/26", "far")
    assert (city.mtu, city.vni, city.parent) == (1480, 0, "ls-ipip")
    assert set(rendered(world, Device, Vxlan, Neighbour, FdbEntry, Route)) == {
        Device(HOST, "ls-ipip", "ipip", "linkspan:ipip", mode="10.211.55.4", mtu=1480),
        Route(HOST, "10.77.1.0/26", "eth0", "10.211.55.5", source="10.211.55.4"),
        Route(HOST, "10.78.1.0/26", "ls-ipip", "10.212.0.9", onlink=True, source="10.211.55.4"),
    }
    # One of them goes: what both stand on stays.
    writes = [drop(world.now.blocks[block_id(city.id, "10.77.1.0/26")]), drop(city)]
    held, world.now = world.now, world.now.after(writes)
    parts = touched(held, world.now, writes)
    plan = diff(*(render_touched(moment, parts, HERE) for moment in (held, world.now)))
    assert apply(plan, render_all(held, HERE, MEMBER)) == render_all(world.now, HERE, MEMBER)
    assert {item.element for item in rendered(world, NftElement) if item.set == "ipip_ends"} == {  # type: ignore[union-attr]
        "10.211.55.5",
        "10.212.0.9",
    }


def test_plainly_to_who_is_on_the_same_segment(world: World) -> None:
    network = created(world, options={"encapsulation": "vxlan-cross-subnet"})
    world.now = world.now.after([put(NEAR), put(FAR)])
    block(world, network, "10.77.1.0/26", "near")
    block(world, network, "fd00:77::40/122", "near")
    block(world, network, "10.77.2.0/26", "far")
    assert set(routes(world).values()) == {
        Route(HOST, "10.77.1.0/26", "eth0", "10.211.55.5", source="10.211.55.4"),
        Route(HOST, "fd00:77::40/122", "eth0", "fd00:55::5", source="fd00:55::4"),
        Route(HOST, "10.77.2.0/26", "vx-4096", "10.212.0.9", onlink=True, source="10.211.55.4"),
    }


def test_without_encapsulation_the_routes_are_a_routing_protocols(world: World) -> None:
    network = created(world, options={"encapsulation": "never"})
    world.now = world.now.after([put(NEAR)])
    block(world, network, "10.77.1.0/26", "near")
    block(world, network, "10.77.3.0/26", "here")
    assert set(rendered(world, Route, Vxlan, Neighbour, FdbEntry)) == {
        Route(HOST, "10.77.3.0/26", "", kind="blackhole")
    }


def test_in_a_mesh_hosts_pass_on_what_comes_plainly_for_others(world: World) -> None:
    """Elsewhere nothing that comes over the hosts' own network is passed on."""
    created(world, options={"encapsulation": "never"}, ipv6=False)
    on_mesh = dataclasses.replace(UNDERLAY, interface="linkspan-mesh", on_link=())
    guarded = []
    for underlay in (UNDERLAY, on_mesh):
        drivers = {**HERE, "calico": CalicoDriver(underlay=underlay, host_id="here")}
        made = render_all(world.now, drivers, dataclasses.replace(MEMBER, underlay=underlay))
        elements = (item for item in made.values() if isinstance(item, NftElement))
        guarded.append([item.element for item in elements if item.set == "fabric"])
    assert guarded == [['"eth0" . 10.77.0.0/16'], []]


def test_an_address_that_is_elsewhere_than_its_block_is_a_route_of_its_own(world: World) -> None:
    network = created(world)
    world.now = world.now.after([put(NEAR), put(FAR)])
    joined(world, "web")  # who is on the network hears of endpoints
    before = set(routes(world))
    block(world, network, "10.77.1.0/26", "near")
    remote(world, network, NEAR, "10.77.1.5")
    assert set(routes(world)) - before == {"10.77.1.0/26"}
    stray = remote(world, network, FAR, "10.77.1.6")
    mine = next(b.subnet for b in world.now.blocks.values() if b.host_id == "here" and b.subnet_version == 4)
    borrowed = mine.partition("/")[0].rsplit(".", 1)[0] + ".77"
    remote(world, network, FAR, borrowed)
    assert set(routes(world)) - before == {"10.77.1.0/26", "10.77.1.6/32", f"{borrowed}/32"}
    assert routes(world)["10.77.1.6/32"].gateway == "10.212.0.9"
    # The block changes hands: what was a stray is at home.
    writes = [
        put(Block(id=block_id(network.id, "10.77.1.0/26"), network_id=network.id, subnet="10.77.1.0/26", host_id="far"))
    ]
    held, world.now = world.now, world.now.after(writes)
    parts = touched(held, world.now, writes)
    plan = diff(*(render_touched(moment, parts, HERE) for moment in (held, world.now)))
    assert apply(plan, render_all(held, HERE, MEMBER)) == render_all(world.now, HERE, MEMBER)
    assert set(routes(world)) - before == {"10.77.1.0/26", "10.77.1.5/32", f"{borrowed}/32"}
    world.now = world.now.after([drop(stray)])
    assert routes(world)["10.77.1.5/32"].gateway == "10.211.55.5"


def test_nothing_is_left_of_it(world: World) -> None:
    before = render_all(world.now, HERE, MEMBER)
    network = created(world)
    world.now = world.now.after([put(NEAR)])
    endpoint = joined(world, "web", ports={"80/tcp": "8080"})
    block(world, network, "10.77.1.0/26", "near")
    assert len(render_all(world.now, HERE, MEMBER)) > len(before) + 20
    gone = [drop(endpoint), drop(world.now.sandboxes[endpoint.sandbox_id]), *map(drop, world.now.blocks.values())]
    world.now = world.now.after([*gone, *map(drop, world.now.reservations.values()), drop(network)])
    assert render_all(world.now, HERE, MEMBER) == before
