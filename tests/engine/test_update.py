"""A network changed in place: what is rendered afterwards is what a network made that way would be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.join import join
from linkspan.engine.networks import create_network
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.request import NetworkRequest
from linkspan.engine.update import NetworkUpdate, update_network
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError, NotFound
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.ipam.ports import PortSpace
from linkspan.model.container import Container
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.objects import Address, Bridge, KernelObject, NftElement, Route, Sysctl, Veth
from linkspan.state.plan import Create, Delete, Plan, Replace, diff

from .conftest import DRIVERS, HOST, World

BRIDGE = "com.docker.network.bridge."
ICC, MASQUERADE, MODE = f"{BRIDGE}enable_icc", f"{BRIDGE}enable_ip_masquerade", f"{BRIDGE}gateway_mode_ipv4"
MTU = "com.docker.network.driver.mtu"


def network(world: World, name: str = "net", subnet: str = "10.0.0.0/24", **more: object) -> Network:
    asked = NetworkRequest(
        id=world.ids(1)[0],
        name=name,
        pools=(Pool(subnet=subnet),),
        labels={"a": "1"},
        **more,  # type: ignore[arg-type]
    )
    world.now = world.now.after(create_network(world.now, asked, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    return world.now.network(name)


def running(world: World, name: str, on: str = "net", **more: object) -> Container:
    made = world.container(name, on, **more)  # type: ignore[arg-type]
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    return world.now.containers[made.id]


def update(world: World, name: str = "net", **wanted: object) -> Plan:
    """What is done to the kernel; held against what the whole state says."""
    before = world.now
    asked = NetworkUpdate(**wanted)  # type: ignore[arg-type]
    change = update_network(before, before.network(name), asked, DEFAULT_SOURCES, HOST, PortSpace())
    world.now = before.after(change.writes)
    parts = touched(before, world.now, change.writes)
    plan = diff(render_touched(before, parts, DRIVERS), render_touched(world.now, parts, DRIVERS))
    assert set(plan) == set(diff(all_of(before), all_of(world.now)))
    return plan


def all_of(snapshot: Snapshot) -> dict[tuple[str, ...], KernelObject]:
    return render_all(snapshot, DRIVERS, HOST)


def kinds(plan: Plan) -> set[tuple[str, str]]:
    found = set()
    for step in plan:
        subject = step.before if isinstance(step, Delete) else step.after
        found.add((type(step).__name__, subject.set if isinstance(subject, NftElement) else type(subject).__name__))
    return found


def test_labels_and_servers_are_no_kernels_business(world: World) -> None:
    network(world)
    running(world, "web")
    assert not update(world, labels={"b": "2"}, removed_labels=("a",), dns=("1.1.1.1", "fd00::53"))
    found = world.now.network("net")
    assert (found.labels, found.dns) == ({"b": "2"}, ("1.1.1.1", "fd00::53"))
    assert not update(world, dns=())
    assert world.now.network("net").dns == ()
    with pytest.raises(NotFound, match="network net has no label a"):
        update(world, removed_labels=("a",))
    with pytest.raises(InvalidArgument):
        update(world, dns=("nonsense",))


def test_internal_and_back(world: World) -> None:
    """No way out: the default routes and the published ports go, or move to another network; and come back."""
    network(world)
    network(world, "rear", "10.1.0.0/24")
    web = running(world, "web", ports={"80/tcp": "8080"})
    before = all_of(world.now)
    plan = update(world, internal=True)
    assert kinds(plan) >= {
        ("Delete", "Route"), ("Delete", "BoundPort"), ("Delete", "published"), ("Delete", "masqueraded"),
        ("Create", "internal"),
    }  # fmt: skip
    (endpoint,) = world.now.endpoints_in(web)
    assert endpoint.bindings == () and not endpoint.default_route
    update(world, internal=False)
    assert all_of(world.now) == before


def test_whether_its_containers_may_talk_and_under_which_address_they_leave(world: World) -> None:
    network(world)
    running(world, "web")
    before = all_of(world.now)
    assert kinds(update(world, options={ICC: "false", MASQUERADE: "false"})) == {
        ("Delete", "icc"), ("Delete", "masqueraded"), ("Replace", "Veth"), ("Replace", "Sysctl"), ("Create", "Sysctl"),
    }  # fmt: skip
    assert world.now.network("net").options[ICC] == "false"
    update(world, options={ICC: "", MASQUERADE: ""})
    assert world.now.network("net").options == {}
    after = all_of(world.now)
    assert {k: o for k, o in after.items() if not isinstance(o, Sysctl)} == {
        k: o for k, o in before.items() if not isinstance(o, Sysctl)
    }


def test_mtu(world: World) -> None:
    network(world)
    running(world, "web")
    plan = update(world, options={MTU: "1300"})
    assert {type(step.after).__name__ for step in plan if isinstance(step, Replace)} == {"Bridge", "Veth"}
    assert all(step.after.mtu == 1300 for step in plan if isinstance(step.after, (Bridge, Veth)))  # type: ignore[union-attr]


def test_a_subnet_more_and_a_subnet_less(world: World) -> None:
    made = network(world)
    running(world, "web")
    plan = update(world, pools=(Pool(subnet="10.9.0.0/30", gateway="10.9.0.2"),))
    assert set(plan) == {
        Create(Address("", made.bridge, "10.9.0.2/30")),
        Create(NftElement("masqueraded", "10.9.0.0/30", comment=made.id[:12])),
    }
    with pytest.raises(Conflict, match=r"subnet 10\.0\.0\.0/24 of network net is in use by web"):
        update(world, removed_subnets=("10.0.0.0/24",))
    with pytest.raises(NotFound, match=r"network net has no subnet 10\.8\.0\.0/24"):
        update(world, removed_subnets=("10.8.0.0/24",))
    with pytest.raises(Forbidden, match="Pool overlaps"):
        update(world, pools=(Pool(subnet="10.9.0.0/16"),))
    with pytest.raises(InvalidArgument, match="a subnet is needed"):
        update(world, pools=(Pool(subnet=""),))
    assert kinds(update(world, removed_subnets=("10.9.0.0/30",))) == {("Delete", "Address"), ("Delete", "masqueraded")}
    update(world, pools=(Pool(subnet="0.0.0.0/28"),))
    assert world.now.network("net").pools[1].subnet == "172.18.0.0/28"


def test_containers_get_addresses_of_a_version_that_comes(world: World) -> None:
    made = network(world)
    web = running(world, "web", ports={"80/tcp": "8080"})
    sandbox = world.now.sandbox(web)
    assert sandbox
    plan = update(world, pools=(Pool(subnet="fd00:9::/64"),))
    assert {Address(sandbox.path, "eth0", "fd00:9::2/64"), Route(sandbox.path, "::/0", "eth0", "fd00:9::1")} <= {
        step.after for step in plan if isinstance(step, Create)
    }
    assert Address("", made.bridge, "fd00:9::1/64") in {step.after for step in plan if isinstance(step, Create)}
    assert world.now.network("net").ipv6
    with pytest.raises(Conflict, match="is in use by web"):
        update(world, removed_subnets=("fd00:9::/64",))


def test_the_last_subnet_stays(world: World) -> None:
    network(world)
    with pytest.raises(Forbidden, match="network net cannot be without a subnet"):
        update(world, removed_subnets=("10.0.0.0/24",))
    update(world, removed_subnets=("10.0.0.0/24",), pools=(Pool(subnet="10.5.0.0/24"),))
    assert [pool.subnet for pool in world.now.network("net").pools] == ["10.5.0.0/24"]


@pytest.mark.parametrize(
    ("wanted", "kind", "text"),
    [
        ({"options": {f"{BRIDGE}name": "br9"}}, Forbidden, "cannot change: the containers' interfaces stand on that"),
        ({"options": {"com.docker.network.enable_ipv6": "true"}}, Forbidden, "it follows from the subnets"),
        ({"options": {"nonsense": "1"}}, InvalidArgument, "network net: unknown option: nonsense"),
        ({"options": {"MTU": "1"}}, InvalidArgument, "unknown option: MTU; did you mean com.docker.network.driver.mtu"),
        ({"options": {ICC: "perhaps"}}, InvalidArgument, "use true or false"),
        ({"options": {MTU: "20"}}, InvalidArgument, "use 68 to 65535"),
        ({"options": {MODE: "isolated"}}, InvalidArgument, "can only be used for an internal network"),
    ],
)
def test_what_cannot_change_says_why(world: World, wanted: dict[str, object], kind: type[Exception], text: str) -> None:
    network(world)
    with pytest.raises(kind, match=text):
        update(world, **wanted)


def test_networks_that_do_not_change(world: World) -> None:
    with pytest.raises(Forbidden, match="bridge is a pre-defined network: it is as linkspand's flags say"):
        update(world, "bridge", labels={"a": "b"})
    asked = NetworkRequest(id="c" * 64, name="form", config_only=True)
    world.now = world.now.after(create_network(world.now, asked, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    with pytest.raises(Forbidden, match="is a configuration"):
        update(world, "form", internal=True)
    update(world, "form", labels={"a": "b"})


changes = st.lists(
    st.sampled_from(
        [
            {"internal": True},
            {"internal": False},
            {"options": {ICC: "false"}},
            {"options": {ICC: ""}},
            {"options": {MASQUERADE: "false"}},
            {"options": {MODE: "routed"}},
            {"options": {MODE: ""}},
            {"options": {f"{BRIDGE}host_binding_ipv4": "127.0.0.1"}},
            {"options": {f"{BRIDGE}host_binding_ipv4": ""}},
            {"options": {MTU: "1300"}},
            {"pools": (Pool(subnet="10.7.0.0/24"),)},
            {"removed_subnets": ("10.7.0.0/24",)},
            {"pools": (Pool(subnet="fd00:7::/64"),)},
            {"removed_subnets": ("fd00:7::/64",)},
        ]
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(changes)
def test_whatever_the_way_it_is_as_if_made_so(steps: list[dict[str, object]]) -> None:
    """The containers of a network that was changed have what they would have, were they started now."""
    world = World()
    made = network(world)
    web = running(world, "web", ports={"80/tcp": "8080", "81/tcp": "127.0.0.1:"})
    running(world, "other")
    for step in steps:
        before = world.now
        try:
            update(world, **step)
        except LinkspanError:
            assert world.now is before
    (endpoint,) = world.now.endpoints_in(web)
    final = world.now.network("net")
    record = NetworkRequest(
        id=made.id, name="net", pools=final.pools, options=final.options, internal=final.internal,
        ipv4=final.ipv4, ipv6=final.ipv6, labels=final.labels,
    )  # fmt: skip
    fresh = World()
    fresh.ids(1)
    fresh.now = fresh.now.after(create_network(fresh.now, record, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    assert fresh.now.network("net") == final
    twin = running(fresh, "web", ports={"80/tcp": "8080", "81/tcp": "127.0.0.1:"})
    (expected,) = fresh.now.endpoints_in(twin)
    for field in ("address", "address6", "gateway", "gateway6", "default_route", "default_route6", "bindings"):
        assert getattr(endpoint, field) == getattr(expected, field), field
