"""Addresses, MACs and ports: what was given by hand is its container's, and what was given back rests."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.identity import claim_warnings
from linkspan.engine.join import connect, disconnect, join, leave
from linkspan.errors import Forbidden, LinkspanError, PortInUse
from linkspan.model.container import Container, EndpointIpamConfig, EndpointSettings, State
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import drop, put

from .conftest import World

SUBNET = ipaddress.IPv4Network("10.0.0.0/28")
EVERY = [str(a) for a in SUBNET.hosts()][1:]  # .2 to .14


def network(world: World) -> Network:
    made = Network(
        id="net".ljust(64, "0"),
        name="net",
        driver="bridge",
        created="",
        bridge="br-net",
        pools=(Pool(subnet=str(SUBNET), gateway="10.0.0.1"),),
    )
    world.now = world.now.after([put(made)])
    return made


def asking(address: str = "", mac: str = "") -> EndpointSettings:
    ipam = EndpointIpamConfig(ipv4_address=address) if address else None
    return EndpointSettings(ipam_config=ipam, mac_address=mac)


def create(world: World, name: str, address: str = "", mac: str = "", **more: object) -> Container:
    made = world.container(name, "net", **more)  # type: ignore[arg-type]
    created = f"{len(world.now.containers):06}"
    made = msgspec.structs.replace(made, created=created, networks={world.now.network("net").id: asking(address, mac)})
    world.now = world.now.after([put(made)])
    return made


def start(world: World, container: Container, **space: object) -> str:
    current = world.now.containers[container.id]
    world.now = world.now.after(join(world.now, current, world.around(**space)).writes)
    world.run(current)
    return address(world, container)


def stop(world: World, container: Container) -> None:
    current = world.now.containers[container.id]
    world.now = world.now.after(leave(world.now, current).writes)
    world.now = world.now.after([put(msgspec.structs.replace(current, state=State(status="exited")))])


def remove(world: World, container: Container) -> None:
    stop(world, container)
    world.now = world.now.after([drop(world.now.containers[container.id])])


def address(world: World, container: Container) -> str:
    (endpoint,) = world.now.endpoints_in(container)
    return endpoint.address


def test_in_order_and_from_the_beginning_where_nobody_is_left(world: World) -> None:
    network(world)
    one, two = create(world, "one"), create(world, "two")
    assert [start(world, one), start(world, two)] == EVERY[:2]
    remove(world, one)
    assert start(world, create(world, "three")) == EVERY[2]
    for container in tuple(world.now.containers.values()):
        remove(world, container)
    assert start(world, create(world, "four")) == EVERY[0]


def test_what_was_given_back_comes_last(world: World) -> None:
    network(world)
    start(world, create(world, "stays"))
    found = []
    for number in range(2 * len(EVERY)):
        passing = create(world, f"c{number}")
        found.append(start(world, passing))
        remove(world, passing)
    assert found[: len(EVERY)] == [*EVERY[1:], EVERY[1]]
    assert found[len(EVERY) - 1 :] == [*EVERY[1:], *EVERY[1:]][: len(found) - len(EVERY) + 1]


def test_who_is_started_again_gets_what_it_had(world: World) -> None:
    made = network(world)
    one, two = create(world, "one"), create(world, "two")
    first, second = start(world, one), start(world, two)
    for container in (one, two):
        stop(world, container)
    assert start(world, two) == second
    start(world, create(world, "three"))
    assert start(world, one) == first
    current = world.now.containers[one.id]
    world.now = world.now.after(disconnect(world.now, current, made).writes)
    around = world.around()
    world.now = world.now.after(
        connect(world.now, world.now.containers[one.id], made, EndpointSettings(), around).writes
    )
    assert address(world, one) == first


def test_an_address_given_by_hand_is_nobody_elses(world: World) -> None:
    made = network(world)
    owner = create(world, "owner", EVERY[0])
    assert start(world, create(world, "other")) == EVERY[1]
    late = create(world, "late", EVERY[0])
    with pytest.raises(Forbidden, match=r"^Address already in use: 10\.0\.0\.2 was given to container owner$"):
        start(world, late)
    assert start(world, owner) == EVERY[0]
    with pytest.raises(Forbidden, match=r"Address already in use: 10\.0\.0\.2 is the address of container owner"):
        start(world, late)
    stop(world, owner)
    third = world.container("third")
    with pytest.raises(Forbidden, match="Address already in use"):
        connect(world.now, third, made, asking(EVERY[0]), world.around())
    (warning,) = claim_warnings(world.now, msgspec.structs.replace(third, networks={made.id: asking(EVERY[0])}))
    assert warning.startswith("Address already in use: 10.0.0.2 was given to container owner: this one cannot start")
    remove(world, owner)
    assert start(world, late) == EVERY[0]


def test_an_address_in_use_cannot_be_given(world: World) -> None:
    network(world)
    passing = create(world, "passing")
    taken = start(world, passing)
    owner = create(world, "owner", taken)
    with pytest.raises(Forbidden, match="is the address of container passing"):
        start(world, owner)
    stop(world, passing)
    assert start(world, owner) == taken
    assert start(world, passing) != taken  # what it had is somebody else's by now


def test_a_mac_given_by_hand_is_nobody_elses(world: World) -> None:
    network(world)
    follows = "02:42:0a:00:00:02"  # from the first address that is chosen
    owner = create(world, "owner", EVERY[5], follows.replace(":", "-").upper())
    other = create(world, "other")
    assert start(world, other) == EVERY[0]
    (endpoint,) = world.now.endpoints_in(other)
    assert endpoint.mac == "06:42:0a:00:00:02"
    start(world, owner)
    (endpoint,) = world.now.endpoints_in(owner)
    assert endpoint.mac == follows
    with pytest.raises(Forbidden, match=f"MAC address already in use: {follows} is that of container owner"):
        start(world, create(world, "late", mac=follows))
    with pytest.raises(Forbidden, match="MAC address already in use: 06:42:0a:00:00:02 is that of container other"):
        start(world, create(world, "later", mac="06:42:0a:00:00:02"))


def test_a_host_port_given_by_hand_is_nobodys_by_chance(world: World) -> None:
    network(world)
    create(world, "owner", ports={"80/tcp": "40000"})
    free, ranged = create(world, "free", ports={"80/tcp": ""}), create(world, "ranged", ports={"80/tcp": "39999-40001"})
    start(world, ranged)
    start(world, free, first=40000, last=40001)
    ports = [world.now.endpoints_in(c)[0].bindings[0].port for c in (ranged, free)]
    assert ports == [39999, 40001]
    twin = create(world, "twin", ports={"80/tcp": "40000"})
    start(world, twin)  # by hand, the one that runs has it: a new version takes the port of the old one, which stays
    with pytest.raises(PortInUse, match="port is already allocated"):
        start(world, world.now.container("owner"))


names = st.sampled_from("abcdef")
steps = st.lists(
    st.tuples(
        st.sampled_from(["create", "start", "start", "stop", "remove"]), names, st.sampled_from(["", "", *EVERY[:4]])
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps)
def test_whatever_happens(steps: list[tuple[str, str, str]]) -> None:
    world = World()
    made = network(world)
    before: dict[str, str] = {}  # name → the address that it last had by chance
    for verb, name, by_hand in steps:
        known = world.now.container_names.get(name)
        container = world.now.containers.get(known or "")
        running = container is not None and world.now.sandbox(container) is not None
        if verb == "create" and container is None:
            create(world, name, by_hand)
            before.pop(name, None)
        elif verb == "start" and container and not running:
            asked = container.networks[made.id].ipam_config
            wanted = asked.ipv4_address if asked else ""
            claims = {
                c.networks[made.id].ipam_config.ipv4_address: c.id  # type: ignore[union-attr]
                for c in sorted(world.now.containers.values(), key=lambda c: (c.created, c.id), reverse=True)
                if c.networks[made.id].ipam_config
            }
            held = {e.address for e in world.now.endpoints.values()}
            try:
                found = start(world, container)
            except LinkspanError:
                assert wanted in held or claims[wanted] != container.id
                continue
            assert found not in held
            if wanted:
                assert found == wanted and claims[wanted] == container.id
            else:
                assert found not in claims
                if before.get(name) and before[name] not in held | claims.keys():
                    assert found == before[name]
                before[name] = found
        elif verb == "stop" and container and running:
            stop(world, container)
        elif verb == "remove" and container:
            remove(world, container)
    assert world.now == type(world.now)().after(
        put(record)
        for records in (world.now.networks, world.now.containers, world.now.sandboxes, world.now.endpoints)
        for record in records.values()
    )
