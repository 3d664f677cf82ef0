"""Pools that do not run out, and who has what of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.product.dns_tools import addresses, server, with_records
from tests.product.place import Place, place


def used(engine: Place) -> Any:
    return json.loads(engine.linkspan("ipam", "--json").out)


def test_whose_addresses_are(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "10.9.0.0/29", "--aux-address", "printer=10.9.0.6", "net")
    engine.docker("create", "--name", "owner", "--network", "net", "--ip", "10.9.0.5", "plain")
    engine.run("--name", "web", "--network", "net", "plain", "sleep", "60")
    engine.run("--name", "passing", "--network", "net", "plain", "sleep", "60")
    engine.docker("rm", "-f", "passing")
    assert [line.split() for line in engine.linkspan("ipam", "net").out.splitlines()] == [
        ["ADDRESS", "STATE", "NAME"],
        ["10.9.0.1", "gateway"],
        ["10.9.0.2", "in", "use", "web"],
        ["10.9.0.5", "reserved", "owner"],
        ["10.9.0.6", "auxiliary", "printer"],
        ["10.9.0.3", "resting"],
        ["2", "of", "10.9.0.0/29", "free"],
    ]
    said = engine.linkspan("ipam").out
    assert any(line.split() == ["net", "10.9.0.0/29", "1", "1", "1", "2"] for line in said.splitlines())
    (bridge,) = [n for n in used(engine)["Networks"] if n["Name"] == "bridge"]
    assert bridge["Subnets"][0]["Subnet"] == "172.17.0.0/16"
    assert engine.request("GET", "/ipam")[1] == used(engine)


@pytest.fixture
def own(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        yield made


def test_smaller_subnets_do_not_run_out(own: Place) -> None:
    own.start("--default-subnet-size", "24")
    for number in range(40):
        assert own.request("POST", "/networks/create", {"Name": f"net{number}"})[0] == 201
    found = own.request("GET", "/networks/net39")[1]
    assert found["IPAM"]["Config"] == [{"Subnet": "172.17.40.0/24", "Gateway": "172.17.40.1"}]
    assert own.request("GET", "/networks/bridge")[1]["IPAM"]["Config"][0]["Subnet"] == "172.17.0.0/24"
    assert used(own)["Pools"][0]["Free"] == 256 - 41
    own.clear()
    own.end()


def test_when_everything_is_used_it_says_by_whom(own: Place) -> None:
    own.start("--default-address-pool", "base=10.77.0.0/28,size=29")
    own.docker("network", "create", "one")
    refused = own.docker("network", "create", "two", status=1).err
    assert "all predefined address pools have been fully subnetted" in refused
    assert "10.77.0.0/29 by network bridge, 10.77.0.8/29 by network one" in refused
    assert own.request("POST", "/networks/create", {"Name": "two"})[0] == 400
    own.clear()
    own.end()


def test_servers_of_a_network(engine: Place) -> None:
    """What `network update --dns` says is asked at once."""
    engine.docker("network", "create", "net")
    engine.run("--name", "web", "--network", "net", "plain", "sleep", "60")
    space = engine.sandbox("web")
    with server(space, "127.0.1.1", with_records("A 10.6.6.6")):
        engine.linkspan("network", "update", "net", "--dns", "127.0.1.1")
        assert addresses(space, "example.com") == ["10.6.6.6"]
