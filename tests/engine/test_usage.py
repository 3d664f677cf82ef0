"""What is used and by whom; and the error when everything is."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.networks import create_network
from linkspan.engine.request import NetworkRequest
from linkspan.engine.usage import AddressUse, SubnetUse, address_use
from linkspan.errors import InvalidArgument
from linkspan.ipam.pools import DEFAULT_SOURCES, PoolSource, allocate_subnet, parse_source
from linkspan.model.cluster import GLOBAL, Block, block_id
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import put
from linkspan.state.host import HostFacts

from .conftest import DRIVERS, HOST, World
from .test_identity import create, network, remove, start, stop

ROUTED = HostFacts(namespaces="/run/netns", routes=("192.168.0.0/18", "0.0.0.0/0"))


def used(world: World, sources: tuple[PoolSource, ...] = DEFAULT_SOURCES, host: HostFacts = HOST) -> AddressUse:
    return address_use(world.now, sources, host)


def subnet(world: World, name: str = "net") -> SubnetUse:
    (found,) = [one.subnets[0] for one in used(world).networks if one.network.name == name]
    return found


def test_pools(world: World) -> None:
    found = {str(one.source.base): one for one in used(world, host=ROUTED).sources}
    bridge, other, home = (found[base] for base in ("172.17.0.0/16", "172.20.0.0/14", "192.168.0.0/16"))
    assert (bridge.subnets, bridge.free, [u.who for u in bridge.uses]) == (1, 0, ["network bridge"])
    assert (other.subnets, other.free, other.uses) == (4, 4, ())
    assert (home.subnets, home.free) == (16, 12)
    assert [(u.subnet, u.who) for u in home.uses] == [("192.168.0.0/18", "a route of the host")]


def test_whose_addresses_are(world: World) -> None:
    network(world)  # 10.0.0.0/28, gateway .1
    create(world, "owner", "10.0.0.9")
    web, other, third = (create(world, name) for name in ("web", "other", "third"))
    assert [start(world, c) for c in (web, other, third)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    remove(world, other)
    stop(world, web)
    found = subnet(world)
    assert [(h.address, h.state, h.whose) for h in found.holdings] == [
        ("10.0.0.1", "gateway", ""),
        ("10.0.0.4", "in use", "third"),
        ("10.0.0.9", "reserved", "owner"),
    ]
    assert (found.free, found.resting, found.resting_count) == (14 - 3, ("10.0.0.2-10.0.0.3",), 2)


def test_auxiliary_addresses_and_ranges(world: World) -> None:
    pool = Pool(subnet="10.5.0.0/24", ip_range="10.5.0.64/30", gateway="10.5.0.1", auxiliary={"printer": "10.5.0.65"})
    made = Network(id="n" * 64, name="own", driver="bridge", created="", bridge="br-own", pools=(pool,))
    world.now = world.now.after([put(made)])
    found = subnet(world, "own")
    assert [(h.address, h.state, h.whose) for h in found.holdings] == [
        ("10.5.0.1", "gateway", ""),
        ("10.5.0.65", "auxiliary", "printer"),
    ]
    assert (found.free, found.resting) == (3, ())


def test_in_a_cluster_nothing_rests_in_blocks_that_are_not_come_to(world: World) -> None:
    network(world)
    web, other, third = (create(world, name) for name in ("web", "other", "third"))
    assert [start(world, c) for c in (web, other, third)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    remove(world, other)
    remove(world, third)
    assert subnet(world).resting == ("10.0.0.3-10.0.0.4",)
    (alone,) = (n for n in world.now.networks.values() if n.name == "net")
    shared = msgspec.structs.replace(alone, scope=GLOBAL)
    world.now = world.now.after([put(shared)])
    assert subnet(world).resting == ()
    block = Block(id=block_id(shared.id, "10.0.0.4/30"), network_id=shared.id, subnet="10.0.0.4/30", host_id="h1")
    world.now = world.now.after([put(block)])
    assert subnet(world).resting == ("10.0.0.4",)


def test_when_everything_is_used_it_says_by_whom(world: World) -> None:
    sources = (parse_source("10.77.0.0/29", 30),)
    for name in ("one", "two"):
        asked = NetworkRequest(id=world.ids(1)[0], name=name)
        world.now = world.now.after(create_network(world.now, asked, DRIVERS, sources, HOST).writes)
    asked = NetworkRequest(id=world.ids(1)[0], name="three")
    with pytest.raises(InvalidArgument) as refused:
        create_network(world.now, asked, DRIVERS, sources, HOST)
    assert str(refused.value).startswith(
        "all predefined address pools have been fully subnetted: of the pools 10.77.0.0/29, these are used: "
        "10.77.0.0/30 by network one, 10.77.0.4/30 by network two. Name a subnet"
    )
    assert "172.17" not in str(refused.value)  # what is in nobody's way is not to be blamed
    sized = NetworkRequest(id=world.ids(1)[0], name="large", pools=(Pool(subnet="0.0.0.0/24"),))
    with pytest.raises(InvalidArgument, match=r"\(asked for: a /24\)"):
        create_network(world.now, sized, DRIVERS, sources, HOST)


prefixes = st.tuples(st.integers(0, 255), st.integers(24, 30)).map(
    lambda at: str(ipaddress.ip_network((0x0A000000 + at[0], at[1]), strict=False))
)


@settings(deadline=None)
@given(st.lists(prefixes, max_size=6), st.integers(26, 30))
def test_as_many_are_free_as_can_be_had(routes: list[str], size: int) -> None:
    world = World()
    source = parse_source("10.0.0.0/24", size)
    host = HostFacts(namespaces="/run/netns", routes=tuple(routes))
    (found,) = used(world, (source,), host).sources
    taken = list(routes)
    for _ in range(found.free):
        taken.append(allocate_subnet([source], taken))
    with pytest.raises(InvalidArgument):
        allocate_subnet([source], taken)
