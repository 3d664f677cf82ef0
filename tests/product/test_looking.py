"""What the engine tells of containers and of itself: inspect, top, port, events, stats, info, version."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.product.engine import PROGRAMS, Done
from tests.product.place import Place

Client = Callable[..., Done]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z"


def test_inspect(engine: Place, client: Client) -> None:
    id_ = engine.run("--name", "seen", "-e", "A=b", "-p", "8080:80", "--restart", "on-failure:3", "web")
    (found,) = json.loads(client("inspect", "seen").out)
    assert (found["Id"], found["Name"], found["Path"], found["Args"][:1]) == (id_, "/seen", "httpd", ["-f"])
    assert found["Image"] == engine.inspect("web")["Id"] and found["Config"]["Image"] == "web"
    assert re.fullmatch(STAMP, found["Created"]) and re.fullmatch(STAMP, found["State"]["StartedAt"])
    assert found["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"
    assert found["State"]["Pid"] > 0 and found["Platform"] == "linux"
    assert "A=b" in found["Config"]["Env"] and found["Config"]["ExposedPorts"] == {"80/tcp": {}, "5353/udp": {}}
    assert found["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert found["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "5353/udp": None,
    }
    for key in ("LogPath", "HostsPath", "HostnamePath", "ResolvConfPath"):
        assert found[key].startswith(str(engine.data_root)), key
    assert client("inspect", "-f", "{{.State.Status}} {{json .Config.Labels}}", "seen").out == "running {}\n"
    assert "No such object: nothing" in client("inspect", "nothing", status=1).err
    sized = json.loads(client("inspect", "-s", "seen").out)[0]
    assert sized["SizeRootFs"] > 1_000_000 and sized["SizeRw"] == 0


def test_top(engine: Place, client: Client) -> None:
    engine.run("--name", "busy", "-u", "app", "plain", "sh", "-c", "sleep 77 & sleep 78; wait")
    deadline = time.monotonic() + 5
    while "sleep 78" not in client("top", "busy").out:
        assert time.monotonic() < deadline
    lines = client("top", "busy").out.splitlines()
    assert lines[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"] and len(lines) == 4
    custom = client("top", "busy", "-o", "pid,args").out.splitlines()
    assert custom[0].split() == ["PID", "COMMAND"] and any("sleep 77" in line for line in custom)
    engine.docker("stop", "-t", "0", "busy")
    assert "is not running" in client("top", "busy", status=1).err


def test_port(engine: Place, client: Client) -> None:
    engine.run("--name", "open", "-p", "8080:80", "-p", "127.0.0.1:5353:5353/udp", "-p", "8081:80", "web")
    assert sorted(client("port", "open").out.splitlines()) == [
        "5353/udp -> 127.0.0.1:5353",
        "80/tcp -> 0.0.0.0:8080",
        "80/tcp -> 0.0.0.0:8081",
        "80/tcp -> [::]:8080",
        "80/tcp -> [::]:8081",
    ]
    assert client("port", "open", "5353/udp").out == "127.0.0.1:5353\n"
    assert "No public port '99/tcp' published for open" in client("port", "open", "99", status=1).err.replace(
        "99'", "99/tcp'"
    )


def test_events(engine: Place, client: Client) -> None:
    since = str(time.time())
    engine.docker("run", "--rm", "--name", "told", "--label", "a=b", "plain", "sh", "-c", "exit 2", status=2)
    engine.docker("volume", "create", "vol")
    until = str(time.time() + 0.1)
    lines = [
        json.loads(line)
        for line in client("events", "--since", since, "--until", until, "--format", "{{json .}}").out.splitlines()
    ]
    told = [(line["Type"], line["Action"]) for line in lines]
    for one in ("create", "attach", "start", "die", "destroy"):
        assert ("container", one) in told, told
    assert ("network", "connect") in told and ("network", "disconnect") in told and ("volume", "create") in told
    order = [action for kind, action in told if kind == "container"]
    assert order.index("create") < order.index("start") < order.index("die") < order.index("destroy")
    die = next(line for line in lines if line["Action"] == "die")
    attributes = die["Actor"]["Attributes"]
    assert (attributes["exitCode"], attributes["name"], attributes["image"], attributes["a"]) == (
        "2",
        "told",
        "plain",
        "b",
    )
    assert die["time"] * 10**9 <= die["timeNano"] < (die["time"] + 1) * 10**9
    only = client("events", "--since", since, "--until", until, "-f", "event=die", "-f", "label=a").out.splitlines()
    assert len(only) == 1 and " container die " in only[0] and "exitCode=2" in only[0]
    assert client("events", "--since", since, "--until", until, "-f", "type=volume", "-f", "container=told").out == ""


def test_events_as_they_happen(engine: Place) -> None:
    listener = engine.popen("events", "-f", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
    assert listener.stdout is not None
    time.sleep(0.3)
    engine.run("--name", "now", "plain", "true")
    assert [listener.stdout.readline() for _ in range(3)] == [b"create now\n", b"start now\n", b"die now\n"]
    listener.kill()
    listener.communicate()


@pytest.mark.parametrize("words", ["events --since 1 -f type=network", "logs -f writes"])
def test_ends_when_nobody_reads_it_any_more(engine: Place, words: str) -> None:
    """`linkspan events | head -1`: the end does not wait for another line to write."""
    engine.run("--name", "writes", "plain", "sh", "-c", "echo one; sleep 600")
    client = engine.popen(*words.split(), program=str(PROGRAMS / "linkspan"))
    assert client.stdout is not None
    assert client.stdout.readline()
    client.stdout.close()
    assert client.wait(5) == 128 + signal.SIGPIPE
    assert client.communicate()[1] == b""


def test_stats(engine: Place, client: Client) -> None:
    engine.run("--name", "busy", "-m", "64m", "plain", "sh", "-c", "while :; do :; done")
    (line,) = client("stats", "--no-stream", "--format", "{{json .}}").out.splitlines()
    found = json.loads(line)
    assert found["Name"] == "busy" and float(found["CPUPerc"].rstrip("%")) > 5  # of what a busy machine leaves it
    assert found["MemUsage"].endswith("/ 64MiB") and int(found["PIDs"]) == 1
    sample = engine.api.api.stats("busy", stream=False)
    assert sample["networks"]["eth0"]["rx_packets"] >= 0 and sample["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    engine.docker("rm", "-f", "busy")
    assert client("stats", "--no-stream", "--format", "{{json .}}").out == ""


def test_info_and_version(engine: Place, client: Client) -> None:
    engine.run("plain", "sleep", "60")
    info = json.loads(client("info", "--format", "{{json .}}").out)
    assert (info["Containers"], info["ContainersRunning"], info["Images"]) == (1, 1, 2)
    assert info["ID"] == (engine.data_root / "engine-id").read_text().strip()  # Docker's is the engine's own, too
    assert info["Name"] == "host" and info["DockerRootDir"] == str(engine.data_root) and info["NCPU"] >= 1
    assert "Swarm: inactive" in client("info").out
    shown = engine.linkspan("info").out  # docker shows these from version 29 on
    assert " Firewall Backend: nftables\n  Table: inet linkspan\n  PublishPolicy: open\n" in shown
    assert f"   Base: {info['DefaultAddressPools'][0]['Base']}, Size: " in shown
    version = json.loads(client("version", "--format", "{{json .}}").out)
    assert (version["Server"]["ApiVersion"], version["Server"]["MinAPIVersion"]) == ("1.52", "1.24")
    shown = client("version").out  # docker takes these from the details of the component named Engine
    assert "(minimum version 1.24)" in shown and "linux/" in shown.partition("Server")[2]


def test_version_negotiation(engine: Place) -> None:
    assert engine.request("GET", "/v1.24/containers/json")[0] == 200
    assert engine.request("GET", "/v1.51/containers/json")[0] == 200
    status, body = engine.request("GET", "/v1.23/containers/json")
    assert status == 400 and "client version 1.23 is too old. Minimum supported API version is 1.24" in body["message"]
    status, body = engine.request("GET", "/v1.99/containers/json")
    assert status == 400 and "client version 1.99 is too new. Maximum supported API version is 1.52" in body["message"]
    assert engine.request("GET", "/nothing/here") == (404, {"message": "page not found"})
    assert engine.request("GET", "/swarm")[0] == 503
    engine.docker("version")
    old = {**engine.environment, "DOCKER_API_VERSION": "1.40"}
    engine.environment, kept = old, engine.environment
    try:
        assert engine.docker("run", "--rm", "plain", "echo", "old").out == "old\n"
    finally:
        engine.environment = kept


def test_system_df_and_prune(engine: Place, client: Client) -> None:
    engine.docker("run", "--name", "big", "-v", "/data", "plain", "sh", "-c", "head -c 50000 /dev/zero >/x")
    assert "50kB" in client("system", "df").out
    assert "Total reclaimed space: 50kB" in client("container", "prune", "-f").out
    assert engine.out("ps", "-aq") == ""
    engine.docker("network", "create", "unused")
    assert "unused" in client("network", "prune", "-f").out
