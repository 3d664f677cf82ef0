"""Routers of others as peers: FRR and GoBGP on top of the rack, and in BIRD's place on a host."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator

import pytest

from linkspan.engine.bgp.words import Session
from linkspan.model.snapshot import Snapshot, drop
from tests.bgp.lab import CLIENT, MISSING, TOR, TOR2, Lab, Router, Speaker, answers, until
from tests.bgp.records import NAMES, block, configuration, peer, snapshot
from tests.hosts import needs_root

pytestmark = [
    needs_root,
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}: make test installs them"),
]
RACK = peer("rack", peerIP=TOR, asNumber=65001, password={"value": "s3cret"})
OTHER = peer("other", peerIP=TOR2, asNumber=65002)
SAID = configuration(
    communities=[{"name": "ours", "value": "64512:65"}],
    prefixAdvertisements=[{"cidr": "10.65.0.0/16", "communities": ["ours", "64512:1:2"]}],
)
WHY = "Received: Administrative reset"
BLOCKS = {f"10.65.{number}.0/26" for number in (1, 2, 3)}


def frr(*networks: str, password: str = "s3cret", own_as: int = 65001) -> str:
    sessions = [
        f" neighbor {address} {words}"
        for address in ("10.211.55.4", "10.211.55.5", "10.211.55.6")
        for words in ("remote-as 64512", f"password {password}", "timers connect 1")
    ]
    announced = [f"  network {network}" for network in networks]
    return "\n".join(
        [
            f"router bgp {own_as}",
            f" bgp router-id {TOR}",
            " no bgp ebgp-requires-policy",
            " no bgp network import-check",
            *sessions,
            " address-family ipv4 unicast",
            *announced,
            " exit-address-family",
            "",
        ]
    )


def gobgp() -> str:
    text = f'[global.config]\nas = 65002\nrouter-id = "{TOR2}"\n'
    for address in ("10.211.55.4", "10.211.55.5", "10.211.55.6"):
        text += f'[[neighbors]]\n[neighbors.config]\nneighbor-address = "{address}"\npeer-as = 64512\n'
        text += "[neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n"
    return text


@pytest.fixture(scope="module")
def racked(fabric: Lab) -> Iterator[Lab]:
    """With FRR on top of the rack, which has a machine behind it."""
    fabric.router.frr(frr("192.0.2.0/24", "198.51.100.0/24"))
    fabric.add(SAID, RACK)
    for name in NAMES:
        until(lambda name=name: "rack" in fabric[name].peers(), f"{name} has the router for a peer")
    yield fabric
    for speaker in fabric.speakers.values():
        speaker.set(speaker.snapshot.after([drop(SAID), drop(RACK)]))


def test_a_machine_behind_the_router_reaches_everybody(racked: Lab) -> None:
    until(lambda: set(frr_routes(racked.router)) >= BLOCKS, "the router knows all blocks")
    for name in NAMES:
        until(lambda name=name: racked[name].routes().get("192.0.2.0/24") == TOR, f"{name} knows the way back")
        client, host = racked.places["client"], racked.places[name]
        own = f"10.65.{name[1:]}.5"
        assert answers(client, host, own)
        assert answers(host, client, CLIENT, source=own)
    shown = json.loads(racked.router.vtysh("show bgp ipv4 unicast 10.65.1.0/26 json"))
    (path,) = shown["paths"]  # its owner alone announces it
    assert path["community"]["string"] == "64512:65" and path["largeCommunity"]["string"] == "64512:1:2"
    assert path["nexthops"][0]["ip"] == "10.211.55.4"


def frr_routes(router: Router) -> list[str]:
    return [route["dst"] for route in router.host.json("ip", "-j", "route", "show", "proto", "bgp")]


def test_what_is_ours_is_taken_from_nobody(racked: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Nor parts of it, nor what hides it, nor a way out of the host; what else the router says is."""
    stolen = ("10.65.1.0/26", "10.65.1.32/28", "10.65.0.0/20")
    more = (*stolen, "0.0.0.0/0", "10.0.0.0/8")
    h1, h2 = racked["h1"], racked["h2"]
    add = [f"network {prefix}" for prefix in more]
    racked.router.vtysh("configure terminal", "router bgp 65001", "address-family ipv4 unicast", *add)
    until(lambda: "10.0.0.0/8" in h1.routes(), "it takes what is not ours")
    until(lambda: {one.prefix for one in h1.view().refused} == set(stolen), "it says what it does not take")
    assert {one.by for one in h1.view().refused} == {"rack"}
    assert not {*stolen, "default"} & set(h1.routes())
    until(lambda: {one.prefix for one in h2.view().refused} == {"10.65.0.0/20"}, "h2's block is in that too")
    assert h2.routes()["10.65.1.0/26"] == "10.211.55.4"  # its owner's word, not the router's
    assert "BGP: rack announces 10.65.1.0/26, which is this host's own: it is not taken" in caplog.messages
    remove = [f"no {one}" for one in add]
    racked.router.vtysh("configure terminal", "router bgp 65001", "address-family ipv4 unicast", *remove)
    until(lambda: not h1.view().refused and "10.0.0.0/8" not in h1.routes(), "it is taken back")


