"""Addresses that belong to an identity: kept, rested, numbered, given by hand, and never held twice."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.join import disconnect, join, leave
from linkspan.engine.networks import NetworkRequest, create_network, remove_network
from linkspan.engine.reservations import BY_HAND, release, release_by_hand, reserve_by_hand, rested
from linkspan.errors import Conflict, Forbidden, InvalidArgument, NotFound
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import Container, EndpointIpamConfig, EndpointSettings
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, drop, put

from .conftest import DRIVERS, World
from .test_flat import FACTS, LAN

NOON = "2026-01-01T12:00:00.000000000Z"
LATER = "2026-01-01T12:09:59.000000000Z"
MUCH_LATER = "2026-01-01T12:10:00.000000000Z"


class Place(World):
    def network(self, pool: Pool = LAN, **options: str) -> Network:
        request = NetworkRequest(
            id=self.ids(1)[0], name="lan", driver="flat", pools=(pool,), options={"parent": "eth0"} | options
        )
        self.now = self.now.after(create_network(self.now, request, DRIVERS, DEFAULT_SOURCES, FACTS).writes)
        return self.now.network("lan")

    def start(self, name: str, labels: dict[str, str] | None = None, *, occupied: Collection[str] = ()) -> str:
        """The container's address, made where there is none of that name."""
        known = self.now.container_names.get(name)
        made = self.now.containers[known] if known else self.container(name, "lan")
        if labels and not known:
            made = msgspec.structs.replace(made, config=msgspec.structs.replace(made.config, labels=labels))
            self.now = self.now.after([put(made)])
        heard = frozenset((self.now.network("lan").id, int(ipaddress.ip_address(a))) for a in occupied)
        around = dataclasses.replace(self.around(), occupied=heard)
        self.now = self.now.after(join(self.now, made, around).writes)
        (endpoint,) = self.now.endpoints_in(made)
        return endpoint.address

    def stop(self, name: str) -> Container:
        made = self.now.container(name)
        self.now = self.now.after(leave(self.now, made).writes)
        return made

    def remove(self, name: str, now: str = NOON) -> None:
        made = self.stop(name)
        self.now = self.now.after([*release(self.now, made, now), drop(made)])

    def pass_time(self, now: str) -> None:
        self.now = self.now.after(rested(self.now, now, ""))

    @property
    def kept(self) -> dict[str, str]:
        return {r.identity: r.address for r in self.now.reservations.values()}


@pytest.fixture
def place() -> Place:
    return Place()


def test_an_address_stays_its_names(place: Place) -> None:
    place.network()
    assert [place.start(name) for name in ("web", "db")] == ["10.211.55.128", "10.211.55.129"]
    place.stop("web")
    assert place.start("other") == "10.211.55.130"  # not that of a container that is stopped
    assert place.start("web") == "10.211.55.128"
    place.remove("web")
    place.remove("db")
    assert place.start("third") == "10.211.55.131"  # they rest
    assert place.start("db") == "10.211.55.129"  # made anew
    place.pass_time(LATER)
    assert place.kept["web"] == "10.211.55.128"
    place.pass_time(MUCH_LATER)
    assert "web" not in place.kept and place.kept["db"] == "10.211.55.129"


def test_without_a_rest_and_without_an_identity(place: Place) -> None:
    place.network(rest="0")
    place.start("web")
    place.remove("web")
    assert place.kept == {}
    place.now = place.now.after(remove_network(place.now, place.now.network("lan")).writes)
    place.network(identity="none")
    place.start("web")
    assert place.kept == {}


def test_labels_are_an_identity_of_several(place: Place) -> None:
    place.network(identity="label:app,role")
    alike = {"app": "shop", "role": "web", "more": "x"}
    assert [place.start(name, alike) for name in ("a", "b", "c")] == [f"10.211.55.{n}" for n in (128, 129, 130)]
    place.start("stranger", {"app": "shop"})
    assert place.kept == {
        "app=shop,role=web": "10.211.55.128",
        "app=shop,role=web#2": "10.211.55.129",
        "app=shop,role=web#3": "10.211.55.130",
    }
    place.remove("b")
    assert place.start("d", alike) == "10.211.55.129"
    place.stop("c")
    place.remove("a")
    assert place.start("c") == "10.211.55.130"
    assert place.start("e", alike) == "10.211.55.128"


def test_a_container_with_another_name_keeps_its_address(place: Place) -> None:
    place.network()
    place.start("web")
    made = place.stop("web")
    place.now = place.now.after([put(msgspec.structs.replace(made, name="shop"))])
    assert place.start("shop") == "10.211.55.128"
    assert place.kept == {"shop": "10.211.55.128"}


