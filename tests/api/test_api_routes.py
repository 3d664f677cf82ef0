"""Every path: what it reads, what it asks of the daemon, and the shape of its answer."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from api_serving import Running
from canned_daemon import APP, BRIDGE, IMAGE, JOB, WEB

from linkspan.api import routes_streams
from linkspan.api.routes import STATUS, Api, status_of
from linkspan.engine.update import NetworkUpdate
from linkspan.errors import Internal, LinkspanError, PortInUse, PortUnavailable
from linkspan.model.container import PortBinding
from linkspan.model.network import Pool

SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


def filters(**wanted: object) -> str:
    return "filters=" + urllib.parse.quote(json.dumps({key.replace("_", "-"): value for key, value in wanted.items()}))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping(running: Running, method: str) -> None:
    status, body, headers = running.ask(method, "/_ping")
    assert status == 200
    assert body == (b"OK" if method == "GET" else b"")
    assert headers["api-version"] == "1.52"
    assert headers["ostype"] == "linux"
    assert headers["docker-experimental"] == "false"
    assert headers["swarm"] == "inactive"
    assert headers["server"].startswith("linkspan/") and headers["server"].endswith(" (linux)")
    assert headers["builder-version"] and "no-cache" in headers["cache-control"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (
            "/v1.23/info",
            400,
            "client version 1.23 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
        ("/v1.99/info", 400, "client version 1.99 is too new. Maximum supported API version is 1.52"),
        ("/v1.51/nothing", 404, "page not found"),
        ("/", 404, "page not found"),
        ("/v1.40", 404, "page not found"),
        ("/v1.40/swarm", 503, SWARM),
        ("/services", 503, SWARM),
        ("/nodes/abc", 503, SWARM),
        ("/containers/none/json", 404, "No such container: none"),
        ("/networks/none", 404, "network none not found"),
        ("/volumes/none", 404, "get none: no such volume"),
        ("/images/a/b:1/json", 404, "No such image: a/b:1"),
        ("/plugins/none/json", 404, 'plugin "none" not found'),
        ("/exec/none/json", 404, "No such exec instance: none"),
        ("/containers/web/logs", 400, "Bad parameters: you must choose at least one stream"),
        ("/containers/web/archive", 400, "bad parameter: 'path' cannot be empty"),
        (f"/containers/json?{filters(color=['red'])}", 400, "invalid filter 'color'"),
        (f"/containers/json?{filters(status=['odd'])}", 400, "invalid filter 'status=odd'"),
        ("/containers/json?filters=x", 400, "invalid filter: 'x' is not JSON"),
        ("/containers/json?limit=x", 400, "invalid value 'x' for limit: an integer is needed"),
        (f"/networks?{filters(color=['red'])}", 400, "invalid filter 'color'"),
        (f"/images/json?{filters(color=['red'])}", 400, "invalid filter 'color'"),
        (f"/volumes?{filters(color=['red'])}", 400, "invalid filter 'color'"),
        (f"/events?{filters(color=['red'])}", 400, "invalid filter 'color'"),
        ("/images/search?term=x", 501, "searching Docker Hub is not part of linkspan: name the image to pull"),
    ],
)
def test_refusals(running: Running, path: str, status: int, message: str) -> None:
    got, body, headers = running.ask("GET", path)
    assert (got, body) == (status, {"message": message})
    assert headers["content-type"] == "application/json"


def test_a_wrong_method_is_405(running: Running) -> None:
    status, _, headers = running.ask("PUT", "/info")
    assert (status, headers["allow"]) == (405, "GET")


def test_each_kind_of_error_has_a_status() -> None:
    def kinds(base: type[LinkspanError]) -> set[type[LinkspanError]]:
        return {base, *(found for kind in base.__subclasses__() for found in kinds(kind))}

    own = {kind for kind in kinds(LinkspanError) if kind.__module__ == "linkspan.errors"} - {LinkspanError}
    assert own - set(STATUS) == {PortInUse, PortUnavailable}
    assert status_of(PortInUse("x", protocol="tcp", address="", port=1)) == STATUS[Internal] == 500


def test_not_modified_has_no_body(running: Running) -> None:
    assert running.ask("POST", "/containers/web/start")[:2] == (304, b"")
    assert running.ask("POST", "/containers/job/stop")[:2] == (304, b"")


def test_other_exceptions_show_no_traceback(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    def broken(ref: str) -> None:
        raise ZeroDivisionError("the secret of the house")

    running.daemon.containers.view = broken  # type: ignore[assignment,method-assign]
    status, body, _ = running.ask("GET", "/containers/web/json")
    assert status == 500
    assert body == {"message": "internal error (ZeroDivisionError); the daemon's log has the details"}
    assert "the secret of the house" in caplog.text


def test_list_of_containers(running: Running) -> None:
    status, body, _ = running.ask("GET", "/v1.51/containers/json")
    assert status == 200
    (line,) = body
    assert line["Names"] == ["/web"]
    assert line["Image"] == "mysql" and line["ImageID"] == IMAGE
    assert line["Command"] == "docker-entrypoint.sh mysqld '--some option'"
    assert line["Ports"] == [
        {"IP": "0.0.0.0", "PrivatePort": 3306, "PublicPort": 3306, "Type": "tcp"},
        {"PrivatePort": 33060, "Type": "tcp"},
    ]
    assert line["State"] == "running" and line["Status"].startswith("Up ")
    assert line["HostConfig"] == {"NetworkMode": "bridge"}
    assert set(line["NetworkSettings"]["Networks"]) == {"bridge", "app"}
    assert line["Mounts"][0]["Name"] == "data"
    assert "SizeRw" not in line


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["/web"]),
        ("all=1", ["/job", "/web"]),
        ("limit=1", ["/job"]),
        (filters(status=["exited"]), ["/job"]),
        (filters(status={"exited": True}), ["/job"]),
        ("all=1&" + filters(exited=["3"]), ["/job"]),
        ("all=1&" + filters(name=["^/w"]), ["/web"]),
        ("all=1&" + filters(id=[JOB[:5]]), ["/job"]),
        ("all=1&" + filters(label=["role=db", "stage"]), ["/web"]),
        ("all=1&" + filters(label=["role=web"]), []),
        ("all=1&" + filters(before=["job"]), ["/web"]),
        ("all=1&" + filters(since=["web"]), ["/job"]),
        ("all=1&" + filters(ancestor=["mysql"]), ["/job", "/web"]),
        ("all=1&" + filters(ancestor=["postgres"]), []),
        ("all=1&" + filters(network=["app"]), ["/web"]),
        ("all=1&" + filters(network=[BRIDGE[:6]]), ["/web"]),
        ("all=1&" + filters(volume=["/var/lib/mysql"]), ["/web"]),
        ("all=1&" + filters(publish=["3306"]), ["/web"]),
        ("all=1&" + filters(publish=["3000-4000/udp"]), []),
        ("all=1&" + filters(expose=["33060/tcp"]), ["/web"]),
        ("all=1&" + filters(health=["healthy"]), []),
        ("all=1&" + filters(is_task=["true"]), []),
    ],
)
def test_filters_of_containers(running: Running, query: str, names: list[str]) -> None:
    status, body, _ = running.ask("GET", f"/containers/json?{query}")
    assert status == 200, body
    assert [name for line in body for name in line["Names"]] == names


def test_inspect_on_bridge(running: Running) -> None:
    _, body, _ = running.ask("GET", "/containers/web/json?size=1")
    assert set(body["NetworkSettings"]) == {"SandboxID", "SandboxKey", "Ports", "Networks"}
    _, body, _ = running.ask("GET", "/v1.51/containers/web/json?size=1")
    settings = body["NetworkSettings"]
    assert settings["Bridge"] == "" and settings["HairpinMode"] is False
    assert settings["SandboxID"] == "22" * 32 and settings["SandboxKey"] == "/var/run/docker/netns/222222222222"
    assert settings["Ports"] == {"3306/tcp": [{"HostIp": "0.0.0.0", "HostPort": "3306"}], "33060/tcp": None}
    top = ("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress", "IPv6Gateway", "GlobalIPv6Address")
    for key in top:
        assert settings[key] == settings["Networks"]["bridge"][key]
    assert settings["IPAddress"] == "172.17.0.2" and settings["IPPrefixLen"] == 16
    app = settings["Networks"]["app"]
    assert app["NetworkID"] == APP and app["Aliases"] == ["db"]
    older = running.ask("GET", "/v1.44/containers/web/json")[1]["NetworkSettings"]["Networks"]
    assert older["app"]["Aliases"] == ["db", WEB[:12]] and older["bridge"]["Aliases"] is None
    assert app["DNSNames"] == ["web", "db", WEB[:12]]
    assert settings["Networks"]["bridge"]["DNSNames"] is None
    assert (body["SizeRw"], body["SizeRootFs"]) == (10, 1000)
    assert body["Config"]["ExposedPorts"] and "Healthcheck" not in body["Config"]
    assert body["HostConfig"]["NetworkMode"] == "bridge" and body["HostConfig"]["PortBindings"] == {}
    assert body["State"]["Running"] is True and body["Name"] == "/web"


def test_inspect_in_anothers_sandbox_is_empty(running: Running) -> None:
    settings = running.ask("GET", "/v1.51/containers/job/json")[1]["NetworkSettings"]
    assert settings["Networks"] == {} and settings["Ports"] == {}
    assert settings["SandboxKey"] == settings["SandboxID"] == settings["IPAddress"] == ""


def create(running: Running, body: object, name: str = "new") -> tuple[int, object]:
    return running.ask("POST", f"/v1.50/containers/create?name={name}", body)[:2]


def test_create_reads_what_clients_send(running: Running) -> None:
    body = {
        "Image": "mysql",
        "Cmd": "mysqld",
        "Entrypoint": None,
        "Hostname": None,
        "Tty": None,
        "ExposedPorts": {"3306/tcp": {}},
        "HostConfig": {
            "NetworkMode": "default",
            "PortBindings": {"3306/tcp": [{"HostIp": "", "HostPort": "3306"}], "1/udp": None},
            "LogConfig": {"Type": None, "Config": None},
            "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
            "Unknown": 1,
        },
        "NetworkingConfig": {"EndpointsConfig": {"default": None, "app": {"Aliases": ["x"]}}},
    }
    assert create(running, body)[0] == 201
    _, name, config, host_config, networks = running.daemon.containers.asked[-1]
    assert name == "new" and config.cmd == ("mysqld",) and config.entrypoint is None
    assert host_config.network_mode == "bridge" and host_config.restart_policy.name == "always"
    assert host_config.port_bindings["1/udp"] == (PortBinding(),)  # an empty list is as one of nothing in particular
    assert set(networks) == {"bridge", "app"} and networks["app"].aliases == ("x",)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (None, 400, "config cannot be empty in order to create a container"),
        ({}, 400, "config cannot be empty in order to create a container"),
        (b"null", 400, "config cannot be empty"),
        (b"{", 400, "invalid JSON"),
        (b"{image", 400, "invalid JSON: invalid character 'i' looking for beginning of object key string"),
        (b"{} {}", 400, "unexpected content after JSON"),
        (b"[]", 400, "invalid JSON"),
        (b"[" * 100_000, 400, "invalid JSON"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, 400, "invalid JSON: nested too deeply"),
        ({"Image": "mysql", "Tty": "yes"}, 400, "invalid request: Expected `bool`, got `str` - at `$.Tty`"),
        ({"Image": "mysql", "HostConfig": []}, 400, "HostConfig and NetworkingConfig are objects"),
        ({"Image": "mysql", "HostConfig": 3}, 400, "HostConfig and NetworkingConfig are objects"),
        ({"Image": "mysql", "ExposedPorts": {"99999/tcp": {}}}, 400, "invalid port specification"),
        ({"Image": "mysql", "HostConfig": {"PortBindings": {"a/tcp": []}}}, 400, "invalid port specification"),
        (
            {"Image": "mysql", "HostConfig": {"PortBindings": {"1/tcp": [{"HostPort": "b"}]}}},
            400,
            "invalid port specification",
        ),
        (
            {"Image": "mysql", "HostConfig": {"PortBindings": {"1/tcp": [{"HostIp": "x", "HostPort": "1"}]}}},
            400,
            "invalid host IP address",
        ),
        ({"Image": "nope"}, 404, "No such image: nope"),
    ],
)
def test_create_refuses(running: Running, body: object, status: int, words: str) -> None:
    got, answer = create(running, body)
    assert got == status, answer
    assert isinstance(answer, dict) and words in answer["message"]


def test_what_older_versions_ask_for_is_told_to_newer_ones(running: Running) -> None:
    """As Docker: a MAC address of the whole container, and ports with an empty list of bindings."""
    mac = {"Image": "mysql", "MacAddress": "02:42:ac:11:00:42"}
    empty = {"Image": "mysql", "HostConfig": {"PortBindings": {"80/tcp": []}}}

    def told(version: str, body: object) -> list[str]:
        status, answer = running.ask("POST", f"/v{version}/containers/create", body)[:2]
        assert status == 201, answer
        return [warning.partition(":")[0].partition(". ")[0] for warning in answer["Warnings"]]

    assert told("1.43", mac) == [] and told("1.44", mac) == ["The container-wide MacAddress field is now deprecated"]
    assert told("1.51", empty) == []
    assert told("1.52", empty) == ["Following container port(s) have an empty list of port-bindings"]
    assert running.daemon.containers.asked[-1][3].port_bindings == {"80/tcp": (PortBinding(),)}
    status, answer = running.ask("POST", "/v1.43/containers/create", mac | {"HostConfig": {"NetworkMode": "host"}})[:2]
    assert (status, answer["message"]) == (400, "conflicting options: mac-address and the network mode")


def test_verbs_of_containers(running: Running) -> None:
    asked = running.daemon.containers.asked
    assert running.ask("POST", "/containers/web/stop?t=3&signal=INT")[0] == 204
    assert asked[-1] == ("stop", "web", 3, "INT")
    assert running.ask("POST", "/containers/web/kill?signal=HUP")[0] == 204
    assert asked[-1] == ("kill", "web", "HUP")
    assert running.ask("POST", "/containers/web/rename?name=%2Fnew")[0] == 204
    assert asked[-1] == ("rename", "web", "new")
    assert running.ask("POST", "/containers/web/rename")[0] == 400
    assert running.ask("POST", "/containers/web/update", {"Memory": 1})[:2] == (200, {"Warnings": []})
    assert json.loads(asked[-1][2]) == {"Memory": 1}
    assert running.ask("GET", "/containers/web/top?ps_args=aux")[1]["Processes"] == [["42", "aux"]]
    assert running.ask("GET", "/containers/web/changes")[1][1] == {"Path": "/etc/new", "Kind": 1}
    assert running.ask("POST", "/containers/prune")[1] == {"ContainersDeleted": [JOB], "SpaceReclaimed": 7}
    assert running.ask("POST", f"/containers/prune?{filters(until=['2020-01-01'])}")[1]["ContainersDeleted"] is None
    assert running.ask("DELETE", "/containers/web")[0] == 409
    assert running.ask("DELETE", "/containers/web/db?link=1")[0] == 204
    assert running.daemon.networks.asked[-1] == ("unlink", "web/db")
    assert running.ask("DELETE", "/containers/job?v=1")[0] == 204
    assert running.ask("POST", "/containers/web/resize?h=1")[0] == 400


def test_wait(running: Running) -> None:
    assert running.ask("POST", "/containers/job/wait")[1] == {"StatusCode": 3}
    assert running.ask("POST", "/containers/job/wait?condition=odd")[0] == 400


def test_files(running: Running) -> None:
    assert running.ask("GET", "/containers/web/archive?path=/x")[0] == 404
    assert running.ask("PUT", "/containers/web/archive?path=/x", b"tar" * 100_000)[0] == 200
    status, body, headers = running.ask("GET", "/containers/web/archive?path=/x")
    assert (status, len(body)) == (200, 300_000)
    stat = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
    assert stat["name"] == "x" and stat["size"] == 3
    status, body, headers = running.ask("HEAD", "/containers/web/archive?path=/x")
    assert status == 200 and "x-docker-container-path-stat" in headers
    assert len(running.ask("GET", "/containers/web/export")[1]) == 300_000


def test_stats(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_streams, "STATS_INTERVAL", 0.0)
    _, body, _ = running.ask("GET", "/containers/web/stats?stream=0&one-shot=1")
    assert body["networks"]["eth0"]["rx_bytes"] == 10
    assert body["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    _, body, _ = running.ask("GET", "/containers/web/stats?stream=0")
    assert body["precpu_stats"]["cpu_usage"]["total_usage"] == 5


def test_images(running: Running) -> None:
    asked = running.daemon.images.asked
    (line,) = running.ask("GET", "/images/json")[1]
    assert line["RepoTags"] == ["mysql:latest"] and line["Created"] == 1767323045
    assert running.ask("GET", f"/images/json?{filters(reference=['my*'])}")[1]
    assert not running.ask("GET", f"/images/json?{filters(reference=['post*'])}")[1]
    assert not running.ask("GET", f"/images/json?{filters(dangling=['true'])}")[1]
    body = running.ask("GET", "/images/docker.io/library/mysql/json")[1]
    assert body["RootFS"]["Type"] == "layers" and body["Config"]["Cmd"] == ["mysqld"]
    lines = running.ask("GET", "/images/mysql/history")[1]
    assert [line["Size"] for line in lines] == [0, 12345] and lines[1]["Id"] == "<missing>"
    assert running.ask("POST", "/images/mysql/tag?repo=a/b&tag=1")[0] == 201
    assert asked[-1] == ("tag", "mysql", "a/b", "1")
    assert running.ask("DELETE", "/images/mysql")[1] == [{"Untagged": "mysql"}]
    assert running.ask("POST", "/images/prune")[1] == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    assert running.ask("GET", "/images/get?names=mysql")[1] == b"tar of mysql"
    assert running.ask("GET", "/images/mysql/get")[1] == b"tar of mysql"
    assert running.ask("GET", "/images/nope/get")[0] == 404
    assert running.ask("POST", "/images/load", b"x" * 5_000_000)[1] == {"stream": "Loaded 5000000 bytes\n"}
    assert running.ask("POST", "/images/create?fromSrc=-&repo=r&tag=t&changes=CMD+x", b"abc")[0] == 200
    assert asked[-1][1] == 3 and asked[-1][2]["changes"] == ["CMD x"]
    assert running.ask("POST", "/images/create?fromSrc=http://x/y")[0] == 501
    assert running.ask("POST", "/images/create")[0] == 400


def test_pull_and_its_failures(running: Running) -> None:
    status, body, _ = running.ask("POST", "/images/create?fromImage=mysql&tag=8", headers={"X-Registry-Auth": "abc"})
    assert status == 200 and json.loads(body.splitlines()[0])["status"] == "Pulling from mysql"
    assert running.daemon.images.asked[-1] == ("pull", "mysql", "8", "", "abc")
    status, body, _ = running.ask("POST", "/images/create?fromImage=absent&tag=8")
    assert status == 404 and body["message"].startswith("pull access denied")
    status, body, _ = running.ask("POST", "/images/create?fromImage=torn&tag=8")
    assert status == 200
    last = json.loads(body.splitlines()[-1])
    assert last == {"errorDetail": {"message": "the registry hung up"}, "error": "the registry hung up"}


def test_networks(running: Running) -> None:
    asked = running.daemon.networks.asked
    assert [line["Name"] for line in running.ask("GET", "/networks")[1]] == ["bridge", "app", "host"]
    assert [n["Name"] for n in running.ask("GET", f"/networks?{filters(type=['custom'])}")[1]] == ["app"]
    body = running.ask("GET", "/networks/bridge")[1]
    assert body["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    subnets = {"172.17.0.0/16": {"IPsInUse": 4, "DynamicIPsAvailable": 65532}}
    assert body["Status"] == {"IPAM": {"Subnets": subnets}}
    assert "Status" not in running.ask("GET", "/v1.51/networks/bridge")[1]
    assert body["Containers"][WEB]["IPv4Address"] == "172.17.0.2/16" and body["Containers"][WEB]["Name"] == "web"
    assert running.ask("GET", "/networks/bridge?scope=swarm")[0] == 404
    made = {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"}]}, "Labels": {"a": "b"}}
    assert running.ask("POST", "/networks/create", made)[:2] == (201, {"Id": "07" * 32, "Warning": ""})
    request = asked[-1][1]
    assert (request.name, request.driver, request.pools[0].gateway) == ("n", "bridge", "10.9.0.1")
    assert (request.ipv4, request.ipv6, request.stated) == (True, False, frozenset())
    more = {"EnableIPv4": False, "EnableIPv6": True, "Scope": "local", "ConfigFrom": {"Network": "c"}, "Ingress": True}
    assert running.ask("POST", "/networks/create", made | more)[0] == 201
    request = asked[-1][1]
    assert (request.ipv4, request.ipv6, request.stated) == (False, True, {4, 6})
    assert (request.scope, request.config_from, request.ingress) == ("local", "c", True)
    assert running.ask("POST", "/v1.47/networks/create", made | more)[0] == 201
    assert (asked[-1][1].ipv4, asked[-1][1].stated) == (True, {6})  # older clients send what they do not mean
    assert running.ask("GET", "/networks/bridge?verbose=1")[0] == 200
    assert running.ask("GET", "/networks/bridge?verbose=much")[0] == 400
    for bad in ({}, {"Name": ""}, {"Name": "x", "IPAM": {"Config": [{"Subnet": "nonsense"}]}}):
        assert running.ask("POST", "/networks/create", bad)[0] == 400
    connect = {"Container": "web", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "172.18.0.9"}}}
    assert running.ask("POST", "/networks/app/connect", connect)[0] == 200
    assert asked[-1][3].ipam_config.ipv4_address == "172.18.0.9"
    assert running.ask("POST", "/networks/app/disconnect", {"Container": "web", "Force": True})[0] == 200
    assert asked[-1] == ("disconnect", "app", "web", True)
    assert running.ask("DELETE", "/networks/app")[0] == 204
    assert running.ask("POST", "/networks/prune")[1] == {"NetworksDeleted": None}
    assert running.ask("GET", "/linkspan/nat")[1][0]["target"] == "MASQUERADE"
    assert running.ask("GET", "/linkspan/nat/nft")[1] == b"table ip linkspan {}\n"


def test_volumes(running: Running) -> None:
    assert running.ask("GET", "/volumes")[1]["Volumes"][0]["Name"] == "data"
    status, body, _ = running.ask("POST", "/volumes/create", {"Name": "v", "Labels": {"a": "b"}})
    assert status == 201 and body["Labels"] == {"a": "b"} and body["Scope"] == "local"
    assert running.ask("POST", "/volumes/prune")[1]["VolumesDeleted"] == []
    assert running.ask("POST", f"/volumes/prune?{filters(all=['1'])}")[1]["VolumesDeleted"] == ["v"]
    assert running.ask("POST", "/v1.41/volumes/prune")[1]["VolumesDeleted"] == ["v"]
    assert running.ask("DELETE", "/volumes/v")[0] == 204


def test_system(running: Running) -> None:
    assert running.ask("GET", "/info")[1]["Swarm"] == {"LocalNodeState": "inactive"}
    body = running.ask("GET", "/version")[1]
    assert (body["ApiVersion"], body["MinAPIVersion"], body["Version"]) == ("1.52", "1.24", "0.1.0")
    body = running.ask("GET", "/system/df")[1]
    assert body["LayersSize"] == 12345 and body["Containers"][0]["SizeRw"] == 10
    assert body["Volumes"][0]["UsageData"]["RefCount"] == 1
    login = {"username": "u", "password": "p", "serveraddress": "reg:5000"}
    assert running.ask("POST", "/auth", login)[1]["Status"] == "Login Succeeded"
    assert running.daemon.images.logins == [("reg:5000", "u", "p")]
    assert running.ask("GET", "/plugins")[1] == []
    assert running.ask("POST", "/build/prune")[1] == {"CachesDeleted": None, "SpaceReclaimed": 0}
    for path in ("/build", "/session"):
        status, body, _ = running.ask("POST", path)
        assert status == 501 and "not part of linkspan" in body["message"]


def test_events(running: Running) -> None:
    _, body, _ = running.ask("GET", "/events?until=1")
    assert not {"status", "id", "from"} & set(json.loads(body.splitlines()[0]))
    _, body, _ = running.ask("GET", "/v1.51/events?until=1")
    first, second = (json.loads(line) for line in body.splitlines())
    assert (first["status"], first["id"], first["from"]) == ("start", WEB, "mysql")
    assert first["Actor"] == {"ID": WEB, "Attributes": {"name": "web", "image": "mysql"}}
    assert first["Type"] == "container" and first["scope"] == "local" and first["timeNano"] // 10**9 == first["time"]
    assert second["Type"] == "network" and "status" not in second
    _, body, _ = running.ask("GET", f"/events?until=1&{filters(type=['network'], container=[WEB])}")
    assert body["Action"] == "connect"


def test_every_route_is_found_under_a_version_and_without(running: Running) -> None:
    api = Api(running.daemon)  # type: ignore[arg-type]
    assert not isinstance(api._router.find("GET", "/containers/x/json"), set)
    assert api._router.find("GET", "containers") == set()
    assert running.ask("GET", "/v1.24/containers/json")[0] == running.ask("GET", "/containers/json")[0] == 200


def test_network_update(running: Running) -> None:
    asked = {
        "AddSubnets": [{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.0/28"}],
        "RemoveSubnets": ["10.8.0.0/24"],
        "Labels": {"a": "b"},
        "RemoveLabels": ["c"],
        "Internal": False,
        "Dns": [],
        "Options": {"x": ""},
    }
    assert running.ask("POST", "/networks/bridge/update", asked)[0] == 200
    ((_, ref, wanted),) = running.daemon.networks.asked
    assert (ref, wanted) == (
        "bridge",
        NetworkUpdate(
            pools=(Pool(subnet="10.9.0.0/24", ip_range="10.9.0.0/28"),),
            removed_subnets=("10.8.0.0/24",),
            labels={"a": "b"},
            removed_labels=("c",),
            internal=False,
            dns=(),
            options={"x": ""},
        ),
    )
    for wrong in ({}, {"Internal": "no"}, {"Driver": "macvlan"}, {"AddSubnets": [{"Gateway": "10.0.0.1"}]}):
        assert running.ask("POST", "/networks/bridge/update", wrong)[0] == 400, wrong


def test_publish(running: Running) -> None:
    asked = {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}
    status, body, _ = running.ask("POST", "/containers/web/publish", asked)
    assert status == 200
    assert body == {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}, "Warnings": ["a warning"]}
    assert running.daemon.publishing.asked == [("publish", "web", {"80/tcp": (PortBinding(host_port="8080"),)})]


def test_unpublish(running: Running) -> None:
    asked = {"Ports": ["8080/udp"], "PortBindings": {"80/tcp": None, "443": [{"HostIp": "127.0.0.1"}]}}
    status, body, _ = running.ask("POST", "/containers/web/unpublish", asked)
    assert (status, body) == (200, {"Ports": {}, "Warnings": []})
    ((_, _, wanted),) = running.daemon.publishing.asked
    assert [(w.protocol, w.container, w.address, w.first, w.last, w.alone) for w in wanted] == [
        ("udp", 0, "", 8080, 8080, True),
        ("tcp", 80, "", 0, 0, False),
        ("tcp", 443, "127.0.0.1", 0, 0, False),
    ]


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        ("publish", {}),
        ("publish", {"Ports": ["80"]}),
        ("publish", {"PortBindings": {"80/tcp": [{"HostPort": "no"}]}}),
        ("publish", {"PortBindings": {"80-90/tcp": [{"HostPort": "80"}]}}),
        ("unpublish", {"Ports": "80"}),
        ("unpublish", {"Ports": ["no"]}),
        ("unpublish", {"Port": ["80"]}),
    ],
)
def test_publish_what_makes_no_sense(running: Running, verb: str, asked: object) -> None:
    status, _, _ = running.ask("POST", f"/containers/web/{verb}", asked)
    assert status == 400 and not running.daemon.publishing.asked
