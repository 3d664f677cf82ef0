"""Limits of one attachment: how they are written, and what is rendered."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.engine.bandwidth import set_bandwidth
from linkspan.engine.join import join, leave
from linkspan.engine.networks import NetworkRequest, create_network
from linkspan.engine.render import render_all
from linkspan.errors import Forbidden, InvalidArgument, NotFound
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.bandwidth import Bandwidth, parse_bandwidth
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.network import Pool
from linkspan.model.snapshot import put
from linkspan.state.objects import HOST as HERE
from linkspan.state.objects import Shaper

from .conftest import DRIVERS, HOST, World


@pytest.mark.parametrize(
    ("rate", "burst", "expected"),
    [
        ("10mbit", "", (10_000_000, 65_536)),
        ("10mbit", "32kb", (10_000_000, 32_768)),
        ("1.5Gbit", "", (1_500_000_000, 1_875_000)),
        ("8001", "2000", (8_000, 2_000)),
        ("500kbit", "1m", (500_000, 1_048_576)),
    ],
)
def test_written_as_tc_does(rate: str, burst: str, expected: tuple[int, int]) -> None:
    assert parse_bandwidth(rate, burst) == Bandwidth(rate=expected[0], burst=expected[1])


def test_no_limit() -> None:
    assert parse_bandwidth("") is parse_bandwidth("0") is parse_bandwidth("0mbit") is None


@pytest.mark.parametrize(
    ("rate", "burst", "words"),
    [
        ("fast", "", "invalid rate: 'fast': use a number and bit, kbit, mbit, gbit, tbit: 10mbit"),
        ("10mbps", "", "invalid rate: '10mbps'"),
        ("-1mbit", "", "invalid rate"),
        ("7kbit", "", "invalid rate: '7kbit': use 8kbit to 1tbit"),
        ("2tbit", "", "use 8kbit to 1tbit"),
        ("10mbit", "lots", "invalid burst: 'lots': use a number and b, k, kb, m, mb, g, gb: 32kb"),
        ("10mbit", "1kb", "what is smaller lets no whole packet pass"),
        ("", "32kb", "it belongs to a rate"),
    ],
)
def test_refused(rate: str, burst: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_bandwidth(rate, burst)


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_but_an_error_of_ours(rate: str, burst: str) -> None:
    try:
        found = parse_bandwidth(rate, burst)
    except InvalidArgument:
        return
    assert found is None or (found.rate % 8 == 0 and found.burst >= 2_000)


def running(world: World, network: str, **options: str) -> Container:
    made = world.container("web", network)
    made = msgspec.structs.replace(
        made, networks={world.now.network(network).id: EndpointSettings(driver_opts=options or None)}
    )
    world.now = world.now.after([put(made)])
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    return world.now.containers[made.id]


def limits(world: World) -> set[tuple[str, bool, int, int]]:
    """What is limited: whose interface, whether inward, rate and burst."""
    found = (o for o in render_all(world.now, DRIVERS, HOST).values() if isinstance(o, Shaper))
    return {("host" if o.namespace == HERE else "sandbox", o.inward, o.rate, o.burst) for o in found}


def test_both_ends_of_a_veth_and_both_ways_of_a_macvlan(world: World) -> None:
    running(world, "bridge", rate="10mbit", burst="32kb")
    assert limits(world) == {("host", False, 10_000_000, 32_768), ("sandbox", False, 10_000_000, 32_768)}
    request = NetworkRequest(
        id=world.ids(1)[0],
        created="",
        name="lan",
        driver="macvlan",
        pools=(Pool(subnet="10.9.0.0/24"),),
        options={"parent": "eth0"},
    )
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    running(world, "lan", rate="20mbit")
    lan = {(where, inward) for where, inward, rate, _ in limits(world) if rate == 20_000_000}
    assert lan == {("sandbox", False), ("sandbox", True)}


def test_changed_while_it_runs_and_kept_for_later(world: World) -> None:
    web = running(world, "bridge")
    bridge = world.now.network("bridge")
    assert limits(world) == set()
    for rate, burst, expected in (("10mbit", "32kb", 32_768), ("10mbit", "", 65_536)):
        world.now = world.now.after(set_bandwidth(world.now, world.now.containers[web.id], bridge, rate, burst).writes)
        assert {limit[3] for limit in limits(world)} == {expected}
    settings = world.now.containers[web.id].networks[bridge.id]
    assert settings.driver_opts == {"rate": "10mbit"}
    world.now = world.now.after(leave(world.now, world.now.containers[web.id], removed=True).writes)
    assert limits(world) == set()
    world.now = world.now.after(join(world.now, world.now.containers[web.id], world.around()).writes)
    assert len(limits(world)) == 2
    world.now = world.now.after(set_bandwidth(world.now, world.now.containers[web.id], bridge, "", "").writes)
    assert limits(world) == set() and world.now.containers[web.id].networks[bridge.id].driver_opts is None


def test_where_there_is_nothing_to_limit(world: World) -> None:
    web = running(world, "bridge")
    host = world.container("seen", "host")
    with pytest.raises(NotFound, match="container web is not connected to network host"):
        set_bandwidth(world.now, web, world.now.network("host"), "10mbit", "")
    with pytest.raises(Forbidden, match="network host has no interface of the container's own to limit"):
        set_bandwidth(world.now, host, world.now.network("host"), "10mbit", "")
