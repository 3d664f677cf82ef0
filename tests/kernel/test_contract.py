"""What any kernel does with a plan: the fake and the real one, by the same tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from linkspan.errors import Conflict, LinkspanError, NotFound, PortInUse, PortUnavailable, Unsupported
from linkspan.kernel.fake import FakeKernel
from linkspan.state.objects import (
    HOST,
    Address,
    BoundPort,
    Bridge,
    Device,
    Joint,
    KernelObject,
    Namespace,
    NftElement,
    Nic,
    Route,
    Shaper,
    State,
    Veth,
    state_of,
)
from linkspan.state.plan import diff, revert
from tests.kernel.conftest import World


def test_what_is_applied_is_read_back(world: World) -> None:
    desired = state_of([*world.network(), *world.endpoint(2), *world.endpoint(3)])
    world.reach({}, desired)
    world.kernel.apply(diff({}, desired))  # all is there already, and that is success
    world.expect(desired)
    world.kernel.apply(revert({}, desired))
    assert world.read({}) == {}
    world.kernel.apply(revert({}, desired))  # and so is all being gone


def test_what_changes_in_place(world: World) -> None:
    before = state_of([*world.network(), *world.network("br2", "172.18.0"), *world.endpoint(2)])
    world.reach({}, before)
    veth = before["link", HOST, "veth2"]
    assert isinstance(veth, Veth)
    moved = dataclasses.replace(
        veth, alias="linkspan:x", mac="02:42:ac:11:00:99", bridge="br2", mtu=1400, hairpin=False, isolated=True
    )
    after = state_of(
        [
            *world.network(mtu=1400),
            *world.network("br2", "172.18.0"),
            *(item for item in world.endpoint(2) if not isinstance(item, Veth)),
            moved,
        ]
    )
    world.reach(before, after)
    world.kernel.apply(revert(before, after))
    world.expect(before)


def test_an_address_changes_within_its_subnet_and_the_route_through_it_stays(world: World) -> None:
    before = state_of([*world.network(), *world.endpoint(2)])
    world.reach({}, before)
    path = f"{world.folder}/c2"
    after = dict(before)
    del after["address", path, "eth0", "172.17.0.2/16"], after["address", HOST, "docker0", "172.17.0.1/16"]
    after |= state_of([Address(path, "eth0", "172.17.0.77/16"), Address(HOST, "docker0", "172.17.0.9/16")])
    world.reach(before, after)


def test_a_subnet_gives_way_to_one_that_overlaps_it(world: World) -> None:
    before = state_of([NftElement("masqueraded", "172.17.0.0/16", "", "a"), NftElement("masqueraded", "10.0.0.0/8")])
    after = state_of([NftElement("masqueraded", "172.17.4.0/24", "", "a"), NftElement("masqueraded", "11.0.0.0/8")])
    world.reach({}, before)
    world.reach(before, after)


def test_subnets_behind_an_interface(world: World) -> None:
    before = state_of(
        [
            NftElement("spread_to", '"br-a" . 10.5.0.0/16', "", "a"),
            NftElement("spread_to", '"br-b" . 10.6.0.0/16', "", "b"),
            NftElement("spread_to6", '"br-a" . fd00:5::/48', "", "a"),
        ]
    )
    after = state_of([*before.values(), NftElement("spread_to", '"br-c" . 10.7.0.1', "", "c")])
    del after["nft", "spread_to", '"br-b" . 10.6.0.0/16']
    world.reach({}, before)
    world.reach(before, after)


def test_a_port_moves_from_one_container_to_another(world: World) -> None:
    before = state_of([*world.network(), *world.endpoint(2, port=80), *world.endpoint(3)])
    world.reach({}, before)
    after = {key: item for key, item in before.items() if item not in world.published(3, 8003)}
    after |= {item.key: item for item in world.published(3, 80)}
    world.reach(before, after)


def test_a_port_moves_from_any_address_to_one(world: World) -> None:
    before = state_of([BoundPort("udp", "0.0.0.0", 5353)])
    world.reach({}, before)
    world.reach(before, state_of([BoundPort("udp", "10.211.55.4", 5353)]))


def test_eth0_goes_and_comes_in_one_plan(world: World) -> None:
    before = state_of([*world.network(), *world.endpoint(2)])
    world.reach({}, before)
    after = dict(before)
    old = after.pop(("link", HOST, "veth2"))
    assert isinstance(old, Veth)
    after |= state_of([dataclasses.replace(old, name="veth9", alias="linkspan:9")])
    world.reach(before, after)


def test_a_taken_port_is_named_and_nothing_is_left(world: World) -> None:
    before = state_of([*world.network(), *world.endpoint(2, port=80)])
    world.reach({}, before)
    for taken in (BoundPort("tcp", "10.211.55.4", 80), BoundPort("tcp", "127.0.0.1", 80)):
        with pytest.raises(PortInUse) as caught:
            world.kernel.apply(diff(before, before | state_of([*world.endpoint(3), taken])))
        assert str(caught.value) == f"failed to bind host port {taken.address}:80/tcp: address already in use"
        assert (caught.value.protocol, caught.value.address, caught.value.port) == ("tcp", taken.address, 80)
        assert world.read(before) == before


def test_an_address_that_the_host_lacks(world: World) -> None:
    before = state_of(world.network())
    world.reach({}, before)
    with pytest.raises(PortUnavailable) as caught:
        world.kernel.apply(diff(before, before | state_of([*world.endpoint(2), BoundPort("tcp", "10.9.9.9", 80)])))
    assert str(caught.value) == "failed to bind host port 10.9.9.9:80/tcp: cannot assign requested address"
    assert (caught.value.protocol, caught.value.address, caught.value.port) == ("tcp", "10.9.9.9", 80)
    assert not isinstance(caught.value, PortInUse)  # another port of that address would not be had either
    assert world.read(before) == before


def test_somebody_elses_interface_is_left_alone(world: World) -> None:
    before = world.kernel.interface("eth0")
    with pytest.raises(Conflict, match="interface eth0 exists already"):
        world.kernel.apply(diff({}, state_of([Bridge("eth0", "linkspan:net")])))
    with pytest.raises(Conflict, match="interface eth0 exists already"):
        world.kernel.apply(
            diff(
                {},
                state_of(
                    [Namespace(f"{world.folder}/c1"), Veth("eth0", "linkspan:1", f"{world.folder}/c1", "e", "", "")]
                ),
            )
        )
    assert world.kernel.interface("eth0") == before
    assert world.read({}) == {}


def test_a_failure_half_way_is_undone(world: World) -> None:
    before = state_of([*world.network(), *world.endpoint(2)])
    world.reach({}, before)
    path = f"{world.folder}/c3"
    broken = state_of([*world.endpoint(3), Address(path, "eth7", "10.0.0.1/24")])
    with pytest.raises(LinkspanError, match="eth7"):
        world.kernel.apply(diff(before, before | broken))
    assert world.read(before) == before


def test_a_bridge_that_is_missing(world: World) -> None:
    with pytest.raises(NotFound, match="cannot create veth veth2 on bridge docker0: no such device"):
        world.kernel.apply(diff({}, state_of(world.endpoint(2))))
    assert world.read({}) == {}


def macvlan(world: World, number: int, **settings: Any) -> list[KernelObject]:
    path = f"{world.folder}/c{number}"
    device = Device(path, "eth0", "macvlan", f"linkspan:{number}", "eth0", "bridge", f"02:42:0a:d3:37:{number:02x}")
    return [
        Namespace(path),
        dataclasses.replace(device, **settings),
        Address(path, "eth0", f"10.211.55.{number}/24"),
        Route(path, "0.0.0.0/0", "eth0", "10.211.55.9"),
    ]


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa"])
def test_macvlans_on_an_interface_of_the_host(world: World, mode: str) -> None:
    shim = [
        Device(HOST, "mv-1", "macvlan", "linkspan:net", "eth0", "bridge", "02:42:00:00:00:01"),
        Address(HOST, "mv-1", "10.211.55.20/32"),
        Route(HOST, "10.211.55.30/32", "mv-1"),
    ]
    before = state_of([*macvlan(world, 30, mode=mode), *macvlan(world, 31, mode=mode), *shim])
    world.reach({}, before)
    world.kernel.apply(diff({}, before))
    world.expect(before)
    # Its alias, MAC and MTU change in place, and its parent's MTU is as good as one asked for.
    changed = macvlan(world, 31, mode=mode, mac="02:42:00:00:00:09", mtu=1400)
    after = state_of([*macvlan(world, 30, mode=mode), *changed])
    world.reach(before, after)
    world.reach(after, state_of(macvlan(world, 31, mode="vepa" if mode == "private" else "private")))
    world.reach(state_of(macvlan(world, 31)), {})


def test_a_card_moves_into_a_sandbox_and_comes_home(world: World) -> None:
    path = f"{world.folder}/c5"
    card = world.kernel.interface("eth0")
    nic = Nic(path, "wan", "eth0", card.mac, "02:00:00:00:00:09")
    inside = [Address(path, "wan", "10.211.55.7/24"), Route(path, "0.0.0.0/0", "wan", "10.211.55.9")]
    before = state_of([Namespace(path), nic, *inside])
    world.reach({}, before)
    world.kernel.apply(diff({}, before))
    world.expect(before)
    assert [item.name for item in world.kernel.interfaces()] == ["lo"]
    assert world.kernel.interface("wan", path).mac == "02:00:00:00:00:09"
    after = state_of([Namespace(path), dataclasses.replace(nic, mac="02:00:00:00:00:0a"), *inside])
    world.reach(before, after)
    # What cannot be made on it sends it home at once.
    with pytest.raises(LinkspanError, match="wan7"):
        world.kernel.apply(diff(after, state_of([Namespace(path), Address(path, "wan7", "10.0.0.1/8")])))
    world.expect(after)
    # In one plan to another sandbox: what it lets go of comes first. And home, before its sandbox ends.
    other = state_of([Namespace(f"{world.folder}/c6"), dataclasses.replace(nic, namespace=f"{world.folder}/c6")])
    world.reach(after, other)
    world.reach(other, {})
    assert (world.kernel.interface("eth0").mac, world.kernel.interface("eth0").up) == (card.mac, True)
    world.kernel.apply(revert({}, before))
    with pytest.raises(NotFound, match="network card eth8 as wan"):
        world.kernel.apply(diff({}, state_of([Namespace(path), dataclasses.replace(nic, origin="eth8")])))
    assert world.read({}) == {}


def test_bridges_that_are_joined(world: World) -> None:
    def joined(**settings: Any) -> State:
        further = Bridge("br1-1", "linkspan:docker0", 1500, "02:43:00:00:00:01")
        joint = Joint("jn1-1", "linkspan:docker0", "br1-1", "jf1-1", "docker0")
        return state_of([*world.network(), further, dataclasses.replace(joint, **settings), *world.endpoint(2)])

    world.reach({}, joined())
    world.kernel.apply(diff({}, joined()))
    world.expect(joined())
    assert [world.kernel.interface(name).master for name in ("jn1-1", "jf1-1")] == ["br1-1", "docker0"]
    world.reach(joined(), joined(mtu=1400, isolated=True))
    world.reach(joined(mtu=1400, isolated=True), joined())
    with pytest.raises(NotFound, match="cannot create joint of bridge nope and bridge docker0"):
        world.kernel.apply(diff({}, state_of([Joint("jn2-1", "linkspan:docker0", "nope", "jf2-1", "docker0")])))
    world.reach(joined(), state_of([*world.network(), *world.endpoint(2)]))


@pytest.mark.parametrize("rate", [8_000_000, 10_000_000_000, 100_000_000_000], ids=["8m", "10g", "100g"])
def test_shapers(world: World, rate: int) -> None:
    """Both ends of a veth pair; a macvlan's own end both ways."""
    path = f"{world.folder}/c30"
    ends = ((HOST, "veth2", False), (f"{world.folder}/c2", "eth0", False), (path, "eth0", False), (path, "eth0", True))
    without = state_of([*world.network(), *world.endpoint(2), *macvlan(world, 30)])
    before = without | state_of([Shaper(*end, 80_000, 2_000) for end in ends])
    world.reach({}, before)
    world.kernel.apply(diff({}, before))
    world.expect(before)
    after = without | state_of([Shaper(*end, rate, 1 << 20) for end in ends])
    world.reach(before, after)
    world.reach(after, without)
    world.reach(without, after)
    # What is on an interface goes with it.
    world.reach(after, state_of([*world.network(), Namespace(path), Namespace(f"{world.folder}/c2")]))
    world.reach(state_of([*world.network(), Namespace(path), Namespace(f"{world.folder}/c2")]), after)


