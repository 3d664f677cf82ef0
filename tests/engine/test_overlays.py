"""Overlay networks: what their options mean, and who is where after ten thousand moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from random import Random

import pytest

from linkspan.drivers.available import DRIVERS
from linkspan.drivers.overlay import OverlayDriver
from linkspan.engine.change import Change
from linkspan.engine.networks import create_network
from linkspan.engine.overlays import VNI
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.request import NetworkRequest
from linkspan.engine.update import NetworkUpdate, update_network
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError, Unsupported
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.ipam.ports import PortSpace
from linkspan.kernel.fake import FakeKernel
from linkspan.model.cluster import Host, Remote
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.state.host import Underlay
from linkspan.state.objects import FdbEntry, KernelObject, Neighbour, Vxlan
from linkspan.state.plan import Plan, diff

from .conftest import HOST, World

UNDERLAY = Underlay("eth0", "10.211.55.4", "fd00:55::4", 1500)
MEMBER = dataclasses.replace(HOST, host_id="h", underlay=UNDERLAY)


def asked(**settings: object) -> NetworkRequest:
    return NetworkRequest(id="a" * 64, created="", name="over", driver="overlay", **settings)  # type: ignore[arg-type]


def created(world: World, facts: object = MEMBER, **settings: object) -> Network:
    change: Change = create_network(world.now, asked(**settings), DRIVERS, DEFAULT_SOURCES, facts)  # type: ignore[arg-type]
    world.now = world.now.after(change.writes)
    return world.now.network("over")


def test_a_network_gets_a_number_and_as_much_as_fits_into_a_tunnel(world: World) -> None:
    network = created(world)
    assert (network.vni, network.mtu, network.scope, network.bridge) == (4096, 1450, "global", "br-" + "a" * 12)
    assert network.options == {VNI: "4096"}
    assert network.pools[0].subnet == "10.0.0.0/24"
    world.now = world.now.after([drop(network), put(Host(id="o", name="o", address="10.211.55.5", mtu=1400))])
    taken = Network(id="b" * 64, name="b", driver="overlay", created="", vni=4096)
    world.now = world.now.after([put(taken)])
    network = created(world)
    assert (network.vni, network.mtu) == (4097, 1350)


@pytest.mark.parametrize(
    ("options", "facts", "mtu"),
    [
        ({"com.docker.network.driver.mtu": "1300"}, MEMBER, 1300),
        ({}, dataclasses.replace(MEMBER, underlay=Underlay("eth0", "", "fd00:55::4", 1500)), 1430),
        ({}, dataclasses.replace(MEMBER, underlay=Underlay("eth0", "10.211.55.4", mtu=9000)), 8950),
    ],
)
def test_how_much_fits(world: World, options: dict[str, str], facts: object, mtu: int) -> None:
    assert created(world, facts, options=options).mtu == mtu


def test_a_number_that_is_asked_for(world: World) -> None:
    assert created(world, options={VNI: "5000"}).vni == 5000
    world.now = world.now.after([put(Network(id="b" * 64, name="other", driver="overlay", created="", vni=5001))])
    world.now = world.now.after([drop(world.now.network("over"))])
    with pytest.raises(Conflict, match=r"vxlanid_list=5001 is the number of network other already"):
        created(world, options={VNI: "5001"})
    for bad in ("0", "16777216", "-1", "x", "1,2"):
        with pytest.raises(InvalidArgument, match=f"vxlanid_list: '{bad}': a number between 1 and 16777215"):
            created(world, options={VNI: bad})


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"options": {"encrypted": ""}}, Unsupported, "does not encrypt what goes between hosts, which needs IPsec"),
        ({"options": {"com.docker.network.bridge.name": "br0"}}, InvalidArgument, "unknown option: com.docker"),
        ({"options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}}, InvalidArgument, "unknown option"),
        ({"options": {"com.docker.network.driver.mtu": "67"}}, InvalidArgument, "use 68 to 65535"),
        ({"options": {"com.docker.network.driver.mtu": "1279"}, "ipv6": True}, InvalidArgument, "IPv6 needs 1280"),
        ({"scope": "local"}, Forbidden, "scope local: networks of the driver overlay are the cluster's"),
    ],
)
def test_what_is_refused(world: World, settings: dict[str, object], error: type[LinkspanError], words: str) -> None:
    before = world.now
    with pytest.raises(error, match=words):
        created(world, **settings)
    assert world.now == before


def test_it_needs_a_cluster(world: World) -> None:
    with pytest.raises(Forbidden, match="network driver overlay needs a cluster: start linkspand with --cluster"):
        created(world, HOST)


def test_what_many_hosts_share_does_not_change_in_place(world: World) -> None:
    network = created(world)
    with pytest.raises(Forbidden, match="is what many hosts share: only labels and DNS servers can change"):
        update_network(world.now, network, NetworkUpdate(internal=True), (), MEMBER, PortSpace())


# --- who is where

OTHERS = {f"h{n}": Host(id=f"h{n}", name=f"h{n}", address=f"10.211.{55 + (n >> 8)}.{n & 255}") for n in range(10, 60)}


class Follower:
    """A host with one container on the network, and a kernel that follows what changes, and never looks."""

    def __init__(self, world: World) -> None:
        self.network = created(world, ipv6=True, pools=(Pool(subnet="10.0.0.0/24"), Pool(subnet="fd00::/64")))
        self.drivers = {**DRIVERS, "overlay": OverlayDriver(underlay=UNDERLAY)}
        self.kernel = FakeKernel()
        self.now = Snapshot().after([put(self.network), *map(put, OTHERS.values())])
        sandbox = Sandbox(id="s", container_id="c", kind="own", path="/run/netns/s")
        own = Endpoint(
            id="e" * 64,
            network_id=self.network.id,
            sandbox_id="s",
            container_id="c",
            host_interface="veth1",
            interface="eth0",
            address="10.0.0.2",
            prefix_length=24,
        )
        self.take([put(sandbox), put(own)])

    def take(self, writes: list[Write]) -> None:
        before, self.now = self.now, self.now.after(writes)
        parts = touched(before, self.now, writes)
        old, new = (render_touched(moment, parts, self.drivers) for moment in (before, self.now))
        self.kernel.apply(diff(old, new))

    def rows(self) -> set[KernelObject]:
        return {item for item in self.kernel.state.values() if isinstance(item, (Neighbour, FdbEntry))}


def remote(number: int, network: Network, random: Random) -> Remote:
    """With one of 250 addresses, mostly with the MAC that follows from it."""
    last = 3 + random.randrange(250)
    mac = f"02:42:0a:00:00:{last:02x}" if random.random() < 0.8 else f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
    return Remote(
        id=f"{random.randrange(1 << 64):016x}",
        network_id=network.id,
        host_id=random.choice(list(OTHERS)),
        container_id=f"c{number}",
        name=f"c{number}",
        mac=mac,
        address=f"10.0.0.{last}",
        address6=f"fd00::{last:x}" if random.random() < 0.5 else "",
    )


def expected(follower: Follower, there: list[Remote]) -> Iterator[KernelObject]:
    bridge, tunnel = follower.network.bridge, f"vx-{follower.network.vni}"
    for one in there:
        yield Neighbour(bridge, one.address, one.mac)
        if one.address6:
            yield Neighbour(bridge, one.address6, one.mac)
        yield FdbEntry(tunnel, one.mac)
        yield FdbEntry(tunnel, one.mac, OTHERS[one.host_id].address)


@pytest.mark.parametrize(("order", "batch"), [("gone first", 1), ("come first", 50), ("at once", 50)])
def test_ten_thousand_moves_leave_nothing_stale(world: World, order: str, batch: int) -> None:
    """Containers come, with addresses that others had a moment ago (moby#52661). Who reads everything anew after a time
    without the store hears of those that came first, and of those that went afterwards: then two hold one address.
    """
    random, follower = Random(order), Follower(world)
    held: dict[str, Remote] = {}
    told: dict[str, Remote] = {}
    for number in range(1, 10_001):
        made = remote(number, follower.network, random)
        held[made.address] = made
        if number % batch == 0:
            there = {one.id: one for one in held.values()}
            come: list[Write] = [put(one) for id_, one in there.items() if id_ not in told]
            gone: list[Write] = [drop(one) for id_, one in told.items() if id_ not in there]
            told = there
            if order == "at once":
                follower.take([*come, *gone])
            else:
                for writes in (gone, come) if order == "gone first" else (come, gone):
                    follower.take(writes)
    assert follower.rows() == set(expected(follower, list(held.values())))
    # And so is what a daemon with an empty memory would render; nothing is left once the last container has gone.
    assert diff(follower.kernel.read(), without_settings(follower)) == Plan()
    follower.take([drop(follower.now.endpoints["e" * 64]), drop(follower.now.sandboxes["s"])])
    assert not follower.rows() and not any(isinstance(item, Vxlan) for item in follower.kernel.state.values())


def without_settings(follower: Follower) -> dict[object, KernelObject]:
    rendered = render_all(follower.now, follower.drivers, MEMBER)
    return {key: item for key, item in rendered.items() if key[0] != "sysctl"}  # type: ignore[misc]


def test_a_host_that_is_reached_by_the_other_ip_version_only(world: World) -> None:
    follower = Follower(world)
    far = Host(id="far", name="far", address6="fd00:55::9")
    there = Remote(
        id="r", network_id=follower.network.id, host_id="far", container_id="c", name="c", mac="m", address="10.0.0.9"
    )
    follower.take([put(far), put(there)])
    assert follower.rows() == set()
    follower.take([put(Host(id="far", name="far", address="10.211.55.9", address6="fd00:55::9"))])
    assert FdbEntry("vx-4096", "m", "10.211.55.9") in follower.rows()
