"""Ports of a container that is there: published and withdrawn, with everything else left as it is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.join import join, leave, port_requests
from linkspan.engine.publish import publish, withdraw
from linkspan.engine.render import render_touched, touched
from linkspan.errors import InvalidArgument, LinkspanError, NotFound, NotModified, PortInUse
from linkspan.ipam.ports import PortSpace, owners
from linkspan.model.container import Config, Container, PortBinding
from linkspan.model.endpoint import Endpoint
from linkspan.model.port import parse_withdrawal
from linkspan.model.snapshot import put
from linkspan.state.objects import BoundPort, NftElement
from linkspan.state.plan import Create, diff

from .conftest import DRIVERS, World

SPACE = PortSpace(first=40000, last=40009)
Asked = dict[str, tuple[PortBinding, ...] | None]


def asked(*words: str) -> Asked:
    """`8080:80`, `127.0.0.1:53:53/udp`, `:80` for a port of free choice."""
    found: Asked = {}
    for word in words:
        text, _, protocol = word.partition("/")
        where, _, port = text.rpartition(":")
        address, _, number = where.rpartition(":")
        key = f"{port}/{protocol or 'tcp'}"
        found[key] = (*(found.get(key) or ()), PortBinding(host_ip=address, host_port=number))
    return found


def running(world: World, name: str = "web", ports: dict[str, str] | None = None, **host: object) -> Container:
    made = world.container(name, ports=ports, **host)
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    return world.now.containers[made.id]


def more(world: World, container: Container, *words: str) -> tuple[str, ...]:
    change = publish(world.now, world.now.containers[container.id], asked(*words), SPACE)
    world.now = world.now.after(change.writes)
    return change.warnings


def fewer(world: World, container: Container, *words: str) -> None:
    wanted = [parse_withdrawal(word) for word in words]
    world.now = world.now.after(withdraw(world.now, world.now.containers[container.id], wanted, SPACE).writes)


def endpoint(world: World, container: Container) -> Endpoint:
    (found,) = world.now.endpoints_in(container)
    return found


def bindings(world: World, container: Container) -> list[str]:
    return [f"{b.address}:{b.port}->{b.container}" for b in endpoint(world, container).bindings]


def test_one_more_is_one_element_and_one_bound_port_more(world: World) -> None:
    web = running(world, ports={"80/tcp": "8080"})
    before = world.now
    change = publish(before, web, asked("127.0.0.1:53:53/udp"), SPACE)
    after = before.after(change.writes)
    parts = touched(before, after, change.writes)
    old, new = (render_touched(moment, parts, DRIVERS) for moment in (before, after))
    address = endpoint(world, web).address
    assert set(diff(old, new)) == {
        Create(BoundPort("udp", "127.0.0.1", 53)),
        Create(NftElement("published_at", "127.0.0.1 . udp . 53", f"{address} . 53", endpoint(world, web).id[:12])),
    }


def test_recorded_so_that_the_next_start_has_it_too(world: World) -> None:
    web = running(world, ports={"80/tcp": "8080"})
    more(world, web, "8081:80", "8443:443", ":81")
    fewer(world, web, "8080")
    expected = ["0.0.0.0:8081->80/tcp", "0.0.0.0:8443->443/tcp", "0.0.0.0:40000->81/tcp"]
    assert bindings(world, web) == expected
    assert endpoint(world, web).exposed == ("80/tcp", "81/tcp", "443/tcp")
    current = world.now.containers[web.id]
    assert current.host_config.port_bindings == asked("8081:80", "8443:443", ":81")
    stopped = msgspec.structs.replace(current, state=web.state)
    world.now = world.now.after(leave(world.now, current).writes)
    world.now = world.now.after(join(world.now, stopped, world.around(first=40000, last=40009)).writes)
    assert bindings(world, web) == expected


def test_a_container_that_does_not_run_is_only_asked_differently(world: World) -> None:
    web = world.container("web")
    more(world, web, "8080:80", "8000-8005:81")
    assert [str(r.container) for r in port_requests(world.now.containers[web.id])] == ["80/tcp", "81/tcp"]
    fewer(world, web, "8000-8005")
    assert world.now.containers[web.id].host_config.port_bindings == asked("8080:80")
    assert not world.now.endpoints


def test_what_is_taken_is_refused_in_dockers_words(world: World) -> None:
    web = running(world, ports={"80/tcp": "8080"})
    other = running(world, "other")
    for container, word in ((other, "8080:80"), (other, "127.0.0.1:8080:80"), (web, "8080:81")):
        with pytest.raises(
            PortInUse,
            match=r"driver failed programming external connectivity on endpoint .* "
            r"Bind for .*:8080 failed: port is already allocated",
        ):
            more(world, container, "8090:90", word)


def test_asked_for_already(world: World) -> None:
    web = running(world, ports={"80/tcp": "8080"})
    with pytest.raises(NotModified):
        more(world, web, "8080:80")
    more(world, web, "8080:80", "8081:80")
    assert bindings(world, web) == ["0.0.0.0:8080->80/tcp", "0.0.0.0:8081->80/tcp"]
    with pytest.raises(InvalidArgument, match="no port to publish"):
        publish(world.now, web, {"80/tcp": None}, SPACE)


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("8080", ["127.0.0.1:9000->80/tcp", "0.0.0.0:80->8081/tcp", "0.0.0.0:8080->80/udp"]),
        ("8080/udp", ["0.0.0.0:8080->80/tcp", "127.0.0.1:9000->80/tcp", "0.0.0.0:80->8081/tcp"]),
        (":80", ["0.0.0.0:80->8081/tcp", "0.0.0.0:8080->80/udp"]),
        ("80", ["0.0.0.0:8080->80/tcp", "127.0.0.1:9000->80/tcp", "0.0.0.0:8080->80/udp"]),
        ("8081", ["0.0.0.0:8080->80/tcp", "127.0.0.1:9000->80/tcp", "0.0.0.0:8080->80/udp"]),
        ("127.0.0.1:9000", ["0.0.0.0:8080->80/tcp", "0.0.0.0:80->8081/tcp", "0.0.0.0:8080->80/udp"]),
        ("127.0.0.1::80", ["0.0.0.0:8080->80/tcp", "0.0.0.0:80->8081/tcp", "0.0.0.0:8080->80/udp"]),
        ("8000-9999:80", ["0.0.0.0:80->8081/tcp", "0.0.0.0:8080->80/udp"]),
    ],
)
def test_named_by_the_hosts_port_by_the_containers_or_by_address(world: World, word: str, left: list[str]) -> None:
    web = running(world)
    more(world, web, "8080:80", "127.0.0.1:9000:80", "80:8081", "8080:80/udp")
    fewer(world, web, word)
    assert bindings(world, web) == left


@pytest.mark.parametrize("word", ["9", "8080/udp", "127.0.0.1:8080", "8080:81", ":443"])
def test_nothing_of_that_name_and_nothing_is_changed(world: World, word: str) -> None:
    web = running(world, ports={"80/tcp": "8080"})
    with pytest.raises(NotFound, match=f"No public port '{word}' published for web"):
        fewer(world, web, "8080", word)


@pytest.mark.parametrize("word", ["", "x", ":", "0", "80:80:80", "127.0.0.1", "[::1]", "80/icmp", "70000", "9-8"])
def test_words_that_name_no_port(word: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid"):
        parse_withdrawal(word)


def test_publish_all_keeps_what_it_has_chosen(world: World) -> None:
    made = world.container("web", publish_all_ports=True)
    made = msgspec.structs.replace(made, config=Config(exposed_ports={"80/tcp": {}, "443/tcp": {}, "53/udp": {}}))
    world.now = world.now.after([put(made)])
    world.now = world.now.after(join(world.now, made, world.around(first=40000, last=40009)).writes)
    before = bindings(world, made)
    more(world, made, "8080:80")
    assert set(bindings(world, made)) == {*before, "0.0.0.0:8080->80/tcp"}
    fewer(world, made, ":443", "8080")
    kept = [b for b in before if not b.endswith("->443/tcp")]
    assert set(bindings(world, made)) == set(kept)
    fewer(world, made, ":80")
    assert set(bindings(world, made)) == {b for b in kept if b.endswith("/udp")}


def test_a_port_of_free_choice_passes_over_what_a_process_of_the_host_holds(world: World) -> None:
    web = running(world)
    busy = PortSpace(40000, 40009, busy=frozenset({("tcp", "0.0.0.0", 40000)}))
    world.now = world.now.after(publish(world.now, web, asked(":80"), busy).writes)
    assert bindings(world, web) == ["0.0.0.0:40001->80/tcp"]


def test_where_there_is_nothing_to_publish_on(world: World) -> None:
    web = running(world)
    for mode, words in (
        (f"container:{web.id}", "container type network mode.*publish the port on container"),
        ("host", "host network mode"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            more(world, world.container(f"on-{mode[:4]}", mode), "8080:80")
    (warning,) = more(world, world.container("alone", "none"), "8080:80")
    assert "on no network that leads out" in warning


words = st.lists(
    st.sampled_from(["8080:80", "8081:80", "127.0.0.1:8082:80", ":80", ":81", "8083:81", "40000:82", "53:53/udp"]),
    min_size=1,
    max_size=3,
    unique=True,
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), words), max_size=12))
def test_whatever_the_way_the_bindings_answer_the_requests(steps: list[tuple[bool, list[str]]]) -> None:
    world = World()
    web = running(world)
    for add, some in steps:
        before = set(endpoint(world, web).bindings)
        try:
            if add:
                more(world, web, *some)
                assert before <= set(endpoint(world, web).bindings)
            else:
                fewer(world, web, *(f":{w.rpartition(':')[2]}" for w in some))
                assert set(endpoint(world, web).bindings) < before
        except LinkspanError:
            assert set(endpoint(world, web).bindings) == before
        current = world.now.containers[web.id]
        requests = set(port_requests(current))
        made = endpoint(world, web).bindings
        origin = owners(requests, made)
        assert len(set(made)) == len(made) == len(requests) and set(origin.values()) == requests
        assert all(r.first in (0, b.port) for b, r in origin.items())


def test_an_open_port_of_a_routed_network_stays_while_somebody_asks_for_it(world: World) -> None:
    routed = msgspec.structs.replace(world.now.network("bridge"), gateway_mode="routed")
    world.now = world.now.after([put(routed)])
    web = running(world, ports={"80/tcp": "8080"})
    before = endpoint(world, web).bindings
    more(world, web, "8081:80")
    assert endpoint(world, web).bindings == before
    fewer(world, web, ":80")
    assert endpoint(world, web).bindings == ()


def test_who_holds_a_port_is_one_value_for_all_that_nobody_else_holds(world: World) -> None:
    web = running(world, ports={f"{port}/tcp": f"{port}" for port in range(8000, 8100)})
    more(world, web, *(f"{port}:80" for port in range(9000, 9100)))
    holders = world.now.port_holders
    for first in (8000, 9000):
        assert len({id(holders["tcp", port]) for port in range(first, first + 100)}) == 1
    running(world, "other", ports={"80/tcp": "127.0.0.2:7000"})
    running(world, "third", ports={"80/tcp": "127.0.0.3:7000"})
    assert [held for held, _ in world.now.port_holders["tcp", 7000]] == ["127.0.0.2", "127.0.0.3"]
