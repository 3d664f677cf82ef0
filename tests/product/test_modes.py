"""The four network modes of one host, and the networks behind them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.product.network import answers, ask, silent
from tests.product.place import HOST, OUTSIDE, Place


def settings(engine: Place, ref: str) -> Any:
    return engine.inspect(ref)["NetworkSettings"]


def links(engine: Place, ref: str) -> dict[str, Any]:
    """Interfaces in a container's sandbox, by name."""
    pid = engine.inspect(ref)["State"]["Pid"]
    done = engine.host.run(["nsenter", "-t", str(pid), "-n", "ip", "-j", "-d", "addr"])
    return {link["ifname"]: link for link in json.loads(done.stdout)}


def test_default_networks(engine: Place) -> None:
    rows = engine.out("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").splitlines()
    assert rows == ["bridge bridge local", "host host local", "none null local"]
    found = engine.inspect("bridge")
    assert found["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert found["Options"]["com.docker.network.bridge.name"] == "docker0"
    for name in ("bridge", "host", "none"):
        refused = engine.docker("network", "rm", name, status=1).err
        assert f"{name} is a pre-defined network and cannot be removed" in refused
    (bridge,) = engine.ip("-d", "addr", "show", "docker0")
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    assert [(a["local"], a["prefixlen"]) for a in bridge["addr_info"] if a["family"] == "inet"] == [("172.17.0.1", 16)]


def test_bridge(engine: Place) -> None:
    engine.run("--name", "one", "plain", "sleep", "60")
    engine.run("--name", "two", "--mac-address", "02:42:00:00:00:77", "plain", "sleep", "60")
    assert [engine.address(name) for name in ("one", "two")] == ["172.17.0.2", "172.17.0.3"]
    found = links(engine, "one")
    assert set(found) == {"lo", "eth0"}
    assert [(a["local"], a["prefixlen"]) for a in found["eth0"]["addr_info"]] == [("172.17.0.2", 16)]
    assert found["eth0"]["address"] == settings(engine, "one")["Networks"]["bridge"]["MacAddress"]
    assert int(found["eth0"]["address"][:2], 16) & 3 == 2  # ours to give, and no group's
    assert links(engine, "two")["eth0"]["address"] == "02:42:00:00:00:77"
    ports = [link for link in engine.ip("link") if link.get("master") == "docker0"]
    assert len(ports) == 2 and all(link["ifname"].startswith("veth") for link in ports)
    assert engine.out("exec", "one", "ip", "route").splitlines()[0].startswith("default via 172.17.0.1 dev eth0")
    assert "0% packet loss" in engine.out("exec", "one", "ping", "-c", "1", "-W", "2", "172.17.0.3")
    engine.docker("rm", "-f", "one")
    engine.run("--name", "three", "plain", "sleep", "60")
    assert engine.address("three") == "172.17.0.4"  # what was given back rests


def test_files_in_etc(engine: Place) -> None:
    engine.run("--name", "one", "--hostname", "inside", "plain", "sleep", "60")
    hosts = engine.out("exec", "one", "cat", "/etc/hosts").splitlines()
    assert hosts[0].split() == ["127.0.0.1", "localhost"] and hosts[-1].split() == ["172.17.0.2", "inside"]
    assert engine.out("exec", "one", "cat", "/etc/hostname") == "inside"
    assert hosts[1].split() == ["::1", "localhost", "ip6-localhost", "ip6-loopback"]
    off = ("--sysctl", "net.ipv6.conf.all.disable_ipv6=1")
    assert "::" not in engine.out("run", "--rm", *off, "plain", "cat", "/etc/hosts")
    resolv = engine.out("exec", "one", "cat", "/etc/resolv.conf")
    assert "nameserver" in resolv and "nameserver 127.0.0.11" not in resolv
    # Who writes into the file, writes into this container's alone, and a restart keeps its name and address.
    engine.docker("exec", "one", "sh", "-c", "echo 10.0.0.1 added >>/etc/hosts")
    engine.docker("restart", "-t", "0", "one")
    assert engine.out("exec", "one", "cat", "/etc/hosts").splitlines()[-1].split()[0] in ("172.17.0.2", "10.0.0.1")


def test_host_mode(engine: Place) -> None:
    done = engine.docker("run", "-d", "--name", "web", "--net", "host", "-p", "1:1", "web")
    assert "Published ports are discarded when using host network mode" in done.err
    assert answers(engine.there, HOST, 80) == OUTSIDE
    assert not [link for link in engine.ip("link") if link.get("master") == "docker0"]
    found = settings(engine, "web")
    assert found["Ports"] == {} and found["SandboxKey"].endswith("/default") and list(found["Networks"]) == ["host"]
    assert found["Networks"]["host"]["IPAddress"] == "" and engine.out("port", "web") == ""
    assert engine.out("exec", "web", "hostname") == "host"
    assert "eth0" in engine.out("exec", "web", "ip", "addr") and HOST in engine.out("exec", "web", "ip", "addr")
    assert len(engine.out("exec", "web", "ps").splitlines()) <= 4  # its own processes


def test_none_mode(engine: Place) -> None:
    engine.run("--name", "alone", "--net", "none", "web")
    assert set(links(engine, "alone")) == {"lo"}
    found = settings(engine, "alone")
    assert found["SandboxKey"] and list(found["Networks"]) == ["none"] and found["Ports"] in ({}, {"80/tcp": None})
    assert ask(engine.sandbox("alone"), "127.0.0.1", 80) == "127.0.0.1"
    engine.host.run(["ip", "link", "add", "byhand", "type", "veth", "peer", "name", "inner"])
    pid = engine.inspect("alone")["State"]["Pid"]
    engine.host.run(["ip", "link", "set", "inner", "netns", str(pid)])
    assert set(links(engine, "alone")) == {"lo", "inner"}


def test_container_mode(engine: Place) -> None:
    engine.run("--name", "first", "-p", "8080:80", "-p", "8081:81", "web")
    engine.run("--name", "second", "--net", "container:first", "plain", "httpd", "-f", "-p", "0.0.0.0:81", "-h", "/www")
    assert links(engine, "first")["eth0"]["address"] == links(engine, "second")["eth0"]["address"]
    assert answers(engine.there, HOST, 8080) == answers(engine.there, HOST, 8081) == OUTSIDE
    assert engine.out("exec", "second", "wget", "-qO-", "http://127.0.0.1/") == "here"
    found = settings(engine, "second")
    assert found["Networks"] == {} and found["SandboxKey"] == "" and found["Ports"] == {}
    assert engine.out("exec", "second", "hostname") == engine.out("exec", "first", "hostname")
    assert engine.out("exec", "second", "cat", "/etc/hosts") == engine.out("exec", "first", "cat", "/etc/hosts")
    assert ":81" not in engine.out("exec", "first", "ps")


@pytest.mark.parametrize("named", ["name", "id", "prefix"])
def test_container_mode_survives_a_restart_of_the_first(engine: Place, named: str) -> None:
    id_ = engine.run("--name", "first", "-p", "8080:80", "-p", "8081:81", "web")
    ref = {"name": "first", "id": id_, "prefix": id_[:7]}[named]
    engine.run(
        "--name", "second", "--net", f"container:{ref}", "plain", "httpd", "-f", "-p", "0.0.0.0:81", "-h", "/www"
    )
    assert engine.inspect("second")["HostConfig"]["NetworkMode"] == f"container:{id_}"
    assert answers(engine.there, HOST, 8081) == OUTSIDE
    engine.docker("restart", "-t", "0", ref)
    assert answers(engine.there, HOST, 8080) == answers(engine.there, HOST, 8081) == OUTSIDE
    assert engine.out("exec", "second", "wget", "-qO-", "http://127.0.0.1/") == "here"
    engine.docker("restart", "-t", "0", "second")
    assert answers(engine.there, HOST, 8081) == OUTSIDE
    engine.docker("stop", "-t", "0", "first")
    engine.docker("rm", "-f", "second")
    engine.docker("start", "first")
    assert answers(engine.there, HOST, 8080) == OUTSIDE


def test_container_mode_refused(engine: Place) -> None:
    engine.run("--name", "first", "plain", "sleep", "60")
    for options, text in (
        (("-p", "1:1"), "conflicting options: port publishing and the container type network mode"),
        (("--hostname", "x"), "conflicting options: hostname and the network mode"),
        (("--dns", "1.1.1.1"), "conflicting options: dns and the network mode"),
        (("--add-host", "a:1.1.1.1"), "conflicting options: custom host-to-IP mapping and the network mode"),
        (("--mac-address", "02:00:00:00:00:01"), "conflicting options: mac-address and the network mode"),
        (("--expose", "7"), "conflicting options: port exposing and the container type network mode"),
    ):
        assert text in engine.docker("run", "-d", "--net", "container:first", *options, "plain", status=125).err
    engine.docker("stop", "-t", "0", "first")
    refused = engine.docker("run", "-d", "--net", "container:first", "plain", "sleep", "1", status=125).err
    assert "cannot join network of a non running container" in refused


def test_user_defined_network(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "10.77.0.0/24", "--ip-range", "10.77.0.128/25", "own")
    engine.run("--name", "one", "--net", "own", "web")
    engine.run("--name", "two", "--net", "own", "--ip", "10.77.0.9", "-p", "8080:80", "web")
    engine.run("--name", "apart", "web")
    assert engine.address("one") in ("10.77.0.128", "10.77.0.129") and engine.address("two") == "10.77.0.9"
    assert answers(engine.sandbox("one"), "10.77.0.9", 80) == engine.address("one")
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    assert silent(engine.sandbox("apart"), "10.77.0.9", 80)
    assert ask(engine.sandbox("apart"), HOST, 8080)
    refused = engine.docker("run", "-d", "--net", "own", "--ip", "10.77.0.9", "plain", status=125).err
    assert "Address already in use" in refused
    assert "has active endpoints" in engine.docker("network", "rm", "own", status=1).err
    engine.docker("network", "connect", "own", "apart")
    assert answers(engine.sandbox("apart"), "10.77.0.9", 80)
    engine.docker("network", "disconnect", "own", "apart")
    assert set(links(engine, "apart")) == {"lo", "eth0"}


def test_addresses_of_subnets(engine: Place) -> None:
    """Networks that name no subnet do not overlap each other, nor what the host has a route to."""
    engine.host.run(["ip", "route", "add", "172.18.0.0/16", "via", OUTSIDE])
    try:
        for name in ("a1", "a2"):
            engine.docker("network", "create", name)
    finally:
        engine.host.run(["ip", "route", "del", "172.18.0.0/16"])
    subnets = [engine.inspect(name)["IPAM"]["Config"][0]["Subnet"] for name in ("a1", "a2")]
    assert subnets[0] != subnets[1] and not {"172.17.0.0/16", "172.18.0.0/16"} & set(subnets)
    refused = engine.docker("network", "create", "--subnet", "172.17.9.0/24", "bad", status=1).err
    assert "Pool overlaps with other one on this address space" in refused
    assert "already exists" in engine.docker("network", "create", "a1", status=1).err
