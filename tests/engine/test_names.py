"""What the resolver has to know follows from the records, from scratch and step by step alike."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.join import connect, disconnect, join, leave
from linkspan.engine.names import NameSettings, name_record, render_names, resolves, touched_names
from linkspan.errors import LinkspanError
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Write, put
from linkspan.state.names import HostListener, Listening, Named, NameKey, NameRecord
from tests.engine.conftest import World

LISTENER = NameSettings(listener=HostListener(address="127.0.0.55", port=53))


def network(world: World, name: str, subnet: str, **fields: object) -> Network:
    made = Network(
        id=world.ids(1)[0],
        name=name,
        driver="bridge",
        created="",
        pools=(Pool(subnet=subnet, gateway=subnet.replace("0/24", "1")),),
        bridge=f"br-{name}",
        **fields,  # type: ignore[arg-type]
    )
    world.now = world.now.after([put(made)])
    return made


def started(world: World, container: Container) -> None:
    world.now = world.now.after(join(world.now, world.now.containers[container.id], world.around()).writes)
    world.run(container)


def listening(world: World, settings_: NameSettings = NameSettings()) -> list[Listening]:  # noqa: B008 - a value
    return [record for record in render_names(world.now, settings_).values() if isinstance(record, Listening)]


def names(world: World, settings_: NameSettings = NameSettings()) -> list[Named]:  # noqa: B008 - a value
    return [record for record in render_names(world.now, settings_).values() if isinstance(record, Named)]


def test_a_container_on_a_network_of_its_own(world: World) -> None:
    network(world, "own", "10.1.0.0/24")
    web = world.container("web", "own")
    assert render_names(world.now, NameSettings()) == {}  # it does not run
    started(world, web)
    (place,), (record,) = listening(world), names(world)
    sandbox = world.now.sandbox(web)
    assert sandbox and place == Listening(id=sandbox.id, path=sandbox.path)
    assert record.names == ("web", web.id[:12]) and record.addresses == ("10.1.0.2",)
    assert (record.sandbox, record.network_name, record.host_name) == (sandbox.id, "own", "web")


def test_servers_of_a_network_stand_between_the_containers_and_the_daemons(world: World) -> None:
    one = network(world, "one", "10.1.0.0/24", dns=("10.0.0.53", "10.0.0.54"))
    two = network(world, "two", "10.2.0.0/24", dns=("10.0.0.54", "10.0.0.55"))
    web = world.container("web", "one")
    first = msgspec.structs.replace(web, networks={one.id: EndpointSettings(), two.id: EndpointSettings(gw_priority=1)})
    world.now = world.now.after([put(first)])
    started(world, web)
    started(world, world.container("own", "one", dns=("1.1.1.1",)))
    both, own = listening(world, NameSettings(servers=("9.9.9.9",)))
    if both.servers == ("1.1.1.1",):
        both, own = own, both
    assert (both.servers, own.servers) == (("10.0.0.54", "10.0.0.55", "10.0.0.53"), ("1.1.1.1",))


def test_no_names_on_the_default_bridge(world: World) -> None:
    started(world, world.container("web"))
    started(world, world.container("in-host", "host"))
    assert render_names(world.now, NameSettings()) == {}
    (record,) = names(world, LISTENER)  # but the host may ask
    assert record.names == () and record.host_name == "web"
    assert not listening(world, LISTENER)


def test_who_is_on_both(world: World) -> None:
    own = network(world, "own", "10.1.0.0/24", internal=True)
    web = world.container("web")
    started(world, web)
    settings_ = EndpointSettings(aliases=("www",), links=("db:store",), gw_priority=3)
    change = connect(world.now, world.now.containers[web.id], own, settings_, world.around())
    world.now = world.now.after(change.writes)
    (record,) = names(world)
    assert record.names[:2] == ("web", "www") and record.links == {"store": "db"} and record.rank[:2] == (-3, True)
    assert listening(world)[0].outward  # over the default bridge
    world.now = world.now.after(disconnect(world.now, world.now.containers[web.id], world.now.network("bridge")).writes)
    assert not listening(world)[0].outward


def test_whom_to_ask_for_other_names(world: World) -> None:
    network(world, "own", "10.1.0.0/24")
    for name, asked in {
        "a": {},
        "b": {"dns": ("10.9.9.9",), "dns_options": ("ndots:2",)},
        "c": {"dns_options": ("rotate",)},
    }.items():
        started(world, world.container(name, "own", **asked))

    def asked_of(settings_: NameSettings) -> dict[str, tuple[object, object]]:
        owners = {s.id: world.now.containers[s.container_id].name for s in world.now.sandboxes.values()}
        return {owners[place.id]: (place.servers, place.ndots) for place in listening(world, settings_)}

    assert asked_of(NameSettings()) == {"a": (None, None), "b": (("10.9.9.9",), True), "c": (None, False)}
    assert asked_of(NameSettings(servers=("10.8.8.8",), options=("ndots:1",))) == {
        "a": (("10.8.8.8",), True),
        "b": (("10.9.9.9",), True),
        "c": (("10.8.8.8",), False),
    }


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "connect", "disconnect", "rename"]), st.integers(0, 11))))
@settings(max_examples=60)
def test_step_by_step_as_from_scratch(steps: list[tuple[str, int]]) -> None:
    world = World()
    networks = [
        world.now.network("bridge"),
        network(world, "own", "10.1.0.0/24"),
        network(world, "other", "10.2.0.0/24"),
    ]
    containers = [world.container(f"c{n}", mode) for n, mode in enumerate(("own", "other", "bridge"))]
    known: dict[NameKey, NameRecord] = {}
    for number, (verb, choice) in enumerate(steps):
        target = world.now.containers[containers[choice % 3].id]
        place = networks[choice // 3 % 3]
        before = world.now
        try:
            writes: tuple[Write, ...] = decided(world, verb, target, place, number)
        except LinkspanError:
            continue
        world.now = world.now.after(writes)
        for key in touched_names(before, world.now, writes):
            known.pop(key, None)
            if record := name_record(world.now, key, LISTENER):
                known[key] = record
        expected = render_names(world.now, LISTENER)
        expected.pop(("host", "127.0.0.55:53"))
        assert known == expected
        places = {id_ for kind, id_ in known if kind == "sandbox"}
        assert places == {id_ for id_, sandbox in world.now.sandboxes.items() if resolves(world.now, sandbox)}


def decided(world: World, verb: str, target: Container, place: Network, number: int) -> tuple[Write, ...]:
    match verb:
        case "join":
            return join(world.now, target, world.around()).writes
        case "leave":
            return leave(world.now, target).writes
        case "connect":
            return connect(world.now, target, place, EndpointSettings(aliases=("a",)), world.around()).writes
        case "disconnect":
            return disconnect(world.now, target, place).writes
    return (put(msgspec.structs.replace(target, name=f"renamed{number}")),)
