"""Hosts that are each other's peers, with real BIRDs: what they learn, and what a BIRD that dies costs."""

from __future__ import annotations

import pytest

from linkspan.engine.bgp.resources import REFLECTOR
from linkspan.model.snapshot import drop
from tests.bgp.lab import MISSING, Flow, Lab, Speaker, kill, until
from tests.bgp.records import block, configuration, endpoint, host, peer, remote
from tests.hosts import needs_root

pytestmark = [
    needs_root,
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}: make test installs them"),
]


def meshed(fabric: Lab) -> None:
    for speaker in fabric.speakers.values():
        until(lambda s=speaker: len(s.peers()) >= 2, f"{speaker.name} has its peers")
        for version in (4, 6):
            until(lambda s=speaker, v=version: len(s.routes(version=v)) >= 2, f"{speaker.name} knows the others")


def test_everybody_reaches_everybody_by_both_versions(fabric: Lab) -> None:
    meshed(fabric)
    assert fabric["h1"].routes() == {"10.65.2.0/26": "10.211.55.5", "10.65.3.0/26": "10.211.55.6"}
    for number in (2, 3):
        for address in (f"10.65.{number}.5", f"fd65::{number}05"):
            assert fabric.reached("h1", f"h{number}", address)
    shown = fabric["h1"].host.run("ip", "route", "show", "10.65.2.0/26")
    assert "src 10.211.55.4" in shown and "metric 76" in shown


def test_an_address_that_is_elsewhere_than_its_block(fabric: Lab) -> None:
    """It has come to h2 with its container, out of h1's block."""
    meshed(fabric)
    moved = endpoint("10.65.1.9")
    fabric["h2"].add(moved)
    until(lambda: "10.65.1.9" in fabric["h3"].routes(), "h3 follows at once")
    # h1, whose block it is of, takes it by its records' word only.
    assert "10.65.1.9" not in fabric["h1"].routes()
    until(lambda: fabric["h1"].view().refused, "h1 has noticed")
    ((refused),) = fabric["h1"].view().refused
    assert (refused.prefix, refused.by) == ("10.65.1.9/32", "host h2")
    there = remote("h2", "10.65.1.9")
    fabric["h1"].add(there)
    until(lambda: fabric["h1"].routes().get("10.65.1.9") == "10.211.55.5", "h1 follows its records")
    assert not fabric["h1"].view().refused
    fabric["h2"].set(fabric["h2"].snapshot.after([drop(moved)]))
    until(lambda: "10.65.1.9" not in fabric["h3"].routes(), "it has gone")
    fabric["h1"].set(fabric["h1"].snapshot.after([drop(there)]))


def test_a_bird_that_is_killed_and_a_daemon_that_restarts_lose_no_packet(fabric: Lab) -> None:
    meshed(fabric)
    h1, h2 = fabric["h1"], fabric["h2"]
    with Flow(h1.host, h2.host, "10.65.2.5") as there, Flow(h2.host, h1.host, "10.65.1.5") as back:
        until(lambda: there.answered > 20 and back.answered > 20, "packets flow")
        pid = h1.pid
        kill(pid)
        until(lambda: h1.keeper and h1.keeper.bird.now() and h1.pid != pid, "it is there again")
        until(lambda: len(h1.peers()) == 2, "and has its peers", 30)
        # With a change that it is told when it is there again.
        pid = h1.pid
        h1.let_go()
        extra = block("h1", "10.65.77.0/26")
        h1.snapshot = h1.snapshot.after([])
        h1.start()
        until(lambda: len(h1.peers()) == 2, "the next daemon has found it")
        assert h1.pid == pid
        h1.add(extra)
        until(lambda: "10.65.77.0/26" in h2.routes(), "it is told of a change")
        # And where both are away: BIRD dies while no daemon looks.
        h1.let_go()
        kill(pid)
        h1.start()
        until(lambda: "10.65.77.0/26" in h2.routes() and len(h1.peers()) == 2, "all is as it was", 30)
        h1.set(h1.snapshot.after([drop(extra)]))
        until(lambda: "10.65.77.0/26" not in h2.routes(), "it has gone")
    assert (there.answered, back.answered) == (there.sent, back.sent)


