"""Joining the four modes, and what is given back."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import pytest

from linkspan.engine.join import connect, disconnect, join, leave, sandbox_owner, sharers
from linkspan.engine.nat import nat_rows
from linkspan.engine.networks import NetworkRequest, create_network, remove_network
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.errors import Conflict, Forbidden, InvalidArgument, NotFound, PortInUse
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import EndpointIpamConfig, EndpointSettings, State
from linkspan.model.endpoint import Binding
from linkspan.model.network import Pool
from linkspan.model.snapshot import drop, put
from linkspan.state.objects import BoundPort, Namespace, NftElement, Route, Veth
from linkspan.state.plan import Delete, Replace, Step, apply, diff

from .conftest import DRIVERS, HOST, World


def started(world: World, name: str, mode: str = "bridge", ports: dict[str, str] | None = None) -> str:
    made = world.container(name, mode, ports)
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    return made.id


def test_addresses_in_order_and_every_field_of_an_endpoint(world: World) -> None:
    first = started(world, "mysql", ports={"3306/tcp": "3306"})
    second = started(world, "postgres1", ports={"5432/tcp": "54321"})
    (one,) = world.now.endpoints_in(world.now.containers[first])
    (two,) = world.now.endpoints_in(world.now.containers[second])
    assert (one.address, two.address) == ("172.17.0.2", "172.17.0.3")
    assert (one.gateway, one.prefix_length, one.mac) == ("172.17.0.1", 16, "02:42:ac:11:00:02")
    assert (one.interface, one.host_interface) == ("eth0", f"veth{one.id[:11]}")
    assert one.bindings == (Binding(protocol="tcp", address="0.0.0.0", port=3306, container_port=3306),)
    assert two.exposed == ("5432/tcp",)


def test_the_talks_two_tables(world: World) -> None:
    started(world, "mysql", ports={"3306/tcp": "3306"})
    started(world, "postgres1", ports={"5432/tcp": "10.211.55.4:54321"})
    rows = [(r.chain, r.target, r.prot, r.source, r.destination, r.extra, r.container) for r in nat_rows(world.now)]
    anywhere = "0.0.0.0/0"
    assert [row[:2] for row in rows[:2]] == [("PREROUTING", "DOCKER"), ("OUTPUT", "DOCKER")]
    assert rows[2:] == [
        ("POSTROUTING", "MASQUERADE", "all", "172.17.0.0/16", anywhere, "", ""),
        ("POSTROUTING", "MASQUERADE", "tcp", "172.17.0.2", "172.17.0.2", "tcp dpt:3306", "mysql"),
        ("POSTROUTING", "MASQUERADE", "tcp", "172.17.0.3", "172.17.0.3", "tcp dpt:5432", "postgres1"),
        ("DOCKER", "DNAT", "tcp", anywhere, anywhere, "tcp dpt:3306 to:172.17.0.2:3306", "mysql"),
        ("DOCKER", "DNAT", "tcp", anywhere, "10.211.55.4", "tcp dpt:54321 to:172.17.0.3:5432", "postgres1"),
    ]


def test_host_and_none_have_no_interface(world: World) -> None:
    host, none = started(world, "h", "host"), started(world, "n", "none")
    in_host = world.now.sandbox(world.now.containers[host])
    in_none = world.now.sandbox(world.now.containers[none])
    assert in_host and in_host.kind == "host" and in_host.key.endswith("/default")
    assert in_none and in_none.kind == "none"
    rendered = render_all(world.now, DRIVERS, HOST)
    assert [o.path for o in rendered.values() if isinstance(o, Namespace)] == [in_none.path]
    assert not [o for o in rendered.values() if isinstance(o, Veth)]


def test_a_port_is_held_by_one(world: World) -> None:
    started(world, "a", ports={"80/tcp": "8080"})
    late = world.container("late", ports={"80/tcp": "8080"})
    with pytest.raises(PortInUse, match=r"endpoint late \(.*\): Bind for 0\.0\.0\.0:8080 failed: port is"):
        join(world.now, late, world.around())


def test_container_mode_shares_and_keeps_the_sandbox(world: World) -> None:
    first = started(world, "mysql", ports={"3306/tcp": "3306"})
    peer = world.container("postgres1", f"container:{first}")
    assert join(world.now, peer, world.around()).writes == ()
    world.run(peer)
    mysql = world.now.containers[first]
    assert leave(world.now, mysql).writes == ()  # the peer lives there
    assert join(world.now, mysql, world.around()).writes == ()  # and mysql finds it again
    assert leave(world.now, mysql, removed=True).writes


def test_a_sandbox_is_shared_along_a_chain(world: World) -> None:
    first = started(world, "a")
    second = started(world, "b", f"container:{first}")
    third = started(world, "c", f"container:{second}")
    a, b, c = (world.now.containers[id_] for id_ in (first, second, third))
    assert [sandbox_owner(world.now, each).id for each in (a, b, c)] == [first] * 3
    assert {each.id for each in sharers(world.now, a)} == {second, third}
    assert sharers(world.now, b) == []
    world.now = world.now.after([drop(b)])  # a chain that is broken ends where it is broken
    assert sandbox_owner(world.now, c) == c
    world.now = world.now.after([put(b), put(msgspec.structs.replace(b, state=State(status="exited")))])
    assert leave(world.now, a).writes == ()  # c lives there still


def test_a_chain_that_bites_its_tail_ends(world: World) -> None:
    one = world.container("one", "container:two")
    two = world.container("two", f"container:{one.id}")
    host = msgspec.structs.replace(one.host_config, network_mode=f"container:{two.id}")
    world.now = world.now.after([put(msgspec.structs.replace(one, host_config=host))])
    assert sandbox_owner(world.now, two).id == one.id
    assert sharers(world.now, two) == []


def test_container_mode_needs_the_other_to_run(world: World) -> None:
    stopped = world.container("stopped")
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        join(world.now, world.container("peer", f"container:{stopped.id}"), world.around())
    with pytest.raises(Conflict, match="No such container"):
        join(world.now, world.container("orphan", "container:nobody"), world.around())


def network(world: World, name: str, **request: object) -> None:
    (id_,) = world.ids(1)
    asked = NetworkRequest(id=id_, created="", name=name, **request)  # type: ignore[arg-type]
    world.now = world.now.after(create_network(world.now, asked, DRIVERS, DEFAULT_SOURCES, HOST).writes)


def test_connect_and_disconnect_live(world: World) -> None:
    web = started(world, "web")
    running = world.now.containers[web]
    network(world, "rear", pools=(Pool(subnet="10.5.0.0/24"),))
    rear = world.now.network("rear")
    settings = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="10.5.0.9"))
    world.now = world.now.after(connect(world.now, running, rear, settings, world.around()).writes)
    one, two = world.now.endpoints_in(running)
    assert (two.interface, two.address, two.default_route) == ("eth1", "10.5.0.9", False)
    assert one.default_route
    running = world.now.containers[running.id]
    with pytest.raises(Forbidden, match="already exists in network rear"):
        connect(world.now, running, rear, settings, world.around())
    with pytest.raises(Forbidden, match=r'has active endpoints \(name:"web" id:"\w{12}"\)$'):
        remove_network(world.now, rear)
    world.now = world.now.after(disconnect(world.now, running, rear).writes)
    assert [e.interface for e in world.now.endpoints_in(running)] == ["eth0"]
    with pytest.raises(Forbidden, match="is not connected to network rear"):
        disconnect(world.now, world.now.containers[running.id], rear)
    world.now = world.now.after(remove_network(world.now, rear).writes)
    with pytest.raises(NotFound, match="network rear not found"):
        world.now.network("rear")


@pytest.mark.parametrize(
    ("mode", "name", "text"),
    [
        ("host", "rear", "sharing network namespace with another container or host cannot be connected to any"),
        ("bridge", "host", "cannot connect container to host network - container must be created in host network mode"),
        ("none", "rear", r"multiple networks with one of the networks in private \(none\) mode"),
        ("bridge", "none", r"multiple networks with one of the networks in private \(none\) mode"),
        ("container:", "rear", "sharing network namespace with another container or host cannot be connected to any"),
    ],
)
def test_who_cannot_be_connected(world: World, mode: str, name: str, text: str) -> None:
    network(world, "rear")
    peer = world.container("peer")
    made = world.container("web", mode + peer.id if mode == "container:" else mode)
    with pytest.raises(InvalidArgument, match=text):
        connect(world.now, made, world.now.network(name), EndpointSettings(), world.around())


Place: TypeAlias = tuple[bool, list[tuple[str, int]]]
ON: Place = (True, [("0.0.0.0", 8080)])
OFF: Place = (False, [])


def shape(world: World, container: str) -> dict[str, Place]:
    """By network: whether the default route is there, and the ports published there."""
    return {
        world.now.networks[e.network_id].name: (e.default_route, [(b.address, b.port) for b in e.bindings])
        for e in world.now.endpoints_in(world.now.containers[container])
    }


def change(world: World, container: str, verb: str, name: str, **settings: int) -> tuple[Step, ...]:
    """Connects or disconnects; the steps of the plan that follows from it."""
    found, net, before = world.now.containers[container], world.now.network(name), world.now
    if verb == "connect":
        writes = connect(world.now, found, net, EndpointSettings(**settings), world.around()).writes  # type: ignore[arg-type]
    else:
        writes = disconnect(world.now, found, net).writes
    world.now = world.now.after(writes)
    parts = touched(before, world.now, writes)
    old, new = (render_touched(moment, parts, DRIVERS) for moment in (before, world.now))
    plan = diff(old, new)
    assert apply(plan, old) == new
    whole = [render_all(moment, DRIVERS, HOST) for moment in (before, world.now)]
    assert apply(diff(*whole), whole[0]) == whole[1]
    return plan.steps


def test_what_led_out_over_a_network_leads_out_over_another_one(world: World) -> None:
    web = started(world, "web", ports={"80/tcp": "8080"})
    network(world, "rear")
    network(world, "inside", internal=True)
    change(world, web, "connect", "inside")
    change(world, web, "connect", "rear")
    assert shape(world, web) == {"bridge": ON, "inside": OFF, "rear": OFF}
    steps = change(world, web, "disconnect", "bridge")
    assert shape(world, web) == {"inside": OFF, "rear": ON}
    # In place: at no moment is there no route, nobody else can have the port, and it is published throughout.
    (route,) = [s for s in steps if isinstance(s, Replace) and isinstance(s.after, Route)]
    assert isinstance(route.after, Route) and (route.after.interface, route.after.gateway) == ("eth2", "172.18.0.1")
    assert not [s for s in steps if isinstance(s, Delete) and isinstance(s.before, (Route, BoundPort, NftElement))]
    assert steps.index(route) < min(n for n, s in enumerate(steps) if isinstance(s, Delete))
    change(world, web, "disconnect", "rear")
    assert shape(world, web) == {"inside": OFF}
    change(world, web, "connect", "rear")
    assert shape(world, web) == {"inside": OFF, "rear": ON}


def test_the_gateway_is_elected_by_priority_then_name(world: World) -> None:
    web = started(world, "web", ports={"80/tcp": "8080"})
    for name in ("alpha", "urgent", "worst"):
        network(world, name)
    change(world, web, "connect", "worst", gw_priority=-1)
    assert shape(world, web) == {"bridge": ON, "worst": OFF}
    steps = change(world, web, "connect", "urgent", gw_priority=7)
    assert [type(s) for s in steps if isinstance(getattr(s, "after", None), Route)] == [Replace]
    assert shape(world, web) == {"bridge": OFF, "worst": OFF, "urgent": ON}
    change(world, web, "connect", "alpha")
    change(world, web, "disconnect", "urgent")
    assert shape(world, web) == {"bridge": OFF, "worst": OFF, "alpha": ON}
    again = world.now.containers[web]
    world.now = world.now.after(leave(world.now, again).writes)
    world.now = world.now.after(join(world.now, again, world.around()).writes)
    assert shape(world, web) == {"bridge": OFF, "worst": OFF, "alpha": ON}


def test_ports_that_move_to_another_host_address_keep_their_numbers_where_they_can(world: World) -> None:
    network(world, "rear", options={"com.docker.network.bridge.host_binding_ipv4": "10.0.0.4"})
    started(world, "rival", "rear", ports={"80/tcp": "8000-8001"})
    web = started(world, "web", ports={"80/tcp": "127.0.0.1:8000-8009", "81/tcp": "", "82/tcp": "9000"})
    change(world, web, "connect", "rear")
    assert shape(world, web)["bridge"][1] == [("127.0.0.1", 8000), ("0.0.0.0", 32768), ("0.0.0.0", 9000)]
    change(world, web, "disconnect", "bridge")
    assert shape(world, web)["rear"] == (True, [("127.0.0.1", 8000), ("10.0.0.4", 32768), ("10.0.0.4", 9000)])
    started(world, "late", ports={"80/tcp": "127.0.0.1:9000"})
    change(world, web, "connect", "bridge", gw_priority=-1)
    with pytest.raises(PortInUse, match=r"Bind for 0\.0\.0\.0:9000 failed: port is already allocated"):
        change(world, web, "disconnect", "rear")


def test_predefined_networks_stay(world: World) -> None:
    for name in ("bridge", "host", "none"):
        with pytest.raises(Forbidden, match=f"{name} is a pre-defined network and cannot be removed"):
            remove_network(world.now, world.now.network(name))


def test_the_part_that_a_change_touches_is_that_part_of_the_whole(world: World) -> None:
    def moved(before: object, after: object) -> tuple[dict[object, object], dict[object, object]]:
        old, new = dict(before), dict(after)  # type: ignore[call-overload]
        return ({k: v for k, v in old.items() if new.get(k) != v}, {k: v for k, v in new.items() if old.get(k) != v})

    def check(writes: tuple[object, ...]) -> None:
        after = world.now.after(writes)  # type: ignore[arg-type]
        whole = moved(render_all(world.now, DRIVERS, HOST), render_all(after, DRIVERS, HOST))
        part = moved(
            *(
                render_touched(moment, touched(world.now, after, writes), DRIVERS)  # type: ignore[arg-type]
                for moment in (world.now, after)
            )
        )
        assert whole == part
        world.now = after

    web = world.container("web", ports={"80/tcp": "8080", "53/udp": "127.0.0.1:53"})
    check(join(world.now, web, world.around()).writes)
    world.run(web)
    back = NetworkRequest(id=world.ids(1)[0], created="", name="back", internal=True)
    check(create_network(world.now, back, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    web = world.now.containers[web.id]
    check(connect(world.now, web, world.now.network("back"), EndpointSettings(), world.around()).writes)
    for mode in ("host", "none"):
        check(join(world.now, world.container(mode, mode), world.around()).writes)
    check(disconnect(world.now, world.now.containers[web.id], world.now.network("back")).writes)
    check(leave(world.now, world.now.containers[web.id]).writes)
    check(remove_network(world.now, world.now.network("back")).writes)
    # What networks share, and what a network has only while somebody is on it.
    for name, options in (
        ("seen", {"parent": "eth1.10", "host_access": "true"}),
        ("other", {"parent": "eth1.10", "macvlan_mode": "private"}),
    ):
        wide = NetworkRequest(id=world.ids(1)[0], created="", name=name, driver="macvlan", options=options)
        check(create_network(world.now, wide, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    pair = [world.container(name, "seen") for name in ("one", "two")]
    for container in pair:
        check(join(world.now, container, world.around()).writes)
    for container in pair:
        check(leave(world.now, container).writes)
    for name in ("seen", "other"):
        check(remove_network(world.now, world.now.network(name)).writes)


def test_a_published_port_is_one_element(world: World) -> None:
    started(world, "web", ports={"80/tcp": "8080"})
    started(world, "db", ports={"53/udp": "127.0.0.1:53"})
    rendered = render_all(world.now, DRIVERS, HOST).values()
    elements = {(o.set, o.element, o.data) for o in rendered if isinstance(o, NftElement)}
    assert ("published", "tcp . 8080", "172.17.0.2 . 80") in elements
    assert ("published_at", "127.0.0.1 . udp . 53", "172.17.0.3 . 53") in elements
    assert ("masqueraded", "172.17.0.0/16", "") in elements
