"""flat networks: containers on the hosts' own segment, reached and reaching by their own addresses, with no NAT."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.product.network import answers, ask_udp, udp_echo
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

LAN = ("-d", "flat", "-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--ip-range", "10.211.55.128/25")
ONE, TWO = "10.211.55.128", "10.211.55.129"
PATHS = ["bridge", "macvlan", "routed"]


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before, network = traces(ground), ground.ip("address", "show", "eth0")
    yield ground
    ground.clear()
    settles(ground, before)
    assert addresses(ground.ip("address", "show", "eth0")) == addresses(network)
    assert "Traceback" not in ground.log.read_text(), ground.log.read_text()[-4000:]


def addresses(found: Any) -> set[str]:
    return {entry["local"] for link in found for entry in link.get("addr_info", ())}


@pytest.mark.parametrize("path", PATHS)
def test_reached_and_reaching_without_nat(engine: Place, path: str) -> None:
    engine.docker("network", "create", *LAN, "-o", f"mode={path}", "lan")
    found = json.loads(engine.out("network", "inspect", "lan"))[0]
    assert found["IPAM"]["Config"][0]["Gateway"] == OUTSIDE  # the router that the host itself has
    engine.run("--name", "one", "--network", "lan", "web")
    engine.run("--name", "two", "--network", "lan", "web")
    assert (engine.address("one"), engine.address("two")) == (ONE, TWO)
    # From a machine that runs none of our software, and back; the answer says from whom.
    assert answers(engine.there, ONE, 80) == OUTSIDE
    assert answers(engine.there, TWO, 80) == OUTSIDE
    with udp_echo(engine.there, 7777):
        assert ask_udp(engine.sandbox("one"), OUTSIDE, 7777).startswith(ONE)
    assert answers(engine.sandbox("two"), ONE, 80) == TWO
    if path != "macvlan":  # there the host has a way with host_access only
        assert answers(engine.here, ONE, 80) == HOST
        with udp_echo(engine.here, 7777):
            assert ask_udp(engine.sandbox("one"), HOST, 7777).startswith(ONE)
    assert engine.docker("exec", "two", "wget", "-qO-", "http://one/cgi-bin/who").out.strip() == TWO
