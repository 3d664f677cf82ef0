"""diff, order and revert: golden cases as folders, and what has to hold for any two states."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.state import objects
from linkspan.state.guard import Guard, Seal
from linkspan.state.objects import (
    HOST,
    Address,
    BoundPort,
    Bridge,
    Device,
    FdbEntry,
    KernelObject,
    Key,
    Namespace,
    Neighbour,
    NftElement,
    Nic,
    Route,
    Shaper,
    Sysctl,
    Veth,
    Vxlan,
    state_of,
)
from linkspan.state.plan import Create, Delete, Plan, Replace, apply, diff, grounds, revert, undo, without_ground
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink

GOLDEN = Path(__file__).parent / "golden"


# --- golden cases


def parse(text: str) -> dict[Key, KernelObject]:
    """A state: one object a line, its kind and its fields as JSON."""
    found = []
    for line in text.splitlines():
        kind, _, fields = line.partition(" ")
        if kind and not kind.startswith("#"):
            found.append(getattr(objects, kind)(**json.loads(fields)))
    return state_of(found)


def show(plan: Plan) -> str:
    return "".join(f"{line(step)}\n" for step in plan)


def line(step: Create | Replace | Delete) -> str:
    match step:
        case Create(item):
            return f"create {name(item)}"
        case Delete(item):
            return f"delete {name(item)}"
        case Replace(before, after):
            changes = [
                f"{field.name}: {getattr(before, field.name)} → {getattr(after, field.name)}"
                for field in dataclasses.fields(after)
                if getattr(before, field.name) != getattr(after, field.name)
            ]
            return f"change {name(after)} ({', '.join(changes)})"


def name(item: KernelObject) -> str:
    return f"{type(item).__name__} {' '.join(part for part in item.key[1:] if part)}"


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_golden(case: str) -> None:
    folder = GOLDEN / case
    current, desired = parse((folder / "current").read_text()), parse((folder / "desired").read_text())
    assert show(diff(current, desired)) == (folder / "plan").read_text()
    assert show(revert(current, desired)) == (folder / "revert").read_text()


# --- any two states

NAMESPACES = ("/n/a", "/n/b")
BRIDGES = ("br0", "br1")


@st.composite
def states(draw: st.DrawFn) -> dict[Key, KernelObject]:
    """A state without dangling references, out of few names, so that two of them have much in common."""
    items: list[KernelObject] = []
    places = [(HOST, "eth0")]
    namespaces = draw(st.sets(st.sampled_from(NAMESPACES)))
    bridges = draw(st.sets(st.sampled_from(BRIDGES)))
    items += [Namespace(path) for path in namespaces]
    for bridge in bridges:
        items.append(
            Bridge(bridge, "linkspan:n", draw(st.sampled_from((1400, 1500))), draw(st.sampled_from(("m", "n"))))
        )
        places.append((HOST, bridge))
    if bridges and namespaces:
        peers = draw(st.dictionaries(st.sampled_from(("v0", "v1", "br1")), place(namespaces), max_size=3))
        for link, (namespace, peer) in peers.items():
            if (namespace, peer) not in places and (HOST, link) not in places:
                bridge = draw(st.sampled_from(sorted(bridges)))
                items.append(Veth(link, f"linkspan:{link}", namespace, peer, draw(st.sampled_from("mn")), bridge))
                places += [(namespace, peer), (HOST, link)]
    devices = st.tuples(st.sampled_from((HOST, *sorted(namespaces))), st.sampled_from(("d", "eth1")))
    for namespace, name_ in draw(st.sets(devices)):
        if (namespace, name_) in places:
            continue
        parent = draw(st.sampled_from(("eth0", *sorted(bridges))))
        kind = "vlan" if namespace == HOST and name_ == "d" else "macvlan"
        items.append(Device(namespace, name_, kind, "linkspan:d", parent, draw(st.sampled_from("xy"))))
        places.append((namespace, name_))
        if kind == "vlan" and draw(st.booleans()):
            items.append(Device(HOST, "f", "macvlan", "linkspan:d", "d", "x"))
            places.append((HOST, "f"))
    for name_, bridge in draw(
        st.dictionaries(st.sampled_from(("d", "x0", "x1")), st.sampled_from(("", *BRIDGES)))
    ).items():
        if (HOST, name_) not in places and (not bridge or bridge in bridges):
            number = BRIDGES.index(bridge) if bridge else 2 + ("d", "x0", "x1").index(name_)
            items.append(Vxlan(name_, "linkspan:n", number, draw(st.sampled_from(("l", "m"))), bridge=bridge))
            places.append((HOST, name_))
            for mac in draw(st.sets(st.sampled_from("mn"))):
                items += [FdbEntry(name_, mac), FdbEntry(name_, mac, draw(st.sampled_from(("h", "i"))))]
    if namespaces and draw(st.booleans()):
        namespace, interface = draw(place(namespaces))
        if (namespace, interface) not in places:
            items.append(Nic(namespace, interface, "card", "o", draw(st.sampled_from("mn"))))
            places.append((namespace, interface))
    switches = draw(st.dictionaries(st.sampled_from(("ov0", "ov1")), st.sampled_from(("system", "netdev"))))
    for bridge, datapath in switches.items():
        items.append(OvsBridge(bridge, "linkspan:n", datapath, draw(st.sampled_from((1400, 1500)))))
        places.append((HOST, bridge))
    for port in draw(st.sets(st.sampled_from(("v0", "tun")))) if switches else ():
        items.append(OvsPort(draw(st.sampled_from(sorted(switches))), port, "linkspan:p", tag=draw(st.integers(0, 2))))
    for namespace, interface in places:
        if namespace == HOST and draw(st.booleans()):
            items.append(
                Neighbour(interface, draw(st.sampled_from(("10.0.0.3", "fd00::3"))), draw(st.sampled_from("mn")))
            )
        if (namespace, interface) != (HOST, "eth0") and draw(st.booleans()):
            items.append(Shaper(namespace, interface, draw(st.booleans()), draw(st.sampled_from((8000, 16000))), 4000))
        for address in draw(st.sets(st.sampled_from(("10.0.0.1/8", "10.0.0.2/8")))):
            items.append(Address(namespace, interface, address))
        if (HOST, interface) != (namespace, "eth0") and draw(st.booleans()):
            destination = (
                "0.0.0.0/0" if namespace else f"10.{BRIDGES.index(interface)}.0.0/16" if interface in BRIDGES else ""
            )
            gateway, metric = draw(st.sampled_from(("", "10.0.0.9"))), draw(st.sampled_from((0, 512)))
            route = Route(namespace, destination, interface, gateway, metric=metric)
            if destination and route.key not in {item.key for item in items}:
                items.append(route)
    if draw(st.booleans()):
        items.append(Route(HOST, "10.7.0.0/16", "", kind="blackhole"))
    for port in draw(st.sets(st.tuples(st.sampled_from(("0.0.0.0", "127.0.0.1")), st.sampled_from((80, 81))))):
        items.append(BoundPort("tcp", *port))
    for port, data in draw(st.dictionaries(st.sampled_from((80, 81)), st.sampled_from("ab"))).items():
        items.append(NftElement("published", f"tcp . {port}", data))
    items.append(Sysctl(HOST, "net/ipv4/ip_forward", draw(st.sampled_from("01"))))
    for namespace in sorted(namespaces):
        guarded = sorted(name_ for where, name_ in places if where == namespace and draw(st.booleans()))
        if guarded:
            items.append(Guard(namespace, " ".join(guarded), tuple((name_, "in", "out") for name_ in guarded)))
            items += [Seal(namespace, name_) for name_ in guarded]
    return state_of(items)


def place(namespaces: set[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.sampled_from(sorted(namespaces)), st.sampled_from(("eth0", "eth1")))


@given(states(), states())
def test_applied_it_gives_what_is_desired(actual: dict[Key, KernelObject], desired: dict[Key, KernelObject]) -> None:
    plan = diff(actual, desired)
    assert apply(plan, actual) == desired
    assert diff(desired, desired) == Plan()
    assert apply(revert(actual, desired), apply(plan, actual)) == actual


@given(states(), states())
def test_references_are_never_dangling(actual: dict[Key, KernelObject], desired: dict[Key, KernelObject]) -> None:
    now = dict(actual)
    for step in diff(actual, desired):
        if isinstance(step, Create):
            assert step.after.key not in now
        else:
            assert now[step.before.key] == step.before
        now = apply(Plan((step,)), now)
        if isinstance(step, Create) and isinstance(step.after, _STANDING):
            assert_grounded(step.after, now)
        assert len([item for item in now.values() if isinstance(item, Nic)]) <= 1  # there is one card
    assert now == desired


@given(states(), states())
def test_an_interface_is_never_there_without_what_is_said_of_it(
    actual: dict[Key, KernelObject], desired: dict[Key, KernelObject]
) -> None:
    """One that comes is guarded from when it is there; one that goes is guarded, and sealed, until it is gone."""
    there, then = _interfaces(actual), _interfaces(desired)
    now = dict(actual)
    for step in diff(actual, desired):
        now = apply(Plan((step,)), now)
        for place_ in _interfaces(now):
            owners = [state for state, own in ((actual, there), (desired, then)) if place_ in own]
            assert _guarded(now, *place_) in [_guarded(state, *place_) for state in owners], (step, place_)
            if place_ not in then:
                assert (("seal", *place_) in now) == (("seal", *place_) in actual), (step, place_)


@pytest.mark.parametrize("left", [("eth0",), ()])
def test_an_interface_that_is_disconnected_goes_before_its_policy(left: tuple[str, ...]) -> None:
    def sandbox(interfaces: tuple[str, ...], guarded: tuple[str, ...]) -> dict[Key, KernelObject]:
        entries = tuple((name_, "in", "out") for name_ in guarded)
        veths = [Veth(f"v{name_}", "a", "/n/a", name_, "m", "br0") for name_ in interfaces]
        guard = [Guard("/n/a", " ".join(guarded), entries), *(Seal("/n/a", name_) for name_ in guarded)]
        return state_of([Namespace("/n/a"), Bridge("br0", "a"), *veths, *(guard if guarded else ())])

    plan = diff(sandbox(("eth0", "eth1"), (*left, "eth1")), sandbox(("eth0",), left))
    rest = ["change Guard /n/a", "delete Seal /n/a eth1"] if left else ["delete Seal /n/a eth1", "delete Guard /n/a"]
    assert [line(step).partition(" (")[0] for step in plan] == ["delete Veth veth1", *rest]
    # With the sandbox all of it goes.
    plan = diff(sandbox(("eth0", "eth1"), (*left, "eth1")), {})
    assert [line(step) for step in plan][-2:] == ["delete Bridge br0", "delete Namespace /n/a"]


def _interfaces(state: dict[Key, KernelObject]) -> set[tuple[str, str]]:
    peers = {(item.namespace, item.peer) for item in state.values() if isinstance(item, Veth)}
    return peers | {(i.namespace, i.name) for i in state.values() if isinstance(i, (Device, Nic)) and i.namespace}


def _guarded(state: dict[Key, KernelObject], namespace: str, name_: str) -> bool:
    guard = state.get(("guard", namespace))
    return isinstance(guard, Guard) and any(name_ == entry[0] for entry in guard.entries)


_STANDING = (Veth, Device, Nic, Address, Route, Shaper, Vxlan, Neighbour, FdbEntry, OvsPort)


def assert_grounded(
    item: Veth | Device | Nic | Address | Route | Shaper | Vxlan | Neighbour | FdbEntry | OvsPort,
    state: dict[Key, KernelObject],
) -> None:
    namespace = HOST if isinstance(item, (Vxlan, Neighbour, FdbEntry, OvsPort)) else item.namespace
    assert namespace == HOST or ("namespace", namespace) in state
    if isinstance(item, (Veth, Vxlan, OvsPort)):
        assert not item.bridge or ("link", HOST, item.bridge) in state
    elif isinstance(item, Device):
        assert item.parent == "eth0" or ("link", HOST, item.parent) in state
    elif (
        not isinstance(item, Nic)
        and (namespace, item.interface) != (HOST, "eth0")
        and not (isinstance(item, Route) and item.kind == "blackhole")
    ):
        links = {(HOST, other.name) for other in state.values() if isinstance(other, (Bridge, Veth, Vxlan, OvsBridge))}
        peers = {(other.namespace, other.peer) for other in state.values() if isinstance(other, Veth)}
        devices = {(other.namespace, other.name) for other in state.values() if isinstance(other, (Device, Nic))}
        assert (namespace, item.interface) in links | peers | devices


@given(states(), states(), st.data())
def test_half_a_plan_is_undone(
    actual: dict[Key, KernelObject], desired: dict[Key, KernelObject], data: st.DataObject
) -> None:
    plan = diff(actual, desired)
    done = plan.steps[: data.draw(st.integers(0, len(plan)))]
    half = apply(Plan(done), actual)
    back = apply(undo(done), half)
    # What vanished with a namespace, or a link that was made anew, is for the caller; nothing else differs.
    assert all(actual.get(key) == item for key, item in back.items())
    assert {type(actual[key]) for key in actual.keys() - back.keys()} <= {
        Address,
        Route,
        Device,
        Shaper,
        OvsPort,
        Neighbour,
        FdbEntry,
        Guard,
        Seal,
    }


@given(states(), states(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(actual: dict, desired: dict, random) -> None:  # type: ignore[no-untyped-def, type-arg]
    def shuffled(state):  # type: ignore[no-untyped-def]
        items = list(state.items())
        random.shuffle(items)
        return dict(items)

    assert diff(shuffled(actual), shuffled(desired)) == diff(actual, desired)


@given(states(), st.data())
def test_disjoint_changes_commute(state: dict[Key, KernelObject], data: st.DataObject) -> None:
    elements = [NftElement("icc", f'"b{i}" . "b{i}"') for i in range(2)]
    first, second = (diff(state, state | state_of([element])) for element in elements)
    assert apply(second, apply(first, state)) == apply(first, apply(second, state))


def test_what_the_host_has_no_ground_for_is_left_as_it_is() -> None:
    def on(parent: str, name: str) -> list[KernelObject]:
        return [
            Device("/n/a", name, "macvlan", "linkspan:1", parent, "bridge"),
            Address("/n/a", name, "10.0.0.2/24"),
            Sysctl("/n/a", f"net/ipv6/conf/{name}/disable_ipv6", "1"),
            Route("/n/a", f"10.{name[-1]}.0.0/16", name, "10.0.0.1"),
        ]

    vlan = Device(HOST, "eth1.10", "vlan", "linkspan:parent", "eth1", "10")
    namespace, present = Namespace("/n/a"), on("eth0", "eth0")
    desired = state_of([namespace, *present, *on("eth7", "eth1"), vlan, *on("eth1.10", "eth2")])
    left = state_of([namespace, *on("eth7", "eth1")[:1]])
    assert without_ground(left, desired, {"lo", "eth0", "eth1", "eth7"}) == (left, desired, ())
    actual, wanted, lacking = without_ground(left, desired, {"lo", "eth0", "eth1"})
    assert (actual, lacking) == (state_of([namespace]), ("eth7",))
    assert wanted == state_of([namespace, *present, vlan, *on("eth1.10", "eth2")])
    actual, wanted, lacking = without_ground(left, desired, {"lo"})
    assert (actual, wanted, lacking) == (state_of([namespace]), state_of([namespace]), ("eth0", "eth1", "eth7"))


def test_what_stood_on_something_that_is_gone_is_left_as_it_is() -> None:
    def on(bridge: str, card: str) -> list[KernelObject]:
        return [
            Namespace("/n/a"),
            Veth("v0", "linkspan:1", "/n/a", "eth0", "m", bridge),
            Address("/n/a", "eth0", "10.0.0.2/24"),
            Nic("/n/a", "wan", card, "m"),
            Address("/n/a", "wan", "10.1.0.2/24"),
        ]

    desired = state_of(on("br9", "eth9"))
    assert grounds(desired) == {"br9", "eth9"}
    assert grounds({**desired, **state_of([Bridge("br9", "linkspan:plug")])}) == {"eth9"}
    # A veth pair outlives its bridge, and a card that has moved is not on the host: what is on them is still wanted.
    adrift = state_of([Namespace("/n/a"), Veth("v0", "linkspan:1", "/n/a", "eth0", "m", ""), on("", "eth9")[3]])
    actual, wanted, lacking = without_ground(adrift, desired, {"lo"})
    assert lacking == ("br9",) and diff(actual, wanted) == Plan((Create(on("", "")[2]), Create(on("", "")[4])))
    # Where neither is there, nothing on them can be made.
    actual, wanted, lacking = without_ground(state_of([Namespace("/n/a")]), desired, {"lo"})
    assert (lacking, diff(actual, wanted)) == (("br9", "eth9"), Plan())
    assert without_ground({}, desired, {"lo", "br9", "eth9"}) == ({}, desired, ())


def test_without_a_switch_what_stands_on_it_is_left_as_it_is() -> None:
    stand = state_of([OvsBridge("ov0", "a"), OvsPort("ov0", "v0", "a"), OvsUplink("up", "10.0.0.1")])
    on = state_of([Address(HOST, "ov0", "10.9.0.1/24"), Sysctl(HOST, "net/ipv4/conf/ov0/forwarding", "1")])
    rest = state_of([Namespace("/n/a"), Address(HOST, "br0", "10.8.0.1/24")])
    assert without_ground(on, stand | on | rest, {"lo"}, switch=None) == ({}, rest, ())
    assert without_ground(on, stand | on | rest, {"lo"}) == (on, stand | on | rest, ())
    port = state_of([OvsPort("theirs", "v1", "a")])
    assert without_ground(port, rest | port, {"lo"}, switch={"theirs"}) == (port, rest | port, ())
    assert without_ground({}, rest | port, {"lo"}, switch={"other"}) == ({}, rest, ("theirs",))


def test_a_route_over_an_interface_of_the_host_s_waits_until_that_is_up() -> None:
    tunnel = Vxlan("flannel.1", "linkspan:n", 1, "10.0.0.1")
    ours, theirs = Route(HOST, "10.5.1.0/24", "flannel.1", "10.5.1.0"), Route(HOST, "10.5.2.0/24", "eth0", "10.0.0.2")
    desired = state_of([tunnel, ours, theirs])
    assert grounds(desired) == {"eth0"}
    assert without_ground({}, desired, {"eth0"}, {"eth0"}) == ({}, desired, ())
    for there in ({"eth0"}, set[str]()):
        assert without_ground({}, desired, there, set()) == ({}, state_of([tunnel, ours]), ("eth0",))


def test_any_mac_will_do_where_none_is_asked_for() -> None:
    card = Nic("/n/a", "wan", "eth9", "m", "n")
    assert diff(state_of([card]), state_of([dataclasses.replace(card, mac="", wireless=True)])) == Plan()
    assert diff(state_of([card]), state_of([dataclasses.replace(card, mac="o")])).steps
    there = state_of([Bridge("br0", "a", 1500, "02:42:00:00:00:01")])
    assert diff(there, state_of([Bridge("br0", "a")])) == Plan()
    assert diff(there, state_of([Bridge("br0", "a", 1400)])).steps
    assert not diff({}, {}).steps
    assert len(diff({}, there)) == 1


def test_an_ipv6_address_with_another_length_takes_the_old_one_s_place() -> None:
    """An interface has it once: the kernel would refuse it beside the old one, and lose it with that."""
    for old, new, first in (("fd00::1/64", "fd00::1/80", Delete), ("10.0.0.1/24", "10.0.0.1/16", Create)):
        plan = diff(state_of([Address("", "br0", old)]), state_of([Address("", "br0", new)]))
        assert [type(step) for step in plan.steps].index(first) == 0 and len(plan.steps) == 2
