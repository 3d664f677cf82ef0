"""`docker network`: what is created, listed, found by filters, told in events, removed, and what is refused."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import docker
import pytest

from tests.product.engine import Done
from tests.product.place import Place

Client = Callable[..., Done]


def names(engine: Place, **filters: list[str]) -> list[str]:
    """The networks that a list with these filters has; `_not` at the end of a key stands for "!"."""
    asked = {key.replace("_not", "!"): values for key, values in filters.items()}
    status, answer = engine.request("GET", "/networks?filters=" + urllib.parse.quote(json.dumps(asked)))
    assert status == 200, answer
    return sorted(network["Name"] for network in answer)


def message(answer: Any) -> str:
    return str(answer["message"])


def test_filters_of_the_list(engine: Place) -> None:
    engine.docker("network", "create", "--label", "tier=front", "--label", "kept", "front")
    engine.docker("network", "create", "--label", "tier=rear", "rear")
    engine.run("--network", "front", "plain", "sleep", "600")
    id_ = engine.inspect("front")["Id"]
    predefined = ["bridge", "host", "none"]
    assert names(engine) == [*predefined[:1], "front", "host", "none", "rear"]
    assert names(engine, type=["custom"]) == ["front", "rear"]
    assert names(engine, type=["builtin"]) == predefined
    assert names(engine, driver=["host", "null"]) == ["host", "none"]
    assert names(engine, driver=["bridge"], type=["custom"]) == ["front", "rear"]
    assert names(engine, dangling=["true"]) == ["rear"]
    assert names(engine, dangling=["0"]) == ["bridge", "front", "host", "none"]
    assert names(engine, label=["tier"]) == ["front", "rear"]
    assert names(engine, label=["tier=front"]) == names(engine, label=["tier", "kept"]) == ["front"]
    assert names(engine, id=[id_]) == names(engine, id=[id_[:6]]) == names(engine, id=[id_[5:20]]) == ["front"]
    assert names(engine, name=["fro"]) == names(engine, name=["^front$"]) == ["front"]
    assert names(engine, scope=["local"], name=["rear"]) == ["rear"] and names(engine, scope=["swarm"]) == []
    for wrong in ({"dangling": ["maybe"]}, {"type": ["strange"]}, {"nonsense": ["1"]}, {"dangling": ["1", "0"]}):
        status, answer = engine.request("GET", "/networks?filters=" + urllib.parse.quote(json.dumps(wrong)))
        assert status == 400 and "invalid filter" in message(answer), answer


def test_prune(engine: Place, client: Client) -> None:
    for name, label in (("a1", "x=1"), ("a2", "x=2"), ("a3", "y"), ("used", "x=1"), ("meant", "x=1")):
        engine.docker("network", "create", "--label", label, name)
    engine.run("--network", "used", "plain", "sleep", "600")
    engine.docker("create", "--network", "meant", "plain")  # who does not run yet is a user too
    done = client("network", "prune", "-f", "--filter", "label=x", "--filter", "label!=x=2")
    assert done.out.split() == ["Deleted", "Networks:", "a1"]
    assert client("network", "prune", "-f", "--filter", "until=1h").out == ""
    assert sorted(client("network", "prune", "-f").out.split()[2:]) == ["a2", "a3"]
    assert names(engine, type=["custom"]) == ["meant", "used"]
    status, answer = engine.request("POST", "/networks/prune?filters=%7B%22driver%22%3A%5B%22x%22%5D%7D")
    assert status == 400 and "invalid filter" in message(answer)


def test_configurations(engine: Place, client: Client) -> None:
    pool = ("--subnet", "10.81.0.0/24", "--gateway", "10.81.0.9", "-o", "com.docker.network.driver.mtu=1400")
    client("network", "create", "--config-only", *pool, "--label", "a=b", "template")
    template = engine.inspect("template")
    assert (template["ConfigOnly"], template["Driver"], template["Scope"]) == (True, "null", "local")
    assert template["IPAM"]["Config"] == [{"Subnet": "10.81.0.0/24", "Gateway": "10.81.0.9"}]
    client("network", "create", "--config-from", "template", "--attachable", "taken")
    taken = engine.inspect("taken")
    assert (taken["ConfigFrom"], taken["ConfigOnly"], taken["Attachable"]) == ({"Network": "template"}, False, True)
    assert (taken["IPAM"]["Config"], taken["Labels"]) == (template["IPAM"]["Config"], {"a": "b"})
    engine.run("--name", "web", "--network", "taken", "plain", "sleep", "600")
    assert engine.out("exec", "web", "cat", "/sys/class/net/eth0/mtu") == "1400"
    refused = client("run", "-d", "--network", "template", "plain", status=125).err
    assert "cannot create endpoint on configuration-only network" in refused
    assert 'configuration network "template" is in use' in client("network", "rm", "template", status=1).err
    engine.docker("rm", "-f", "web")
    client("network", "prune", "-f")
    assert names(engine, type=["custom"]) == ["template"]


def test_what_only_a_swarm_has(engine: Place, client: Client) -> None:
    for flags, text in (
        (("--ingress",), "Ingress network can only be global scope network"),
        (("--scope", "swarm"), "cannot create a swarm scoped network when swarm is not active"),
        (("--config-from", "nothing"), 'configuration network "nothing" does not exist'),
    ):
        assert text in client("network", "create", *flags, "new", status=1).err
    assert names(engine, type=["custom"]) == []


def test_removal(engine: Place, client: Client) -> None:
    engine.docker("network", "create", "own")
    engine.run("--name", "web", "--network", "own", "plain", "sleep", "600")
    endpoint = engine.inspect("web")["NetworkSettings"]["Networks"]["own"]["EndpointID"][:12]
    status, answer = engine.request("DELETE", "/networks/own")
    text = f'error while removing network: network own has active endpoints (name:"web" id:"{endpoint}")'
    assert (status, message(answer)) == (403, text)
    for name in ("bridge", "host", "none"):
        refusal = f"{name} is a pre-defined network and cannot be removed"
        assert engine.request("DELETE", f"/networks/{name}") == (403, {"message": refusal})
        assert refusal in client("network", "rm", name, status=1).err
    assert engine.request("DELETE", "/networks/nothing") == (404, {"message": "network nothing not found"})
    (engine.newest if client == engine.docker else client)("network", "rm", "-f", "nothing")
    engine.docker("stop", "-t", "0", "web")
    client("network", "rm", engine.inspect("own")["Id"][:8])
    assert names(engine, type=["custom"]) == []


def test_names_are_unique_and_ids_are_found_by_prefix(engine: Place) -> None:
    engine.docker("network", "create", "own")
    id_ = engine.inspect("own")["Id"]
    status, answer = engine.request("POST", "/networks/create", {"Name": "own"})
    assert (status, message(answer)) == (409, "network with name own already exists")
    status, answer = engine.request("POST", "/networks/create", {"Name": "own", "CheckDuplicate": False})
    assert status == 409
    engine.docker("network", "create", id_[:12])  # a name goes before a part of an id
    assert engine.request("GET", f"/networks/{id_[:12]}")[1]["Name"] == id_[:12]
    assert engine.request("GET", f"/networks/{id_[:11]}")[1]["Name"] == "own"
    assert engine.request("GET", f"/networks/{id_}")[1]["Name"] == "own"
    assert engine.request("GET", "/networks/own?scope=swarm")[0] == 404
    assert engine.request("GET", "/networks/own?verbose=true&scope=local")[1]["Name"] == "own"
    status, answer = engine.request("GET", "/networks/own?verbose=much")
    assert (status, message(answer)) == (400, "invalid value for verbose: much")


def test_inspect_tells_containers_and_what_is_used(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "10.82.0.0/24", "--ip-range", "10.82.0.128/28", "own")
    id_ = engine.run("--name", "web", "--network", "own", "--mac-address", "02:00:00:00:00:07", "plain", "sleep", "600")
    found = engine.request("GET", "/v1.52/networks/own")[1]
    address = engine.address("web")
    assert found["Containers"] == {
        id_: {
            "Name": "web",
            "EndpointID": engine.inspect("web")["NetworkSettings"]["Networks"]["own"]["EndpointID"],
            "MacAddress": "02:00:00:00:00:07",
            "IPv4Address": f"{address}/24",
            "IPv6Address": "",
        }
    }
    used = found["Status"]["IPAM"]["Subnets"]["10.82.0.0/24"]
    assert used["IPsInUse"] == 4 and used["DynamicIPsAvailable"] in (14, 15)  # the gateway may be in the range
    assert "Status" not in engine.request("GET", "/v1.51/networks/own")[1]
    assert [n["Containers"] for n in engine.request("GET", "/networks")[1]] == [{}] * 4


def test_events(engine: Place, client: Client) -> None:
    since = time.time()
    client("network", "create", "own")
    id_ = engine.inspect("own")["Id"]
    container = engine.run("--name", "web", "plain", "sleep", "600")
    client("network", "connect", "own", "web")
    client("network", "disconnect", "own", "web")
    client("network", "rm", "own")
    client("network", "prune", "-f")
    path = f"/events?since={since}&until={time.time()}&filters=" + urllib.parse.quote('{"type":["network"]}')
    happened = [json.loads(line) for line in engine.request("GET", path)[1].splitlines()]
    own = {"name": "own", "type": "bridge"}
    bridge = {"name": "bridge", "type": "bridge", "container": container}
    assert [(e["Action"], e["Actor"]["ID"], e["Actor"]["Attributes"]) for e in happened] == [
        ("create", id_, own),
        ("connect", engine.inspect("bridge")["Id"], bridge),
        ("connect", id_, {**own, "container": container}),
        ("disconnect", id_, {**own, "container": container}),
        ("destroy", id_, own),
        ("prune", "", {"reclaimed": "0"}),
    ]
    assert all(e["Type"] == "network" and e["scope"] == "local" for e in happened)
    span = ("--since", str(since), "--until", str(time.time()))
    only = engine.out("events", *span, "-f", f"network={id_}", "--format", "{{.Action}}")
    assert only.split() == ["create", "connect", "disconnect", "destroy"]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "name is empty"),
        ({"Name": "  "}, 400, "name is empty"),
        ({"Name": "x" * 300}, 400, "invalid network name"),
        ({"Name": "a/b"}, 400, "invalid network name"),
        ({"Name": "host"}, 403, "operation is not permitted on predefined host network"),
        ({"Name": "n", "Driver": "nonsense"}, 404, "plugin not found"),
        ({"Name": "n", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Name": "n", "IPAM": {"Driver": "nonsense"}}, 404, "could not find plugin nonsense"),
        ({"Name": "n", "Options": {"com.docker.network.bridge.nonsense": "1"}}, 400, "unknown option"),
        ({"Name": "n", "Options": {"com.docker.network.driver.mtu": "big"}}, 400, "driver.mtu"),
        ({"Name": "n", "Options": {"com.docker.network.bridge.enable_icc": "so"}}, 400, "enable_icc"),
        ({"Name": "n", "Options": {"com.docker.network.container_iface_prefix": "a/b"}}, 400, "iface_prefix"),
        ({"Name": "n", "Options": {"com.docker.network.bridge.name": "x" * 16}}, 400, "invalid bridge name"),
        ({"Name": "n", "Options": {"com.docker.network.bridge.name": "docker0"}}, 400, "invalid bridge name"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/33"}]}}, 400, "invalid"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "nonsense"}]}}, 400, "invalid"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.9.0.0"}]}}, 400, "invalid subnet 10.9.0.0"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "172.17.4.0/24"}]}}, 403, "Pool overlaps with other one"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "Gateway": "10.8.0.1"}]}}, 400, "10.8.0.1"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "IPRange": "10.8.0.0/28"}]}}, 400, "10.8.0.0/28"),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "AuxiliaryAddresses": {"a": "10.8.0.1"}}]}},
            400,
            "10.8.0.1",
        ),
        ({"Name": "n", "IPAM": {"Config": [{"Gateway": "10.9.0.1"}]}}, 400, "invalid subnet"),
        ({"Name": "n", "IPAM": {"Config": "x"}}, 400, "invalid request"),
        ({"Name": 7}, 400, "invalid request"),
        ({"Name": "n", "Options": {"a": 7}}, 400, "invalid request"),
    ],
)
def test_create_refused(engine: Place, body: Any, status: int, text: str) -> None:
    before = engine.request("GET", "/networks")[1]
    found, answer = engine.request("POST", "/networks/create", body)
    assert found == status and text in message(answer), answer
    assert engine.request("GET", "/networks")[1] == before


def test_what_docker_py_asks_for(engine: Place) -> None:
    """A name with a space in it, options that are null, and a subnet of an IP version that is not enabled."""
    own = engine.api.networks.create("test 01")
    assert engine.api.networks.get(own.id).name == "test 01" and engine.api.networks.list(names=["test 01"])
    own.remove()
    pool = docker.types.IPAMPool(subnet="2001:389::/64", gateway="2001:389::ffff")
    made = engine.api.networks.create("six", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    made.reload()
    assert made.attrs["IPAM"]["Options"] is None and not made.attrs["EnableIPv6"]
    assert made.attrs["IPAM"]["Config"][-1] == {"Subnet": "2001:389::/64", "Gateway": "2001:389::ffff"}
    container = engine.api.containers.run("plain", ["sleep", "600"], detach=True)
    made.connect(container, ipv6_address="2001:389::f00d")
    container.reload()
    place = container.attrs["NetworkSettings"]["Networks"]["six"]
    assert place["IPAMConfig"] == {"IPv6Address": "2001:389::f00d"}
    assert place["IPAddress"] and not place["GlobalIPv6Address"]
    engine.docker("network", "create", "by-docker")
    assert engine.inspect("by-docker")["IPAM"]["Options"] == {}


def test_links_that_are_too_small_for_ipv6(engine: Place) -> None:
    for name, options in (("small", ("-d", "bridge")), ("tiny", ("-d", "macvlan", "-o", "parent=eth0"))):
        engine.docker("network", "create", *options, "-o", "com.docker.network.driver.mtu=1000", name)
        shown = engine.out("run", "--rm", "--net", name, "plain", "ip", "addr", "show", "eth0")
        assert "mtu 1000" in shown and "inet " in shown and "inet6" not in shown


def test_two_on_a_network_of_two_addresses(engine: Place) -> None:
    for option in ("inhibit_ipv4=true", "gateway_mode_ipv4=isolated"):
        option = f"com.docker.network.bridge.{option}"
        engine.docker("network", "create", "--internal", "--subnet", "10.90.0.0/31", "-o", option, "pair")
        engine.run("--net", "pair", "--name", "one", "plain", "sleep", "60")
        engine.docker("run", "--rm", "--net", "pair", "plain", "ping", "-c", "1", "-W", "2", "one")
        engine.docker("rm", "-f", "one")
        engine.docker("network", "rm", "pair")


def test_where_ports_of_one_version_are_routed_ipv4_is_named_first(engine: Place) -> None:
    modes = ("-o", "com.docker.network.bridge.gateway_mode_ipv4=routed")
    engine.docker("network", "create", "--ipv6", *modes, "own")
    engine.run("--net", "own", "--name", "web", "-p", "8080:80", "plain", "sleep", "60")
    ports = engine.inspect("web")["NetworkSettings"]["Ports"]
    assert ports == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}, {"HostIp": "::", "HostPort": "8080"}]}
