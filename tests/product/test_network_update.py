"""A network changed in place, with containers on it and connections through it."""

from __future__ import annotations

import json
from typing import Any

from tests.hosts import socket_in
from tests.product.network import answers, ask, silent
from tests.product.place import HOST, OUTSIDE, Place
from tests.product.test_publishing import echo, said


def update(engine: Place, *words: str, name: str = "net", status: int = 0) -> str:
    done = engine.linkspan("network", "update", name, *words, status=status)
    return done.err if status else done.out


def inspect(engine: Place, name: str = "net") -> Any:
    return json.loads(engine.out("network", "inspect", name))[0]


def addresses(engine: Place, name: str) -> list[str]:
    lines = engine.out("exec", name, "ip", "-o", "addr", "show", "eth0").splitlines()
    return [line.split()[3] for line in lines if " fe80:" not in line]


def test_labels_and_servers(engine: Place) -> None:
    engine.docker("network", "create", "--label", "a=1", "--label", "b=2", "net")
    assert update(engine, "--label", "a=3", "--label-rm", "b", "--dns", "1.1.1.1", "--dns", "9.9.9.9") == "net\n"
    found = inspect(engine)
    assert found["Labels"] == {"a": "3"} and found["Dns"] == ["1.1.1.1", "9.9.9.9"]
    update(engine, "--dns", "")
    engine.restart()
    assert inspect(engine)["Labels"] == {"a": "3"} and "Dns" not in inspect(engine)
    assert engine.out("network", "ls", "-q", "-f", "label=a=3")


def test_internal_and_out_again(engine: Place) -> None:
    engine.docker("network", "create", "net")
    engine.run("--name", "web", "--network", "net", "-p", "8080:80", "web")
    engine.run("--name", "other", "--network", "net", "web")
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    inside, own = engine.sandbox("other"), engine.address("web")
    update(engine, "--internal")
    assert inspect(engine)["Internal"] and engine.out("port", "web") == ""
    assert silent(engine.there, HOST, 8080) and "default" not in engine.out("exec", "web", "ip", "route")
    assert ask(inside, own, 80)  # its containers still reach each other
    update(engine, "--internal=false")
    assert answers(engine.there, HOST, 8080) == OUTSIDE and engine.out("port", "web")


def test_whether_its_containers_may_talk(engine: Place) -> None:
    engine.docker("network", "create", "net")
    engine.run("--name", "web", "--network", "net", "-p", "8080:80", "web")
    engine.run("--name", "other", "--network", "net", "web")
    inside, own = engine.sandbox("other"), engine.address("web")
    assert answers(inside, own, 80)
    update(engine, "--icc=false")
    assert silent(inside, own, 80) and answers(engine.there, HOST, 8080) == OUTSIDE
    update(engine, "--icc")
    assert answers(inside, own, 80)


def test_a_subnet_more(engine: Place) -> None:
    """What is there goes on; those who come get an address of it when the first one is used up, and all reach all."""
    engine.docker("network", "create", "--subnet", "10.9.0.0/30", "net")
    engine.run("--name", "web", "--network", "net", "-p", "8080:7", "web")
    with echo(engine.sandbox("web"), 7), socket_in(engine.there) as connection:
        connection.settimeout(5)
        connection.connect((HOST, 8080))
        assert said(connection, b"before")
        refused = engine.docker("run", "-d", "--network", "net", "web", status=125).err
        assert "no available IPv4 addresses" in refused
        update(engine, "--add-subnet", "10.9.1.0/24", "--gateway", "10.9.1.254")
        assert said(connection, b"after")
    engine.run("--name", "late", "--network", "net", "web")
    assert addresses(engine, "late") == ["10.9.1.1/24"]
    assert ask(engine.sandbox("late"), engine.address("web"), 80) and ask(engine.sandbox("web"), "10.9.1.1", 80)
    assert "subnet 10.9.1.0/24 of network net is in use by late" in update(
        engine, "--remove-subnet", "10.9.1.0/24", status=1
    )
    engine.docker("rm", "-f", "late")
    update(engine, "--remove-subnet", "10.9.1.0/24")
    assert [pool["Subnet"] for pool in inspect(engine)["IPAM"]["Config"]] == ["10.9.0.0/30"]


