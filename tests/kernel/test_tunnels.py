"""Tunnels and the rows that say who is behind them; routes with all that they can have. By both kernels."""

from __future__ import annotations

import dataclasses
import socket
import time
from typing import Any

import pytest

from linkspan.errors import Conflict, LinkspanError, NotFound, Unsupported
from linkspan.kernel.fake import FakeKernel
from linkspan.state.objects import (
    EVERYBODY,
    HOST,
    Address,
    Bridge,
    Device,
    FdbEntry,
    KernelObject,
    Namespace,
    Neighbour,
    Route,
    Veth,
    Vxlan,
    state_of,
)
from linkspan.state.plan import Create, Delete, Plan, diff, revert
from tests.kernel.conftest import World, on_linux


def tunnel(**settings: Any) -> list[KernelObject]:
    vxlan = Vxlan("vx-5000", "linkspan:net", 5000, "10.211.55.4", bridge="br0")
    return [
        Bridge("br0", "linkspan:net", 1450, "02:42:00:00:00:01"),
        dataclasses.replace(vxlan, **settings),
        Address(HOST, "br0", "10.9.0.1/16"),
    ]


def remote(number: int, host: int = 5, mac: str = "") -> list[KernelObject]:
    address, mac = f"10.9.{number >> 8}.{number & 255}", mac or f"02:42:0a:09:{number >> 8:02x}:{number & 255:02x}"
    return [
        Neighbour("br0", address, mac),
        FdbEntry("vx-5000", mac),
        FdbEntry("vx-5000", mac, f"10.211.55.{host}"),
    ]


def test_a_tunnel_and_who_is_behind_it(world: World) -> None:
    v6 = Neighbour("br0", "fd00::7", "02:42:0a:09:00:02")
    before = state_of([*tunnel(), *remote(2), *remote(3), v6])
    world.reach({}, before)
    world.kernel.apply(diff({}, before))
    world.expect(before)
    # One moves to another host, one's address is another one's now, one goes.
    after = state_of([*tunnel(), *remote(2, host=6), *remote(3, mac="02:42:00:00:00:33"), *remote(4)])
    world.reach(before, after)
    world.reach(after, state_of(tunnel()))
    world.kernel.apply(revert({}, after))
    assert world.read({}) == {}
    world.kernel.apply(revert({}, after))