def test_a_macvlan_in_passthru_has_its_parents_mac_and_gives_way_to_the_next(world: World) -> None:
    before = state_of(macvlan(world, 30, mode="passthru", mac=""))
    world.reach({}, before)
    after = state_of(macvlan(world, 31, mode="passthru", mac=""))
    world.reach(before, after)
    assert world.kernel.interface("eth0").addresses == ("10.211.55.4/24",)


def test_a_macvlan_needs_its_parent(world: World) -> None:
    with pytest.raises(NotFound, match="cannot create macvlan eth0 on eth7: no such device"):
        world.kernel.apply(diff({}, state_of(macvlan(world, 30, parent="eth7"))))
    assert world.read({}) == {}


@pytest.mark.parametrize(
    "device",
    [
        Device(HOST, "eth0.10", "vlan", "linkspan:parent", "eth0", "10"),
        Device(HOST, "dm-1", "dummy", "linkspan:net"),
        Device(HOST, "iv0", "ipvlan", "linkspan:net", "eth0", "l3.private"),
        Device(HOST, "ib1", "ipoib", "linkspan:net", "eth0", "8001"),
        Device(HOST, "ls-ipip", "ipip", "linkspan:ipip", mode="10.211.55.4"),
    ],
    ids=lambda device: device.kind,
)
def test_kinds_of_link_that_a_kernel_may_lack(world: World, device: Device) -> None:
    upper = Device(HOST, "mv-1", "macvlan", "linkspan:net", device.name, "bridge")
    desired = state_of([device, *([upper] if device.kind not in ("ipvlan", "ipip") else [])])
    try:
        world.reach({}, desired)
    except Unsupported as error:
        assert f"{device.kind} {device.name}" in str(error) and "the running kernel lacks" in str(error)
        assert world.read({}) == {}
        assert device.kind != "ipip" or not world.kernel.has_ipip()
        pytest.skip(f"only on the fake: {error}")
    world.reach(desired, {})


