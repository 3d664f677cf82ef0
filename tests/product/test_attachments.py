"""How a container is attached: every field of --network and `network connect`, live, and what inspect says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.docker_client import OLD_CLIENT
from tests.product.engine import Done
from tests.product.network import answers, silent
from tests.product.place import Place

Client = Callable[..., Done]


@pytest.fixture
def nets(engine: Place) -> Iterator[None]:
    for name, third in (("front", 71), ("rear", 72), ("side", 73)):
        engine.docker("network", "create", "--subnet", f"10.{third}.0.0/24", name)
    yield


def networks(engine: Place, ref: str) -> Any:
    # As of 1.51: Docker 20.10 asks for an older form, which has the short id among the aliases.
    return engine.request("GET", f"/v1.51/containers/{ref}/json")[1]["NetworkSettings"]["Networks"]


def routes(engine: Place, ref: str) -> list[str]:
    return [line.strip() for line in engine.out("exec", ref, "ip", "route").splitlines()]


def interfaces(engine: Place, ref: str) -> dict[str, list[str]]:
    """The IPv4 addresses by interface, as the container sees them."""
    found: dict[str, list[str]] = {}
    for line in engine.out("exec", ref, "ip", "-o", "-4", "addr").splitlines():
        words = line.split()
        found.setdefault(words[1], []).append(words[3])
    return found


def skip_old(client: Client, engine: Place) -> None:
    if OLD_CLIENT and client == engine.docker:
        pytest.skip("Docker 20.10's client knows neither gw-priority nor mac-address of one network")


@pytest.mark.usefixtures("nets")
def test_the_long_form(engine: Place, client: Client) -> None:
    skip_old(client, engine)
    front = (
        "name=front,alias=db,alias=store,ip=10.71.0.9,mac-address=02:00:00:00:00:09,link-local-ip=169.254.9.9,"
        "driver-opt=com.docker.network.endpoint.ifname=wan0,"
        "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    )
    client("run", "-d", "--name", "cc", "--network", front, "--network", "name=rear,gw-priority=5", "web")
    seen = networks(engine, "cc")
    asked = seen["front"]["IPAMConfig"]
    assert asked == {"IPv4Address": "10.71.0.9", "LinkLocalIPs": ["169.254.9.9"]}
    assert seen["front"]["MacAddress"] == "02:00:00:00:00:09" and seen["front"]["Aliases"] == ["db", "store"]
    id_ = engine.inspect("cc")["Id"][:12]
    assert seen["front"]["DNSNames"] == ["cc", "db", "store", id_] and seen["rear"]["DNSNames"] == ["cc", id_]
    assert (seen["front"]["GwPriority"], seen["rear"]["GwPriority"]) == (0, 5)
    assert seen["rear"]["IPAMConfig"] in (None, {}) and seen["rear"]["Gateway"] == "10.72.0.1"
    inside = interfaces(engine, "cc")
    assert inside["wan0"] == ["10.71.0.9/24", "169.254.9.9/16"] and inside["eth0"] == ["10.72.0.2/24"]
    assert routes(engine, "cc")[0] == "default via 10.72.0.1 dev eth0"
    assert "02:00:00:00:00:09" in engine.out("exec", "cc", "cat", "/sys/class/net/wan0/address")
    assert engine.out("exec", "cc", "cat", "/proc/sys/net/ipv4/conf/wan0/log_martians") == "1"
    assert engine.out("exec", "cc", "cat", "/proc/sys/net/ipv4/conf/eth0/log_martians") == "0"


@pytest.mark.usefixtures("nets")
def test_the_gateway_is_elected_in_dockers_order(engine: Place) -> None:
    """The highest priority; then not internal; then the name."""
    engine.docker("network", "create", "--internal", "--subnet", "10.74.0.0/24", "a-inside")
    joined = [word for name in ("a-inside", "side", "rear", "front") for word in ("--network", name)]
    engine.run("--name", "cc", *joined, "plain", "sleep", "600")
    assert routes(engine, "cc")[0].startswith("default via 10.71.0.1")
    engine.docker("network", "disconnect", "front", "cc")
    assert routes(engine, "cc")[0].startswith("default via 10.72.0.1")
    engine.newest("network", "connect", "--gw-priority", "1", "front", "cc")
    assert routes(engine, "cc")[0].startswith("default via 10.71.0.1")
    engine.docker("network", "disconnect", "side", "cc")
    engine.newest("network", "connect", "--gw-priority", "2", "side", "cc")
    assert routes(engine, "cc")[0].startswith("default via 10.73.0.1")
    for name in ("front", "rear", "side"):
        engine.docker("network", "disconnect", name, "cc")
    assert not [route for route in routes(engine, "cc") if route.startswith("default")]


@pytest.mark.usefixtures("nets")
def test_connect_with_every_flag(engine: Place, client: Client) -> None:
    skip_old(client, engine)
    engine.run("--name", "cc", "web")
    flags = ("--ip", "10.71.0.9", "--alias", "db", "--link-local-ip", "169.254.9.9", "--link", "cc:self")
    option = ("--driver-opt", "com.docker.network.endpoint.ifname=wan0", "--gw-priority", "3")
    client("network", "connect", *flags, *option, "front", "cc")
    seen = networks(engine, "cc")["front"]
    assert seen["IPAMConfig"] == {"IPv4Address": "10.71.0.9", "LinkLocalIPs": ["169.254.9.9"]}
    assert (seen["Aliases"], seen["Links"], seen["GwPriority"]) == (["db"], ["cc:self"], 3)
    assert seen["DriverOpts"] == {"com.docker.network.endpoint.ifname": "wan0"}
    assert interfaces(engine, "cc")["wan0"] == ["10.71.0.9/24", "169.254.9.9/16"]
    assert routes(engine, "cc")[0] == "default via 10.71.0.1 dev wan0"
    hosts = engine.out("exec", "cc", "cat", "/etc/hosts")
    assert "10.71.0.9\t" in hosts
    client("network", "disconnect", "front", "cc")
    assert "10.71.0.9\t" not in engine.out("exec", "cc", "cat", "/etc/hosts")
    assert routes(engine, "cc")[0] == "default via 172.17.0.1 dev eth0"
    assert set(interfaces(engine, "cc")) == {"lo", "eth0"}


@pytest.mark.usefixtures("nets")
def test_a_stopped_container_is_connected_for_its_next_run(engine: Place) -> None:
    engine.docker("create", "--name", "cc", "--network", "front", "web")
    engine.docker("network", "connect", "--ip", "10.72.0.9", "rear", "cc")
    engine.docker("network", "disconnect", "front", "cc")
    assert list(networks(engine, "cc")) == ["rear"] and networks(engine, "cc")["rear"]["IPAddress"] == ""
    refused = engine.docker("network", "disconnect", "front", "cc", status=1).err
    assert "is not connected to network front" in refused
    engine.docker("start", "cc")
    assert networks(engine, "cc")["rear"]["IPAddress"] == "10.72.0.9"
    engine.docker("network", "disconnect", "-f", "rear", "cc")
    assert networks(engine, "cc") == {}
    assert set(interfaces(engine, "cc")) == {"lo"}


@pytest.mark.usefixtures("nets")
def test_a_network_that_is_gone_is_taken_off_by_force(engine: Place) -> None:
    engine.docker("create", "--name", "cc", "--network", "front", "--network", "rear", "plain", "sleep", "600")
    id_ = engine.inspect("front")["Id"]
    engine.docker("network", "rm", "front")  # nobody runs on it
    assert "no longer exists" in engine.docker("start", "cc", status=1).err
    assert engine.request("POST", f"/networks/{id_}/disconnect", {"Container": "cc"})[0] == 404
    assert engine.request("POST", f"/networks/{id_}/disconnect", {"Container": "cc", "Force": True})[0] == 200
    engine.docker("start", "cc")
    assert list(networks(engine, "cc")) == ["rear"]
    engine.docker("create", "--name", "other", "--network", "passing", "plain", "sleep", "600", status=1)
    engine.docker("network", "create", "passing")
    engine.docker("create", "--name", "other", "--network", "passing", "plain", "sleep", "600")
    engine.docker("network", "rm", "passing")
    engine.docker("network", "disconnect", "passing", "other", status=1)
    engine.docker("network", "disconnect", "-f", "passing", "other")  # by its name, as far as anybody knows
    engine.docker("network", "connect", "rear", "other")
    engine.docker("start", "other")
    assert list(networks(engine, "other")) == ["rear"]


@pytest.mark.usefixtures("nets")
def test_a_name_asked_for_is_left_free(engine: Place) -> None:
    wan = "name=rear,driver-opt=com.docker.network.endpoint.ifname=eth0"
    engine.run("--name", "cc", "--network", "front", "--network", wan, "plain", "sleep", "600")
    assert interfaces(engine, "cc")["eth0"] == ["10.72.0.2/24"]
    assert interfaces(engine, "cc")["eth1"] == ["10.71.0.2/24"]


@pytest.mark.usefixtures("nets")
def test_out_of_none(engine: Place) -> None:
    """Who was on no network, and is taken off it, may join others, and has them after a restart too."""
    engine.run("--name", "cc", "--network", "none", "web")
    engine.docker("network", "disconnect", "none", "cc")
    engine.docker("network", "connect", "front", "cc")
    assert interfaces(engine, "cc")["eth0"] == ["10.71.0.2/24"]
    engine.docker("restart", "-t", "0", "cc")
    assert list(networks(engine, "cc")) == ["front"] and "eth0" in interfaces(engine, "cc")


@pytest.mark.usefixtures("nets")
def test_live_between_two_networks(engine: Place) -> None:
    """Section 6 of the scenario, without names."""
    engine.run("--name", "one", "--network", "front", "web")
    engine.run("--name", "two", "--network", "rear", "web")
    one, two = engine.address("one"), engine.address("two")
    assert silent(engine.sandbox("one"), two, 80) and silent(engine.sandbox("two"), one, 80)
    engine.docker("network", "connect", "front", "two")
    there = networks(engine, "two")["front"]["IPAddress"]
    assert answers(engine.sandbox("one"), there, 80) == one
    engine.docker("network", "disconnect", "front", "two")
    assert silent(engine.sandbox("one"), there, 80)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("network", "settings", "status", "text"),
    [
        ("bridge", {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}, 400, "is supported on user defined networks only"),
        (
            "bridge",
            {"Aliases": ["x"]},
            400,
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        ("front", {"IPAMConfig": {"IPv4Address": "10.9.9.9"}}, 400, "no configured subnet or ip-range contain the IP"),
        ("front", {"IPAMConfig": {"IPv4Address": "10.71.0.1"}}, 403, "Address already in use"),
        ("front", {"IPAMConfig": {"IPv4Address": "x"}}, 400, "invalid IPv4 address: x"),
        ("front", {"IPAMConfig": {"LinkLocalIPs": ["y"]}}, 400, "invalid link-local IP address: y"),
        ("front", {"IPAMConfig": {"LinkLocalIPs": ["169.253.5.5"]}}, 400, "invalid link-local IP address: 169.253.5.5"),
        ("front", {"MacAddress": "zz"}, 400, "invalid MAC address: zz"),
        (
            "front",
            {"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.eth0.x=1"}},
            400,
            "unrecognised network interface sysctl 'net.ipv4.conf.eth0.x=1'",
        ),
        (
            "front",
            {"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.no_such=1"}},
            400,
            "no_such",
        ),
        ("front", {"DriverOpts": {"com.docker.network.endpoint.ifname": "eth0"}}, 409, "already in use"),
        ("host", {}, 400, "cannot connect container to host network"),
        ("none", {}, 400, "multiple networks with one of the networks in private (none) mode"),
        ("nowhere", {}, 404, "network nowhere not found"),
        ("front", {"IPAMConfig": "x"}, 400, "invalid request"),
    ],
)
def test_connect_refused(engine: Place, network: str, settings: Any, status: int, text: str) -> None:
    engine.run("--name", "cc", "--network", "rear", "plain", "sleep", "600")
    before, inside = engine.inspect("cc")["NetworkSettings"], interfaces(engine, "cc")
    body = {"Container": "cc", "EndpointConfig": settings}
    found, answer = engine.request("POST", f"/networks/{network}/connect", body)
    assert found == status and text in answer["message"], answer
    assert engine.inspect("cc")["NetworkSettings"] == before and interfaces(engine, "cc") == inside


@pytest.mark.usefixtures("nets")
def test_connect_twice_and_strangers(engine: Place) -> None:
    engine.run("--name", "cc", "--network", "front", "plain", "sleep", "600")
    engine.run("--name", "peer", "--network", "container:cc", "plain", "sleep", "600")
    engine.run("--name", "hh", "--network", "host", "plain", "sleep", "600")
    for path, container, status, text in (
        ("front/connect", "cc", 403, "endpoint with name cc already exists in network front"),
        ("rear/disconnect", "cc", 403, "is not connected to network rear"),
        ("rear/connect", "peer", 400, "container sharing network namespace with another container or host"),
        ("rear/connect", "hh", 400, "container sharing network namespace with another container or host"),
        ("host/disconnect", "hh", 400, "cannot disconnect container from host network"),
        ("rear/connect", "nobody", 404, "No such container: nobody"),
        ("rear/disconnect", "nobody", 404, "No such container: nobody"),
        ("rear/connect", "", 400, "a container is needed"),
    ):
        found, answer = engine.request("POST", f"/networks/{path}", {"Container": container})
        assert (found, text in answer["message"]) == (status, True), (path, answer)


@pytest.mark.usefixtures("nets")
def test_create_refused(engine: Place) -> None:
    def create(mode: str, endpoints: Any, **config: Any) -> tuple[int, str]:
        body = {"Image": "plain", "HostConfig": {"NetworkMode": mode}, **config}
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
        status, answer = engine.request("POST", "/containers/create", body)
        return status, answer.get("message", "")

    engine.docker("network", "create", "auto")
    for mode, endpoints, text in (
        ("bridge", {"bridge": {"Aliases": ["x"]}}, "network-scoped alias is supported only for containers in user"),
        ("bridge", {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}, "on user defined networks only"),
        ("auto", {"auto": {"IPAMConfig": {"IPv4Address": "172.18.0.9"}}}, "networks with user configured subnets"),
        ("host", {"host": {}, "front": {}}, "cannot attach both user-defined and non-user-defined network-modes"),
        ("front", {"front": {"DriverOpts": {"com.docker.network.endpoint.ifname": "a/b"}}}, "invalid interface name"),
    ):
        status, message = create(mode, endpoints)
        assert status == 400 and text in message, message
    mixed = engine.docker("run", "-d", "--network", "front", "--network", "bridge", "plain", status=125).err
    assert "cannot attach both user-defined and non-user-defined network-modes" in mixed
    assert engine.out("ps", "-aq") == ""


def test_what_the_api_says_by_its_version(engine: Place) -> None:
    engine.docker("network", "create", "own")
    engine.run("--name", "cc", "--network-alias", "db", "--network", "own", "--mac-address", "02:00:00:00:00:07", "web")
    configs = [engine.request("GET", f"/v1.{minor}/containers/cc/json")[1]["Config"] for minor in (43, 51, 52)]
    assert [config.get("MacAddress") for config in configs] == ["02:00:00:00:00:07", "02:00:00:00:00:07", None]
    lean = engine.request("GET", "/v1.52/containers/cc/json")[1]["NetworkSettings"]
    full = engine.request("GET", "/v1.51/containers/cc/json")[1]["NetworkSettings"]
    old = engine.request("GET", "/v1.44/containers/cc/json")[1]
    assert set(lean) == {"SandboxID", "SandboxKey", "Ports", "Networks"}
    assert {key: full[key] for key in lean} == lean
    assert set(full) - set(lean) >= {"Bridge", "Gateway", "IPAddress", "MacAddress", "HairpinMode", "IPv6Gateway"}
    assert old["NetworkSettings"]["Networks"]["own"]["Aliases"] == ["db", old["Id"][:12]]
    assert lean["Networks"]["own"]["Aliases"] == ["db"]
    only = "filters=%7B%22container%22%3A%5B%22cc%22%5D%7D"
    for version, old_form in (("1.51", True), ("1.52", False)):
        text = engine.request("GET", f"/v{version}/events?since=1&until={time.time()}&{only}")[1]
        happened = [json.loads(line) for line in text.splitlines()]
        assert {event["Type"] for event in happened} == {"container"}
        assert all(({"status", "id", "from"} <= set(event)) is old_form for event in happened)