def reflected(speaker: Speaker) -> bool:
    """Whether it knows a way by h1's word that is not h1's own."""
    (view,) = [v for v in speaker.view().sessions if v.neighbour.said == "host h1" and v.neighbour.version == 4]
    return view.session is not None and view.session.imported >= 2


def test_a_route_reflector_in_place_of_the_mesh(fabric: Lab) -> None:
    """h1 tells h2 and h3 of each other; packets go straight."""
    meshed(fabric)
    alone = (configuration(nodeToNodeMeshEnabled=False), peer("r", peerSelector="role == 'reflector'"))
    labels = {"role": "reflector", REFLECTOR: ""}
    h1, h2, h3 = fabric.speakers.values()
    h1.labels = labels
    reflector = host("h1", labels)
    with Flow(h2.host, h3.host, "10.65.3.5") as flow:
        # While the mesh goes and the reflector's word comes, there is always one of them.
        for speaker in (h1, h2, h3):
            others = () if speaker is h1 else (reflector,)
            speaker.add(*others, alone[1])
        until(lambda: "rr client" in (h1.folder / "bgp" / "bird.conf").read_text(), "h1 reflects")
        until(lambda: len(h1.peers()) == 2 and reflected(h2) and reflected(h3), "it has told of the others")
        for speaker in (h2, h3, h1):
            speaker.add(alone[0])
        until(lambda: h2.peers() == ["host h1"] and h3.peers() == ["host h1"], "h1 is their one peer")
        until(lambda: h2.routes().get("10.65.3.0/26") == "10.211.55.6", "and tells h2 of h3")
    assert flow.answered == flow.sent > 0
    for speaker in (h1, h2, h3):
        speaker.set(speaker.snapshot.after([*map(drop, alone)]))
    meshed(fabric)


def test_an_as_for_each_host_another_port_and_a_password(fabric: Lab) -> None:
    meshed(fabric)
    said = configuration(listenPort=1179, nodeMeshPassword={"value": "s3cret"})
    own = [configuration(f"node.h{number}", asNumber=65100 + number) for number in (1, 2, 3)]
    fabric.add(said, *own)
    for speaker in fabric.speakers.values():
        until(lambda s=speaker: "as 6510" in (s.folder / "bgp" / "bird.conf").read_text(), "it is told")
    meshed(fabric)
    assert {view.neighbour.as_number for view in fabric["h1"].view().sessions} == {65102, 65103}
    assert fabric.reached("h1", "h2", "10.65.2.5") and fabric.reached("h2", "h3", "fd65::305")
    for speaker in fabric.speakers.values():
        speaker.set(speaker.snapshot.after([*map(drop, (said, *own))]))
    meshed(fabric)


def test_what_takes_it_away_takes_its_routes_along(fabric: Lab) -> None:
    meshed(fabric)
    h3 = fabric["h3"]
    before = h3.snapshot
    foreign = ("192.0.2.128/25", "via", "10.211.55.9", "proto", "bird", "metric", "32")  # of somebody else's BIRD
    h3.host.run("ip", "route", "add", *foreign)
    h3.set(before.after([drop(network) for network in before.networks.values()]))
    until(lambda: set(h3.routes()) == {"192.0.2.128/25"}, "its routes have gone, and no others")
    assert h3.keeper and h3.keeper.bird.now() is None
    until(lambda: "10.65.3.0/26" not in fabric["h1"].routes(), "the others know")
    h3.host.run("ip", "route", "del", *foreign)
    h3.set(before)
    meshed(fabric)


def test_a_configuration_that_bird_refuses_is_not_loaded(fabric: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    meshed(fabric)
    h2 = fabric["h2"]
    pid = h2.pid
    monkeypatch.setattr("linkspan.daemon.bgp.keeper._PAUSE", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr("linkspan.daemon.bgp.keeper.bird_conf", lambda plan, **_: "protocol nonsense {}\n")
        h2.add(block("h2", "10.65.78.0/26"))
        until(lambda: "BIRD refuses its configuration: bird: line 1" in h2.view().trouble, "it is said")
        assert len(h2.peers()) == 2 and h2.pid == pid
    until(lambda: "10.65.78.0/26" in fabric["h1"].routes(), "the next one is loaded")
    assert not h2.view().trouble
    h2.set(h2.snapshot.after([drop(block("h2", "10.65.78.0/26"))]))