def test_ipv6_for_those_who_are_there(engine: Place) -> None:
    engine.docker("network", "create", "net")
    engine.run("--name", "web", "--network", "net", "web")
    engine.run("--name", "other", "--network", "net", "web")
    update(engine, "--add-subnet", "fd00:9::/64")
    assert inspect(engine)["EnableIPv6"]
    assert "fd00:9::2/64" in addresses(engine, "web") and "fd00:9::3/64" in addresses(engine, "other")
    assert "fd00:9::1" in engine.out("exec", "web", "ip", "-6", "route", "show", "default")
    assert engine.out("exec", "other", "ping", "-6", "-c", "1", "-W", "2", "fd00:9::2")
    networks = engine.inspect("web")["NetworkSettings"]["Networks"]["net"]
    assert (networks["GlobalIPv6Address"], networks["IPv6Gateway"]) == ("fd00:9::2", "fd00:9::1")


def test_mtu_and_how_it_leaves(engine: Place) -> None:
    engine.docker("network", "create", "net")
    engine.run("--name", "web", "--network", "net", "plain", "sleep", "60")
    update(engine, "--mtu", "1300", "--masquerade=false")
    assert "mtu 1300" in engine.out("exec", "web", "ip", "link", "show", "eth0")
    subnet = inspect(engine)["IPAM"]["Config"][0]["Subnet"]
    assert subnet not in engine.linkspan("nat").out
    engine.restart()  # the records say what is: nothing is put back to what it was
    assert "mtu 1300" in engine.out("exec", "web", "ip", "link", "show", "eth0")
    for mtu in ("600", "1400"):  # below 1280 links have no IPv6, nor any settings of it
        update(engine, "--mtu", mtu)
        assert f"mtu {mtu}" in engine.out("exec", "web", "ip", "link", "show", "eth0")


def test_what_cannot_change_says_why(engine: Place) -> None:
    engine.docker("network", "create", "net")
    for words, text in (
        (("-o", "com.docker.network.bridge.name=br9"), "the containers' interfaces stand on that bridge"),
        (("-o", "nonsense=1"), "unknown option: nonsense"),
        (("--remove-subnet", "10.99.0.0/24"), "network net has no subnet 10.99.0.0/24"),
        (("--add-subnet", "172.17.0.0/24"), "Pool overlaps with other one on this address space"),
        ((), "you must provide one or more flags"),
    ):
        assert text in update(engine, *words, status=1)
    assert "bridge is a pre-defined network" in update(engine, "--internal", name="bridge", status=1)
    assert "network nobody not found" in update(engine, "--internal", name="nobody", status=1)


def test_over_http(engine: Place) -> None:
    engine.docker("network", "create", "net")
    id_ = inspect(engine)["Id"]
    body = {"Internal": True, "Labels": {"a": "b"}, "AddSubnets": [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.9"}]}
    assert engine.request("POST", "/networks/net/update", body)[0] == 200
    found = inspect(engine)
    assert found["Internal"] and found["Labels"] == {"a": "b"}
    assert {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.9"} in found["IPAM"]["Config"]
    assert engine.request("POST", f"/v1.51/networks/{id_[:12]}/update", {"RemoveLabels": ["a"]})[0] == 200
    for body, status in (
        ({"Internal": "yes"}, 400),
        ({"Driver": "macvlan"}, 400),
        ({}, 400),
        ({"RemoveLabels": ["a"]}, 404),
        ({"Options": {"com.docker.network.bridge.name": "x"}}, 403),
    ):
        assert engine.request("POST", "/networks/net/update", body)[0] == status, body