@pytest.mark.parametrize(
    "settings",
    [
        {"alias": "linkspan:other", "mtu": 1400, "mac": "02:42:00:00:00:99"},
        {"isolated": True},
        {"vni": 5001},
        {"local": "10.211.55.77"},
        {"local": "fd00::4"},
        {"port": 8472, "checksum": True},
        {"bridge": ""},
        {"name": "vx-other"},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_what_changes_of_a_tunnel(world: World, settings: dict[str, Any]) -> None:
    """Its rows stay, whether it changes in place or is made anew."""
    there = world.interface_names()
    rows = remote(2)[:2] if "bridge" not in settings else []
    if name := settings.get("name"):
        rows = [Neighbour("br0", "10.9.0.2", "02:42:0a:09:00:02"), FdbEntry(name, "02:42:0a:09:00:02")]
    changed = [*tunnel(**settings), *rows, *([] if name else [FdbEntry("vx-5000", "02:42:0a:09:00:02", "10.211.55.5")])]
    if settings.get("local") == "fd00::4":
        changed = [*tunnel(**settings), *remote(2)[:2], FdbEntry("vx-5000", "02:42:0a:09:00:02", "fd00::5")]
    before, after = state_of([*tunnel(), *remote(2)]), state_of(changed)
    world.reach({}, before)
    world.reach(before, after)
    world.kernel.apply(revert(before, after))
    world.expect(before)
    world.reach(before, {})
    assert world.interface_names() == there


@on_linux
def test_a_tunnels_port_neither_learns_nor_floods(world: World) -> None:
    assert world.host
    world.reach({}, state_of(tunnel(isolated=True)))
    port = world.host.json("ip", "-j", "-d", "link", "show", "vx-5000")[0]["linkinfo"]["info_slave_data"]
    shown = {name: port[name] for name in ("learning", "flood", "mcast_flood", "bcast_flood", "neigh_suppress")}
    assert shown == {
        "learning": False,
        "flood": False,
        "mcast_flood": False,
        "bcast_flood": False,
        "neigh_suppress": True,
    }
    assert port["isolated"]
    # What somebody else turns on is a difference.
    world.host.run("ip", "link", "set", "vx-5000", "type", "bridge_slave", "learning", "on")
    assert diff(world.read({}), state_of(tunnel(isolated=True))) != Plan()
    world.kernel.apply(diff(world.read({}), state_of(tunnel(isolated=True))))
    world.expect(state_of(tunnel(isolated=True)))


def test_a_number_that_another_interface_has(world: World) -> None:
    before = state_of(tunnel())
    world.reach({}, before)
    other = Vxlan("vx-other", "linkspan:other", 5000, "10.211.55.4")
    with pytest.raises(
        Conflict, match="cannot create vxlan vx-other: another interface has VXLAN network identifier 5"
    ):
        world.kernel.apply(diff(before, before | state_of([other])))
    world.expect(before)
    with pytest.raises(Conflict, match="interface eth0 exists already"):
        world.kernel.apply(diff({}, state_of([dataclasses.replace(other, name="eth0", vni=7)])))
    with pytest.raises(NotFound, match="cannot create vxlan vx-7 on bridge nope: no such device"):
        world.kernel.apply(diff({}, state_of([Vxlan("vx-7", "linkspan:7", 7, "10.211.55.4", bridge="nope")])))
    world.expect(before)
    # The next network with that number takes the place of the last.
    world.reach(before, state_of([*tunnel()[:1], other]))


@on_linux
def test_a_port_that_another_program_has(world: World) -> None:
    assert world.host
    held = world.host.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with held:
        held.bind(("0.0.0.0", 4789))
        with pytest.raises(Conflict, match="cannot create vxlan vx-5000: another program has UDP port 4789"):
            world.kernel.apply(diff({}, state_of(tunnel())))
        assert world.read({}) == {}


def test_rows_need_their_interface(world: World) -> None:
    before = state_of([*tunnel(), *remote(2)])
    world.reach({}, before)
    for row in (Neighbour("nope", "10.9.0.9", "02:42:0a:09:00:09"), FdbEntry("nope", "02:42:0a:09:00:09", "10.0.0.1")):
        with pytest.raises(NotFound, match="nope"):
            world.kernel.apply(diff(before, before | state_of([*remote(3), row])))
        world.expect(before)  # what went with it in one packet is taken back
    gone = [Delete(Neighbour("nope", "10.9.0.9", "02:42:0a:09:00:09")), Delete(Route(HOST, "10.8.0.0/24", "nope"))]
    world.kernel.apply(Plan(tuple(gone)))


def test_what_is_sent_to_all(world: World) -> None:
    """A tunnel's port takes it from the bridge or not, and it goes to each host that has a row."""
    quiet = state_of(tunnel())
    world.reach({}, quiet)
    floods = {
        key: dataclasses.replace(item, floods=True) if isinstance(item, Vxlan) else item for key, item in quiet.items()
    }
    rows = [FdbEntry("vx-5000", EVERYBODY, f"10.211.55.{number}") for number in (5, 6, 7)]
    three, two = (floods | state_of(some) for some in (rows, rows[:2]))
    world.reach(quiet, three)
    world.kernel.apply(diff({}, three))
    world.expect(three)
    world.reach(three, two)
    world.reach(two, quiet)


def test_a_tunnel_that_leaves_by_one_interface_alone(world: World) -> None:
    """A device of ours whose other end nobody has yet: the tunnel over it goes with it, and comes again."""
    below = Device(HOST, "ls-below", "tun", "linkspan:mesh", mtu=1440)
    vxlan = Vxlan("ls-above", "linkspan:mesh", 4095, "100.126.0.1", 6784, 1390, "02:6c:64:7f:00:01", link="ls-below")
    row = FdbEntry("ls-above", EVERYBODY, "100.126.0.2")
    whole = state_of([below, Address(HOST, "ls-below", "100.126.0.1/32"), vxlan, row])
    world.reach({}, whole)
    world.kernel.apply(diff({}, whole))
    world.expect(whole)
    narrow = {key: dataclasses.replace(item, mtu=1400) if item == below else item for key, item in whole.items()}
    world.reach(whole, narrow)
    world.reach(narrow, state_of([below]))
    world.reach(state_of([below]), {})
    world.reach({}, whole)
    world.reach(whole, {})


@on_linux
def test_a_device_of_somebody_elses_under_the_name_of_ours(world: World) -> None:
    assert world.host
    world.host.run("ip", "tuntap", "add", "ls-below", "mode", "tun")
    with pytest.raises(Conflict, match="interface ls-below exists already and was not made by linkspan"):
        world.kernel.apply(diff({}, state_of([Device(HOST, "ls-below", "tun", "linkspan:mesh")])))
    world.host.run("ip", "link", "delete", "ls-below")


@on_linux
def test_a_kernel_without_wireguard(world: World) -> None:
    """This one is: what it says is what the daemon goes on from."""
    device = Device(HOST, "ls-below", "wireguard", "linkspan:mesh")
    try:
        world.kernel.apply(diff({}, state_of([device])))
    except Unsupported as error:
        assert str(error) == "cannot create wireguard ls-below: the running kernel lacks WireGuard (module wireguard)"
    else:
        world.expect(state_of([device]))


def test_a_kernel_without_tunnels() -> None:
    kernel = FakeKernel(lacking=("vxlan",))
    with pytest.raises(Unsupported, match=r"vx-5000: the running kernel lacks VXLAN links \(module vxlan\)"):
        kernel.apply(diff({}, state_of(tunnel())))
    assert kernel.state == {}


@on_linux
def test_somebody_elses_rows_are_left_alone_and_give_way(world: World) -> None:
    assert world.host
    world.reach({}, state_of(tunnel()))
    world.host.run(
        "ip", "neigh", "add", "10.211.55.99", "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent"
    )
    world.host.run("ip", "neigh", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "br0", "nud", "permanent")
    world.expect(state_of(tunnel()))
    world.reach(state_of(tunnel()), state_of([*tunnel(), *remote(2)]))
    world.reach(state_of([*tunnel(), *remote(2)]), state_of(tunnel()))
    assert "10.211.55.99" in world.host.run("ip", "neigh", "show", "dev", "eth0")


def test_routes(world: World) -> None:
    path = f"{world.folder}/c1"
    ground: list[KernelObject] = [
        Namespace(path),
        *tunnel(),
        Veth("veth1", "linkspan:1", path, "eth0", "02:42:0a:09:00:01", "br0"),
        Address(path, "eth0", "10.9.0.2/16"),
        Address(path, "eth0", "fd00:9::2/64"),
    ]
    before = state_of(
        [
            *ground,
            Route(HOST, "10.5.1.0/24", "br0", "10.5.1.0", onlink=True),
            Route(HOST, "10.5.5.0/24", "br0", "10.9.0.7", source="10.9.0.1"),
            Route(HOST, "10.5.6.0/24", "br0", "10.9.0.7", source="10.9.0.1"),
            Route(path, "fd00:8::/64", "eth0", "fd00:9::9", source="fd00:9::2"),
            Route(HOST, "10.5.2.0/24", "br0", "10.9.0.7", metric=512),
            Route(HOST, "10.5.2.0/24", "br0", "10.9.0.8"),
            Route(HOST, "10.5.3.0/24", "", kind="blackhole"),
            Route(HOST, "10.5.4.0/24", "br0"),
            Route(path, "fd00:5::/64", "eth0", "fd00:9::9", metric=512),
            Route(path, "fd00:5::/64", "eth0", "fd00:9::8"),
            Route(path, "fd00:6::/64", "", kind="blackhole"),
            Route(HOST, "10.5.7.0/24", "", kind="unreachable"),
            Route(path, "fd00:a::/64", "", kind="unreachable"),
            Route(path, "fd00:7::/64", "eth0", "fd00:77::1", onlink=True),
        ]
    )
    world.reach({}, before)
    world.kernel.apply(diff({}, before))
    world.expect(before)
    after = state_of(
        [
            *ground,
            Route(HOST, "10.5.1.0/24", "br0", "10.5.1.7", onlink=True),
            Route(HOST, "10.5.5.0/24", "br0", "10.9.0.7"),
            Route(HOST, "10.5.6.0/24", "", kind="blackhole"),
            Route(path, "fd00:8::/64", "eth0", "fd00:9::9"),
            Route(HOST, "10.5.2.0/24", "br0", "10.9.0.7", metric=1024),
            Route(HOST, "10.5.3.0/24", "br0"),
            Route(HOST, "10.5.4.0/24", "", kind="blackhole"),
            Route(HOST, "10.5.7.0/24", "", kind="blackhole"),
            Route(path, "fd00:5::/64", "eth0", "fd00:9::7", metric=512),
        ]
    )
    world.reach(before, after)
    world.kernel.apply(revert(before, after))
    world.expect(before)
    assert all(found.interface for found in world.kernel.routes() + world.kernel.routes(path))


@on_linux
def test_a_route_of_somebody_elses(world: World) -> None:
    assert world.host
    before = state_of(tunnel())
    world.reach({}, before)
    world.host.run("ip", "route", "add", "10.5.7.0/24", "via", "10.211.55.9")
    with pytest.raises(Conflict, match=r"a route to 10\.5\.7\.0/24 exists already and was not made by linkspan"):
        mine = [Route(HOST, f"10.5.{i}.0/24", "br0") for i in range(10)]
        world.kernel.apply(diff(before, before | state_of(mine)))
    world.expect(before)
    assert "10.5.7.0/24 via 10.211.55.9" in world.host.run("ip", "route")


def test_ten_thousand_rows_at_once(world: World) -> None:
    """Some 3,300 containers elsewhere: made, moved and gone."""
    network = state_of(tunnel())
    world.reach({}, network)
    many = network | state_of(row for number in range(256, 3600) for row in remote(number))
    moved = network | state_of(row for number in range(256, 3600) for row in remote(number, host=6))
    steps = [(network, many), (many, moved), (moved, network)]
    for before, after in steps:
        plan = diff(before, after)
        assert len(plan) >= 3300
        started = time.process_time()  # whatever else the machine does
        world.kernel.apply(plan)
        assert time.process_time() - started < 3  # some 0.1 s, where nothing takes its time row by row
        world.expect(after)


@on_linux
def test_a_batch_that_is_refused_in_part(world: World) -> None:
    before = state_of([*tunnel(), *remote(2)])
    world.reach({}, before)
    rows = [row for number in range(300, 600) for row in remote(number)]
    bad = FdbEntry("vx-5000", "00:00:00:00:00:00")
    with pytest.raises(LinkspanError, match="forwarding entry for 00:00:00:00:00:00 on interface vx-5000"):
        world.kernel.apply(Plan((*map(Create, rows[:450]), Create(bad), *map(Create, rows[450:]))))
    world.expect(before)
