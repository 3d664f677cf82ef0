"""IPPools and IPReservations: what calico networks take over, and which addresses nobody gets by itself."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.engine.join import Surroundings, join, leave
from linkspan.engine.resources import apply_resources
from linkspan.errors import Conflict, InvalidArgument
from linkspan.ipam.ports import PortSpace
from linkspan.model.container import Container, EndpointIpamConfig, EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.manifests.reading import read_resources
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import drop, put

from .conftest import World
from .test_calico import HERE, MEMBER, created, joined

SUBNETS = (Pool(subnet="10.77.0.0/16"),)


def say(world: World, kind: str, name: str, spec: str) -> list[str]:
    """What of it changes."""
    text = f"apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    asked = read_resources(text.encode())
    done = apply_resources(world.now, asked, ["uid"], "global", "2026-01-01T12:00:00Z", MEMBER)
    world.now = world.now.after(done.change.writes)
    return [write.kind for write in done.change.writes]


def start(world: World, container: Container) -> Endpoint:
    around = Surroundings(HERE, "/run/netns", PortSpace(), world.ids(8), "here")
    world.now = world.now.after(join(world.now, container, around).writes)
    return world.now.endpoints_in(container)[0]


def asking_for(world: World, network: Network, address: str) -> Container:
    settings = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address=address))
    made = msgspec.structs.replace(world.container("asks", network.name), networks={network.id: settings})
    world.now = world.now.after([put(made)])
    return made


def city(world: World, **settings: object) -> Network:
    return created(world, pools=SUBNETS, ipv6=False, **settings)


def test_a_pool_says_what_a_network_leaves_open(world: World) -> None:
    spec = "{cidr: 10.77.0.0/16, vxlanMode: CrossSubnet, blockSize: 28, natOutgoing: true}"
    say(world, "IPPool", "city", spec)
    network = city(world)
    assert (network.encapsulation, network.masquerade) == ("vxlan-cross-subnet", True)
    assert network.pools[0].block == 28
    with pytest.raises(InvalidArgument, match="encapsulation=never: the IPPool city says vxlan-cross-subnet"):
        created(world, name="other", pools=SUBNETS, ipv6=False, options={"encapsulation": "never"})
    assert created(world, name="elsewhere", pools=(Pool(subnet="10.78.0.0/16"),), ipv6=False).encapsulation == "vxlan"


def test_a_network_takes_over_what_its_pool_says_later(world: World) -> None:
    network = city(world)
    assert say(world, "IPPool", "city", "{cidr: 10.77.0.0/16, vxlanMode: Always, natOutgoing: true}") == [
        "ippool",
        "network",
    ]
    assert (world.now.network("city").encapsulation, world.now.network("city").vni) == ("vxlan", network.vni)
    joined(world, "web")
    assert say(world, "IPPool", "city", "{cidr: 10.77.0.0/16, vxlanMode: Always}") == [
        "ippool",
        "network",
    ]
    now = world.now.network("city")
    assert (now.masquerade, now.vni) == (False, network.vni)
    for spec in (
        "{cidr: 10.77.0.0/16, vxlanMode: CrossSubnet}",
        "{cidr: 10.77.0.0/16, vxlanMode: Always, blockSize: 30}",
    ):
        with pytest.raises(Conflict, match="IPPool city: network city is in use"):
            say(world, "IPPool", "city", spec)
    world.now = world.now.after([drop(endpoint) for endpoint in world.now.endpoints.values()])
    with pytest.raises(Conflict, match="IPPool city: network city is in use"):
        say(world, "IPPool", "city", "{cidr: 10.77.0.0/16, vxlanMode: Always, blockSize: 30}")
    world.now = world.now.after([drop(block) for block in world.now.blocks.values()])
    say(world, "IPPool", "city", "{cidr: 10.77.0.0/16, vxlanMode: CrossSubnet, blockSize: 30}")
    now = world.now.network("city")
    assert (now.encapsulation, now.pools[0].block, now.vni) == ("vxlan-cross-subnet", 30, network.vni)


def test_two_pools_of_one_network_do_not_differ(world: World) -> None:
    say(world, "IPPool", "four", "{cidr: 10.77.0.0/16, vxlanMode: Always}")
    say(world, "IPPool", "six", "{cidr: 'fd00:77::/64'}")
    with pytest.raises(InvalidArgument, match="the IPPools four, six are of one network, and differ in encapsulation"):
        created(world)
    say(world, "IPPool", "six", "{cidr: 'fd00:77::/64', vxlanMode: Always, blockSize: 124}")
    assert [pool.block for pool in created(world).pools] == [0, 124]


def test_a_pool_by_hand_gives_what_is_asked_for_alone(world: World) -> None:
    network = city(world)
    say(world, "IPPool", "city", "{cidr: 10.77.0.0/16, vxlanMode: Always, natOutgoing: true, assignmentMode: Manual}")
    with pytest.raises(Conflict, match="the IPPool city gives only addresses that are asked for"):
        joined(world, "web")
    assert start(world, asking_for(world, network, "10.77.3.3")).address == "10.77.3.3"


def test_a_disabled_pool_gives_no_more_addresses(world: World) -> None:
    city(world)
    joined(world, "web")
    say(world, "IPPool", "city", "{cidr: 10.77.0.0/16, vxlanMode: Always, natOutgoing: true, disabled: true}")
    with pytest.raises(Conflict, match="no new addresses on network city: the IPPool city is disabled"):
        joined(world, "more")
    assert len(world.now.endpoints) == 1


def test_reserved_addresses_are_given_to_whoever_asks_and_to_nobody_else(world: World) -> None:
    network = created(world, pools=(Pool(subnet="10.77.0.0/29"),), ipv6=False)
    say(world, "IPReservation", "kept", "{reservedCIDRs: [10.77.0.0/30, 10.77.0.5, 'fd00::/8']}")
    assert [joined(world, name).address for name in "ab"] == ["10.77.0.4", "10.77.0.6"]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        joined(world, "c")
    assert start(world, asking_for(world, network, "10.77.0.2")).address == "10.77.0.2"


def test_who_has_an_address_keeps_it_when_it_is_reserved(world: World) -> None:
    created(world, pools=(Pool(subnet="10.77.0.0/29"),), ipv6=False)
    had = joined(world, "web").address
    web = world.now.container("web")
    world.now = world.now.after(leave(world.now, web).writes)
    say(world, "IPReservation", "kept", f"{{reservedCIDRs: [{had}]}}")
    assert start(world, web).address == had  # its name's own, which outlives the container