def test_a_fake_kernel_lacks_what_it_is_told_to() -> None:
    kernel = FakeKernel(lacking=("dummy",))
    with pytest.raises(Unsupported, match=r"cannot create dummy dm-1: the running kernel lacks dummy links"):
        kernel.apply(diff({}, state_of([Device(HOST, "dm-1", "dummy", "linkspan:net")])))
    assert kernel.state == {}


def test_facts(world: World) -> None:
    world.kernel.apply(diff({}, state_of([*world.network(), *world.endpoint(2)])))
    eth0 = world.kernel.interface("eth0")
    assert (eth0.addresses, eth0.up, eth0.master) == (("10.211.55.4/24",), True, "")
    docker0 = world.kernel.interface("docker0")
    assert (docker0.kind, docker0.mac, docker0.alias) == ("bridge", "02:42:00:00:00:01", "linkspan:docker0")
    assert docker0.addresses == ("172.17.0.1/16",)
    assert world.kernel.interface("veth2").master == "docker0"
    inside = world.kernel.interfaces(f"{world.folder}/c2")
    assert [item.name for item in inside] == ["lo", "eth0"]
    assert inside[1].addresses == ("172.17.0.2/16",)
    routes = [(r.destination, r.gateway) for r in world.kernel.routes(f"{world.folder}/c2")]
    assert ("0.0.0.0/0", "172.17.0.1") in routes
    assert world.kernel.statistics("eth0", f"{world.folder}/c2").rx_errors == 0
    ports = world.kernel.ephemeral_ports()
    assert 1024 <= ports.first < ports.last <= 65535
    assert world.kernel.sysctl("net/ipv4/conf/docker0/route_localnet") == "1"
    assert world.kernel.sysctl("net/ipv4/nonesuch") is None
    assert "tcp . 8002" in world.kernel.ruleset()


def test_what_is_not_there(world: World) -> None:
    gone = f"{world.folder}/gone"
    with pytest.raises(NotFound, match="interface nope not found"):
        world.kernel.interface("nope")
    with pytest.raises(NotFound, match="no network namespace at"):
        world.kernel.interfaces(gone)
    with pytest.raises(NotFound, match="nope"):
        world.kernel.statistics("nope")
