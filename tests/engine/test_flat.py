"""flat networks: options, what they may stand on, whose which addresses are, and what is rendered of them."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.engine.join import join, leave
from linkspan.engine.networks import NetworkRequest, create_network, remove_network
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError
from linkspan.ipam.addresses import range_bits
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.cluster import Host
from linkspan.model.container import Container, EndpointIpamConfig, EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool, Range
from linkspan.model.pages import PAGE
from linkspan.model.snapshot import put
from linkspan.state.host import HostFacts, HostInterface
from linkspan.state.objects import HOST as HERE
from linkspan.state.objects import Address, Enslaved, KernelObject, Proxied, Route, Shaper, Veth, state_of
from linkspan.state.plan import apply, diff

from .conftest import DRIVERS, World

FACTS = HostFacts(
    namespaces="/run/netns",
    interfaces=(
        HostInterface("lo", loopback=True, addresses=("127.0.0.1/8",)),
        HostInterface("eth0", addresses=("10.211.55.4/24", "fd00:55::4/64"), mtu=1400),
        HostInterface("eth1", up=False),
        HostInterface("eth2", master="br7"),
        HostInterface("br7", kind="bridge"),
    ),
    gateways=(("eth0", "10.211.55.1"), ("eth0", "fd00:55::1"), ("eth1", "10.1.0.1")),
)
LAN = Pool(subnet="10.211.55.0/24", ip_range="10.211.55.128/25")


def network(
    world: World, name: str = "lan", *pools: Pool, driver: str = "flat", facts: HostFacts = FACTS, **options: str
) -> Network:
    request = NetworkRequest(
        id=world.ids(1)[0],
        created="",
        name=name,
        driver=driver,
        pools=pools or (LAN,),
        options={"parent": "eth0"} | options,
        ipv6=any(pool.version == 6 for pool in pools),
    )
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, facts).writes)
    return world.now.network(name)


def started(world: World, name: str, mode: str = "lan") -> Container:
    made = world.container(name, mode)
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    return made


def joined(world: World, name: str) -> Endpoint:
    made = started(world, name)
    (endpoint,) = world.now.endpoints_in(made)
    return endpoint


def rendered(world: World, *kinds: type) -> list[KernelObject]:
    return [
        o for o in render_all(world.now, DRIVERS, FACTS).values() if isinstance(o, kinds) and "docker0" not in o.key
    ]


def test_what_the_options_say(world: World) -> None:
    made = network(world, mode="bridge", exclude="10.211.55.130-10.211.55.139,10.211.55.200,10.211.55.240/28")
    assert (made.path, made.bridge, made.parent, made.mtu, made.publishes) == ("bridge", "fl-eth0", "eth0", 1400, False)
    assert made.excluded == (
        Range(first="10.211.55.130", last="10.211.55.139"),
        Range(first="10.211.55.200", last="10.211.55.200"),
        Range(first="10.211.55.240", last="10.211.55.255"),
    )
    (pool,) = made.pools
    assert (pool.gateway, dict(pool.auxiliary)) == ("10.211.55.1", {"host-eth0": "10.211.55.4"})
    assert (made.identity, made.rest, made.detects) == ("name", 600.0, True)


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"mode": "tunnel"}, InvalidArgument, "requested flat mode 'tunnel' is not valid: use bridge, macvlan, routed"),
        ({"parent": ""}, InvalidArgument, "a flat network needs -o parent=INTERFACE"),
        ({"parent": "eth9"}, InvalidArgument, "-o parent interface was not found on the host: eth9"),
        ({"parent": "lo"}, InvalidArgument, "loopback interface is not a valid flat parent link"),
        ({"parent": "eth1"}, Conflict, "parent interface eth1 is down: ip link set eth1 up"),
        ({"parent": "eth2"}, Conflict, "parent interface eth2 is a port of bridge br7: use that as parent"),
        ({"exclude": "10.0.0.9-10.0.0.1"}, InvalidArgument, "invalid value for exclude: '10.0.0.9-10.0.0.1'"),
        ({"exclude": "10.0.0.1-fd00::1"}, InvalidArgument, "invalid value for exclude"),
        ({"exclude": "all"}, InvalidArgument, "use ADDRESS, FIRST-LAST or a subnet"),
        ({"identity": "label:"}, InvalidArgument, "use name, label:KEY"),
        ({"rest": "soon"}, InvalidArgument, "invalid value for rest: 'soon'"),
        ({"detect": "perhaps"}, InvalidArgument, "invalid value for detect"),
        ({"host_access": "true"}, InvalidArgument, "in mode=bridge the host reaches its containers anyway"),
        ({"colour": "red"}, InvalidArgument, "unknown option: colour"),
    ],
)
def test_what_is_refused(world: World, options: dict[str, str], kind: type[LinkspanError], says: str) -> None:
    before = world.now
    with pytest.raises(kind) as refused:
        network(world, **options)
    assert says in str(refused.value)
    assert world.now == before


def test_the_segments_subnet_and_router_are_not_ours_to_choose(world: World) -> None:
    with pytest.raises(
        InvalidArgument, match="a flat network needs --subnet: the IPv4 subnet of the segment that eth0"
    ):
        network(world, "lan", Pool(subnet=""))
    with pytest.raises(InvalidArgument, match="needs --subnet: the IPv4 subnet"):
        network(world, "lan", Pool(subnet="fd00:55::/64"))
    with pytest.raises(InvalidArgument, match=r"gateway 10.211.55.4 is an address of this host \(eth0\)"):
        network(world, "lan", Pool(subnet="10.211.55.0/24", gateway="10.211.55.4"))


def test_one_interface_has_one_use(world: World) -> None:
    network(world, "one")
    network(world, "two", Pool(subnet="10.99.0.0/24"))  # another subnet of the same segment
    with pytest.raises(Conflict, match=r"eth0 is in use otherwise: flat network (one|two) has it in mode=bridge"):
        network(world, "three", Pool(subnet="10.98.0.0/24"), mode="macvlan")
    with pytest.raises(Forbidden, match=r"flat network (one|two) has parent interface eth0 in a bridge"):
        network(world, "four", Pool(subnet="10.98.0.0/24"), driver="macvlan")
    network(world, "five", Pool(subnet="10.98.0.0/24"), parent="br7")
    assert world.now.network("five").bridge == "br7"
    assert rendered(world, Enslaved) == [Enslaved("fl-eth0", "eth0")]


def test_the_card_goes_back_with_the_last_network(world: World) -> None:
    one, two = network(world, "one"), network(world, "two", Pool(subnet="10.99.0.0/24"))
    for removed, left in ((one, [Enslaved("fl-eth0", "eth0")]), (two, [])):
        before = world.now
        change = remove_network(before, removed)
        world.now = before.after(change.writes)
        parts = touched(before, world.now, change.writes)
        plan = diff(*(render_touched(moment, parts, DRIVERS) for moment in (before, world.now)))
        assert apply(plan, render_all(before, DRIVERS, FACTS)) == render_all(world.now, DRIVERS, FACTS)
        assert rendered(world, Enslaved) == left


def test_a_bridged_container(world: World) -> None:
    network(world)
    endpoint = joined(world, "web")
    path = world.now.sandboxes[endpoint.sandbox_id].path
    alias = f"linkspan:{endpoint.id}"
    assert rendered(world, Enslaved, Veth, Address, Route, Proxied) == [
        Enslaved("fl-eth0", "eth0"),
        Veth(endpoint.host_interface, alias, path, "eth0", endpoint.mac, "fl-eth0", 1400, hairpin=False),
        Address(path, "eth0", "10.211.55.128/24"),
        Route(path, "0.0.0.0/0", "eth0", "10.211.55.1"),
    ]


def test_a_routed_container(world: World) -> None:
    network(world, "lan", LAN, Pool(subnet="fd00:55::/64", ip_range="fd00:55::8000/113"), mode="routed")
    endpoint = joined(world, "web")
    path, outside = world.now.sandboxes[endpoint.sandbox_id].path, endpoint.host_interface
    assert set(rendered(world, Enslaved, Veth, Address, Route, Proxied)) >= {
        Veth(outside, f"linkspan:{endpoint.id}", path, "eth0", endpoint.mac, "", 1400, hairpin=False),
        Address(HERE, outside, "169.254.1.1/32", own=True),
        Route(HERE, "10.211.55.128/32", outside),
        Proxied("eth0", "10.211.55.128"),
        Address(path, "eth0", "10.211.55.128/32"),
        Route(path, "0.0.0.0/0", "eth0", "169.254.1.1", onlink=True),
        Route(HERE, f"{endpoint.address6}/128", outside),
        Proxied("eth0", endpoint.address6),
        Route(path, "::/0", "eth0", "fe80::1"),
    }
    assert not rendered(world, Enslaved)


def test_excluded_addresses_are_nobodys(world: World) -> None:
    made = network(world, "lan", LAN, exclude="10.211.55.129-10.211.55.200")
    assert [_address(world, name) for name in ("one", "two")] == ["10.211.55.128", "10.211.55.201"]
    asking = world.container("three", "lan")
    settings = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="10.211.55.150"))
    with pytest.raises(Forbidden, match=r"10.211.55.150 is excluded from network lan"):
        join(world.now, msgspec.structs.replace(asking, networks={made.id: settings}), world.around())


def _address(world: World, name: str) -> str:
    return joined(world, name).address


@given(st.lists(st.tuples(st.integers(0, 4 * PAGE), st.integers(0, 2 * PAGE)), max_size=5), st.integers(0, 5))
def test_ranges_as_bits(spans: list[tuple[int, int]], page: int) -> None:
    text = [(str(ipaddress.IPv4Address(first)), str(ipaddress.IPv4Address(first + more))) for first, more in spans]
    bits = range_bits([Range(first=first, last=last) for first, last in text], page)
    inside = {n for first, more in spans for n in range(first, first + more + 1)}
    assert {page * PAGE + bit for bit in range(PAGE) if bits >> bit & 1} == {n for n in inside if n // PAGE == page}
    assert bits >> PAGE == 0


def test_what_a_change_touches_is_that_part_of_the_whole(world: World) -> None:
    for number, path in enumerate(("bridge", "routed", "macvlan")):
        network(
            world,
            f"of-{path}",
            Pool(subnet=f"10.{number}.0.0/24"),
            mode=path,
            parent="br7" if path == "bridge" else "eth0",
        )
        for name in ("a", "b"):
            made = world.container(f"{path}-{name}", f"of-{path}")
            before = world.now
            change = join(before, made, world.around())
            world.now = before.after(change.writes)
            parts = touched(before, world.now, change.writes)
            plan = diff(*(render_touched(moment, parts, DRIVERS) for moment in (before, world.now)))
            assert apply(plan, render_all(before, DRIVERS, FACTS)) == render_all(world.now, DRIVERS, FACTS)
            left = leave(world.now, made)
            gone = world.now.after(left.writes)
            parts = touched(world.now, gone, left.writes)
            back = diff(*(render_touched(moment, parts, DRIVERS) for moment in (world.now, gone)))
            whole = apply(back, render_all(world.now, DRIVERS, FACTS))
            assert state_of(whole.values()).keys() >= render_all(gone, DRIVERS, FACTS).keys()


@pytest.mark.parametrize("path", ["bridge", "routed", "macvlan"])
def test_what_a_container_may_use_of_the_wire(world: World, path: str) -> None:
    made = network(world, "lan", mode=path)
    asking = world.container("web", "lan")
    limited = EndpointSettings(driver_opts={"rate": "10mbit"})
    asking = msgspec.structs.replace(asking, networks={made.id: limited})
    world.now = world.now.after([put(asking)])
    world.now = world.now.after(join(world.now, asking, world.around()).writes)
    assert [item.rate for item in rendered(world, Shaper) if isinstance(item, Shaper)] == [10_000_000] * 2


def test_addresses_of_other_hosts_are_not_given_out(world: World) -> None:
    network(world)
    other = Host(id="h2", name="h2", address="10.211.55.128", address6="fd00:55::1")
    world.now = world.now.after([put(other)])
    assert _address(world, "one") == "10.211.55.129"