def test_an_address_by_hand(place: Place) -> None:
    network = place.network()
    place.start("web")
    place.remove("web")

    def asking(name: str, address: str) -> Container:
        made = place.container(name, "lan")
        asked = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address=address))
        return msgspec.structs.replace(made, networks={network.id: asked})

    with pytest.raises(Forbidden, match=r"Address already in use: 10.211.55.128 is reserved for web"):
        join(place.now, asking("db", "10.211.55.128"), place.around())
    place.now = place.now.after(join(place.now, asking("web", "10.211.55.128"), place.around()).writes)
    place.now = place.now.after(join(place.now, asking("x", "10.211.55.150"), place.around()).writes)
    assert place.kept == {"web": "10.211.55.128", "x": "10.211.55.150"}


def test_one_that_somebody_on_the_wire_has(place: Place) -> None:
    place.network()
    assert place.start("web", occupied={"10.211.55.128", "10.211.55.129"}) == "10.211.55.130"
    place.stop("web")
    assert place.start("web", occupied={"10.211.55.130"}) == "10.211.55.128"
    assert place.kept == {"web": "10.211.55.128"}


def test_off_the_network_it_rests(place: Place) -> None:
    network = place.network()
    place.start("web")
    made = place.now.container("web")
    place.now = place.now.after(disconnect(place.now, made, network, now=NOON).writes)
    (kept,) = place.now.reservations.values()
    assert (kept.identity, kept.released, kept.holder) == ("web", NOON, "")


def test_reserved_and_released_by_hand(place: Place) -> None:
    network = place.network()
    for identity, address, kind, says in (
        ("web", "10.9.9.9", InvalidArgument, "in no subnet of network lan"),
        ("web", "nine", InvalidArgument, "invalid address: 'nine'"),
        ("a/b", "10.211.55.140", InvalidArgument, "invalid identity"),
    ):
        with pytest.raises(kind, match=says):
            reserve_by_hand(place.now, network, identity, address, "")
    place.now = place.now.after([reserve_by_hand(place.now, network, "web", "10.211.55.140", "")])
    with pytest.raises(Conflict, match=r"Address already in use: 10.211.55.140"):
        reserve_by_hand(place.now, network, "db", "10.211.55.140", "")
    with pytest.raises(Conflict, match=r"web has 10.211.55.140 on network lan"):
        reserve_by_hand(place.now, network, "web", "10.211.55.141", "")
    assert place.now.reservations[f"{network.id}/web"].released == BY_HAND
    place.pass_time(MUCH_LATER)
    assert place.start("web") == "10.211.55.140"
    with pytest.raises(Conflict, match=r"10.211.55.140 is the address of container web"):
        release_by_hand(place.now, network, "web")
    with pytest.raises(NotFound, match="nothing is reserved for db on network lan"):
        release_by_hand(place.now, network, "db")
    place.remove("web")
    place.now = place.now.after([release_by_hand(place.now, network, "web")])
    assert place.kept == {}


def test_a_thousand_containers_into_exactly_a_thousand_addresses(place: Place) -> None:
    """None is left over, none is held twice; and the same again in another order."""
    place.network(Pool(subnet="10.20.0.0/16", ip_range="10.20.0.0/22"), exclude="10.20.0.1-10.20.0.23", rest="0")
    names = [f"c{number}" for number in range(1000)]
    first = {name: place.start(name) for name in names}
    wanted = {f"10.20.{n >> 8}.{n & 255}" for n in range(24, 1024)}
    assert set(first.values()) == wanted
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        place.start("one too many")
    for name in names[::3]:
        place.stop(name)
    for name in reversed(names[::3]):
        assert place.start(name) == first[name]
    for name in names:
        place.remove(name)
    again = [place.start(f"d{number}") for number in range(1000)]
    assert set(again) == wanted


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("start", "stop", "remove", "wait")), st.integers(0, 5)), max_size=40))
def test_no_address_is_ever_held_twice(steps: list[tuple[str, int]]) -> None:
    place = Place()
    place.network(Pool(subnet="10.20.0.0/24", ip_range="10.20.0.8/29"))
    last: dict[str, str] = {}
    for verb, number in steps:
        name = f"c{number}"
        there = place.now.container_names.get(name)
        runs = bool(there and place.now.endpoints_of.get(there))
        if verb == "start" and not runs:
            address = place.start(name)
            assert last.get(name, address) == address
            last[name] = address
        elif verb == "stop" and runs:
            place.stop(name)
        elif verb == "remove" and there:
            place.remove(name)
        elif verb == "wait":
            gone = {r.identity for r in place.now.reservations.values() if r.released}
            place.pass_time(MUCH_LATER)
            last = {name: address for name, address in last.items() if name not in gone}
        _check(place.now)


def _check(now: Snapshot) -> None:
    held = [e.address for e in now.endpoints.values()]
    kept = [r.address for r in now.reservations.values()]
    assert len(set(held)) == len(held) and len(set(kept)) == len(kept)
    assert set(held) <= set(kept)
