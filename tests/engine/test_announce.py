"""Who announces its addresses, how often, and when."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from linkspan.engine.announce import PAUSE, TIMES, Announcement, announcement_problems, announcements
from linkspan.engine.join import connect, join
from linkspan.engine.networks import NetworkRequest, create_network
from linkspan.errors import InvalidArgument
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import EndpointSettings
from linkspan.model.network import Pool
from linkspan.model.snapshot import put
from linkspan.state.host import Underlay

from .conftest import DRIVERS, HOST, World


def network(world: World, driver: str, **options: str) -> str:
    request = NetworkRequest(
        id=world.ids(1)[0],
        created="",
        name="net",
        driver=driver,
        pools=(Pool(subnet="10.9.0.0/24"),),
        options={name: value for name, value in options.items() if value},
    )
    member = dataclasses.replace(HOST, host_id="h", underlay=Underlay("eth0", "10.211.55.4"))
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, member).writes)
    return request.id


def said(world: World, settings: EndpointSettings) -> list[Announcement]:
    """By a container that starts on the network."""
    made = world.container("one", "net")
    made = msgspec.structs.replace(made, networks={world.now.network("net").id: settings})
    before = world.now.after([put(made)])
    world.now = before.after(join(before, made, world.around()).writes)
    return list(announcements(before, world.now, [made.id]))


@pytest.mark.parametrize(
    ("driver", "options", "settings", "expected"),
    [
        ("macvlan", {"parent": "eth0"}, {}, (3, 1.0)),
        ("macvlan", {"parent": "eth0", TIMES: "0"}, {}, None),
        ("macvlan", {"parent": "eth0", TIMES: "1", PAUSE: "100"}, {}, (1, 0.1)),
        ("macvlan", {"parent": "eth0", TIMES: "1"}, {"driver_opts": {TIMES: "2", PAUSE: "200"}}, (2, 0.2)),
        ("ipvlan", {"parent": "eth0"}, {}, (3, 1.0)),
        ("bridge", {}, {}, None),
        ("bridge", {TIMES: "3"}, {}, (3, 1.0)),
        ("bridge", {}, {"driver_opts": {TIMES: "1"}}, (1, 1.0)),
        ("bridge", {}, {"mac_address": "02:00:00:00:00:01"}, (3, 1.0)),
        ("overlay", {}, {}, None),
        ("overlay", {}, {"mac_address": "02:00:00:00:00:01"}, (3, 1.0)),
    ],
    ids=str,
)
def test_how_often(
    world: World,
    driver: str,
    options: dict[str, str],
    settings: dict[str, object],
    expected: tuple[int, float] | None,
) -> None:
    network(world, driver, **options)
    found = said(world, EndpointSettings(**settings))  # type: ignore[arg-type]
    assert [(a.times, a.pause) for a in found] == ([expected] if expected else [])
    (endpoint,) = world.now.endpoints.values()
    for announcement in found:
        assert (announcement.interface, announcement.addresses) == ("eth0", (endpoint.address,))


def test_only_what_is_new_is_announced(world: World) -> None:
    made = world.container("one")
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    world.run(made)
    id_ = network(world, "macvlan", parent="eth0")
    before = world.now
    change = connect(before, before.containers[made.id], before.networks[id_], EndpointSettings(), world.around())
    after = before.after(change.writes)
    (found,) = announcements(before, after, [made.id])
    assert (found.interface, found.addresses) == ("eth1", ("10.9.0.2",))
    assert list(announcements(after, after, [made.id])) == list(announcements(after, before, [made.id])) == []


def test_what_is_wrong_with_the_options(world: World) -> None:
    wrong = {TIMES: "4", PAUSE: "soon"}
    problems = [
        f"{TIMES} must be in the range 0 to 3",
        f'value for option {PAUSE} "soon" must be integer milliseconds',
    ]
    assert list(announcement_problems(wrong)) == problems
    assert list(announcement_problems({TIMES: "-1", PAUSE: "99"})) == [
        f"{TIMES} must be in the range 0 to 3",
        f"{PAUSE} must be in the range 100 to 2000",
    ]
    with pytest.raises(InvalidArgument, match="must be in the range 0 to 3\nvalue for option"):
        network(world, "bridge", **wrong)