def session(speaker: Speaker, said: str) -> Session:
    (view,) = [view for view in speaker.view().sessions if view.neighbour.said == said]
    assert view.session
    return view.session


def test_a_router_that_flaps_is_said_and_disturbs_nobody_else(racked: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    h1 = racked["h1"]
    for _ in range(3):
        before = session(h1, "rack")
        racked.router.vtysh("clear bgp 10.211.55.4")
        until(lambda before=before: (now := session(h1, "rack")).up and now.is_another_than(before), "it is back", 40)
    until(lambda: h1.routes().get("192.0.2.0/24") == TOR, "its routes are back")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    ours = [one for one in said if one.startswith("BGP: rack (10.211.55.9) ")]
    assert ours[-1] == "BGP: rack (10.211.55.9) flaps: it has gone 3 times in five minutes, the last time: " + WHY
    (view,) = [view for view in h1.view().sessions if view.neighbour.said == "rack"]
    assert view.gone == 3 == len(ours)
    assert "host h2" in h1.peers()
    assert [one for one in said if "rack" not in one] == []


def test_ipv6_is_told_over_ipv6(racked: Lab) -> None:
    racked.router.host.run("ip", "address", "add", "fd55::9/64", "dev", "eth0")
    place = ("configure terminal", "router bgp 65001")
    sessions = [
        f"neighbor fd55::{number} {word}" for number in (4, 5, 6) for word in ("remote-as 64512", "timers connect 1")
    ]
    racked.router.vtysh(*place, *sessions)
    active = [f"neighbor fd55::{number} activate" for number in (4, 5, 6)]
    racked.router.vtysh(*place, "address-family ipv6 unicast", "network 2001:db8::/64", *active)
    six = peer("six", peerIP="fd55::9", asNumber=65001)
    racked.add(six)
    known = racked.router.host
    for name in NAMES:
        until(lambda name=name: "2001:db8::/64" in racked[name].routes(version=6), f"{name} knows it")
        block6 = f"fd65::{name[1:]}00/122"
        until(
            lambda block6=block6: block6 in known.run("ip", "-6", "route", "show", "proto", "bgp"), f"and it {block6}"
        )
        assert answers(known, racked.places[name], f"fd65::{name[1:]}05")
    for speaker in racked.speakers.values():
        speaker.set(speaker.snapshot.after([drop(six)]))
    until(lambda: "2001:db8::/64" not in racked["h1"].routes(version=6), "it has gone")


def test_another_password_is_no_peer(racked: Lab) -> None:
    h3 = racked["h3"]
    h3.add(peer("rack", peerIP=TOR, asNumber=65001, password={"value": "other"}))
    until(lambda: "rack" not in h3.peers(), "it has no session")
    until(lambda: "192.0.2.0/24" not in h3.routes(), "nor its routes")
    (view,) = [view for view in h3.view().sessions if view.neighbour.said == "rack"]
    assert view.session and view.session.trouble
    assert "rack" in racked["h1"].peers() and h3.peers() == ["host h1", "host h2"]
    h3.add(RACK)
    until(lambda: "rack" in h3.peers(), "with the right one it has", 40)


def test_gobgp_as_a_router_and_two_ways_of_equal_cost(racked: Lab) -> None:
    racked.other.gobgp(gobgp())
    racked.add(OTHER)
    for name in NAMES:
        until(lambda name=name: "other" in racked[name].peers(), f"{name} has it for a peer", 30)
    until(lambda: all(block in racked.other.ask("global", "rib") for block in BLOCKS), "it knows all blocks")
    racked.other.ask("global", "rib", "add", "198.51.100.0/24", "origin", "igp")
    h1 = racked["h1"]
    until(lambda: h1.routes().get("198.51.100.0/24") == "several", "both ways are used")
    ways = h1.host.run("ip", "route", "show", "198.51.100.0/24")
    assert f"via {TOR} " in ways and f"via {TOR2} " in ways
    for speaker in racked.speakers.values():
        speaker.set(speaker.snapshot.after([drop(OTHER)]))
    until(lambda: h1.routes().get("198.51.100.0/24") == TOR, "one is left")


@contextlib.contextmanager
def in_birds_place(racked: Lab) -> Iterator[tuple[Speaker, Router]]:
    """h3 without BIRD, with the files for somebody else's."""
    h3 = racked["h3"]
    until(lambda: "rack" in h3.peers() and h3.routes(), "BIRD is there")
    h3.let_go()
    h3.mode = "external"
    h3.start()
    until(lambda: not h3.routes() and not (h3.folder / "bgp" / "bird.conf").exists(), "BIRD of before has gone")
    instead = Router(h3.host, racked.folder / "i")
    try:
        for name in ("frr.conf", "gobgpd.toml", "gobgp.prefixes"):
            until((h3.folder / "bgp" / name).exists, f"{name} is written")
            assert (h3.folder / "bgp" / name).stat().st_mode & 0o777 == 0o600
        yield h3, instead
        h3.set(Snapshot())
        until(lambda: not (h3.folder / "bgp" / "frr.conf").exists(), "they go with the last network")
    finally:
        instead.end()
        instead.folder.rmdir()
        h3.let_go()
        h3.mode, h3.snapshot = "bird", snapshot("h3", SAID, RACK)
        h3.start()


STOLEN = ("10.65.3.0/26", "10.65.3.0/28", "10.65.0.0/20", "0.0.0.0/0")


@contextlib.contextmanager
def stealing(router: Router) -> Iterator[None]:
    """The router announces h3's block, a part of it, what hides it, and a way out; and 10.0.0.0/8, which may be."""
    place = ("configure terminal", "router bgp 65001", "address-family ipv4 unicast")
    lines = [f"network {prefix}" for prefix in (*STOLEN, "10.0.0.0/8")]
    router.vtysh(*place, *lines)
    yield
    router.vtysh(*place, *(f"no {line}" for line in lines))


def test_frr_in_birds_place_on_a_host(racked: Lab) -> None:
    """With the file that is written for it, it says and takes the same."""
    with in_birds_place(racked) as (h3, instead):
        written = h3.folder / "bgp" / "frr.conf"
        instead.frr(written.read_text())
        others = BLOCKS - {"10.65.3.0/26"}
        until(lambda: set(h3.routes("bgp")) == {*others, "192.0.2.0/24", "198.51.100.0/24"}, "it takes all")
        for name in ("h1", "h2"):
            until(lambda name=name: "10.65.3.0/26" in racked[name].routes(), f"{name} knows its block")
        (path,) = json.loads(racked.router.vtysh("show bgp ipv4 unicast 10.65.3.0/26 json"))["paths"]
        assert path["community"]["string"] == "64512:65"
        with stealing(racked.router):
            until(lambda: "10.0.0.0/8" in h3.routes("bgp"), "it takes what is not ours")
            assert not {*STOLEN, "default"} & set(h3.routes("bgp"))
        before = written.read_text()
        h3.add(block("h3", "10.65.79.0/26"))
        until(lambda: "network 10.65.79.0/26" in written.read_text() != before, "it is written anew")


def test_gobgp_in_birds_place_on_a_host(racked: Lab) -> None:
    """It announces the same, and its peers are the same; routes in the kernel it makes none."""
    with in_birds_place(racked) as (h3, instead):
        instead.gobgp((h3.folder / "bgp" / "gobgpd.toml").read_text())
        until(lambda: instead.ask("neighbor").count("Establ") >= 5, "its peers, by both versions, and the router", 30)
        for prefix in (h3.folder / "bgp" / "gobgp.prefixes").read_text().split():
            instead.ask("global", "rib", "add", "-a", "ipv6" if ":" in prefix else "ipv4", prefix, "origin", "igp")
        for name in ("h1", "h2"):
            until(lambda name=name: "10.65.3.0/26" in racked[name].routes(), f"{name} knows its block")
            until(lambda name=name: "fd65::300/122" in racked[name].routes(version=6), f"{name} knows that of IPv6")
        (path,) = json.loads(racked.router.vtysh("show bgp ipv4 unicast 10.65.3.0/26 json"))["paths"]
        assert path["community"]["string"] == "64512:65" and path["largeCommunity"]["string"] == "64512:1:2"
        with stealing(racked.router):
            until(lambda: "10.0.0.0/8" in instead.ask("global", "rib"), "it takes what is not ours")
            known = instead.ask("global", "rib").split()
            assert "10.65.1.0/26" in known and not {*STOLEN[1:]} & {*known}
        assert racked["h1"].routes()["10.65.3.0/26"] == "10.211.55.6"
