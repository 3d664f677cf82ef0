"""A daemon with a few of everything: what it answers to each verb."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import time
from typing import Any, BinaryIO

from fake_daemon import Answer, Asked, FakeDaemon, frame, path_stat

WEB, DB, NEW, EXEC = "a" * 64, "b" * 64, "c" * 64, "e" * 64
FAILING, NOTFOUND, DENIED = "1f" * 32, "2f" * 32, "3f" * 32
CREATED = int(time.time()) - 7210
LABELS = {"com.example.tier": "front", "a": "b"}
FILE_STAT = path_stat("file")
FOLDER_STAT = path_stat("tmp", directory=True)

LISTED: list[dict[str, Any]] = [
    {
        "Id": WEB, "Names": ["/web", "/other/alias"], "Image": "nginx:1.25", "ImageID": "sha256:" + "1" * 64,
        "Command": "docker-entrypoint.sh nginx -g daemon off", "Created": CREATED,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 3306, "PublicPort": 3306, "Type": "tcp"},
            {"PrivatePort": 33060, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": 8000, "Type": "udp"},
            {"IP": "0.0.0.0", "PrivatePort": 8001, "PublicPort": 8001, "Type": "udp"},
            {"IP": "0.0.0.0", "PrivatePort": 8002, "PublicPort": 8002, "Type": "udp"},
        ],
        "Labels": LABELS, "State": "running", "Status": "Up 2 hours", "SizeRw": 1200, "SizeRootFs": 123456789,
        "HostConfig": {"NetworkMode": "back"},
        "NetworkSettings": {"Networks": {"back": {}}},
        "Mounts": [
            {"Type": "volume", "Name": "f" * 64, "Source": "/v", "Destination": "/d", "Driver": "local"},
            {"Type": "bind", "Source": "/srv/somewhere/far/away", "Destination": "/x"},
        ],
    },
    {
        "Id": DB, "Names": ["/db"], "Image": "sha256:" + "2" * 64, "ImageID": "sha256:" + "2" * 64,
        "Command": "mysqld", "Created": CREATED - 86400 * 3, "Ports": [], "Labels": {}, "State": "exited",
        "Status": "Exited (0) 3 days ago", "NetworkSettings": {"Networks": {}}, "Mounts": [],
    },
]  # fmt: skip


def container(name: str, identity: str, **state: Any) -> dict[str, Any]:
    """What inspect answers."""
    return {
        "Id": identity, "Created": "2025-01-02T03:04:05.123456789Z", "Path": "nginx", "Args": ["-g", "daemon off;"],
        "State": {
            "Status": "running", "Running": True, "Paused": False, "Restarting": False, "OOMKilled": False,
            "Dead": False, "Pid": 4711, "ExitCode": 0, "Error": "", "StartedAt": "2025-01-02T03:04:06Z",
            "FinishedAt": "0001-01-01T00:00:00Z", **state,
        },
        "Image": "sha256:" + "1" * 64, "Name": f"/{name}", "RestartCount": 3, "Driver": "overlay2",
        "HostConfig": {
            "NetworkMode": "back", "AutoRemove": False,
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        },
        "Mounts": [{"Type": "bind", "Source": "/srv", "Destination": "/x", "Mode": "", "RW": True, "Propagation": ""}],
        "Config": {
            "Hostname": "web", "Image": "nginx:1.25", "Env": ["A=1", "B=<x>"], "Cmd": ["nginx", "-g"],
            "Tty": name == "tty", "OpenStdin": True, "Labels": LABELS, "AttachStdin": False, "Volumes": None,
        },
        "NetworkSettings": {
            "Ports": {
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                "443/tcp": [{"HostIp": "1.2.3.4", "HostPort": "443"}],
            },
            "Networks": {
                "back": {"IPAddress": "172.30.0.2", "Gateway": "172.30.0.1", "MacAddress": "02:42:ac:1e:00:02"},
            },
        },
    }  # fmt: skip


NETWORK = {
    "Name": "bridge", "Id": "9" * 64, "Created": "2025-01-02T03:04:05.123456789Z", "Scope": "local", "Driver": "bridge",
    "EnableIPv4": True, "EnableIPv6": False,
    "IPAM": {"Driver": "default", "Options": None, "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]},
    "Internal": False, "Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False,
    "Containers": {WEB: {"Name": "web", "EndpointID": "", "MacAddress": "", "IPv4Address": "172.17.0.2/16"}},
    "Options": {"com.docker.network.bridge.name": "docker0"}, "Labels": {},
}  # fmt: skip
VOLUME = {
    "CreatedAt": "2025-01-02T03:04:05Z", "Driver": "local", "Labels": {"a": "b"}, "Mountpoint": "/var/lib/x/_data",
    "Name": "data", "Options": None, "Scope": "local",
}  # fmt: skip
IMAGE = {
    "Id": "sha256:" + "1" * 64, "RepoTags": ["mysql:latest"], "RepoDigests": [], "Created": "2025-01-02T03:04:05Z",
    "Architecture": "amd64", "Os": "linux", "Size": 123456789, "Config": {"Env": ["A=1"], "Cmd": ["mysqld"]},
    "RootFS": {"Type": "layers", "Layers": ["sha256:" + "2" * 64]},
}  # fmt: skip
IMAGES = [
    {
        "Id": "sha256:" + "1" * 64, "RepoTags": ["mysql:latest", "mysql:8"], "Created": CREATED, "Size": 123456789,
        "RepoDigests": ["mysql@sha256:" + "3" * 64], "Containers": -1, "SharedSize": -1, "Labels": None, "ParentId": "",
    },
    {
        "Id": "sha256:" + "4" * 64, "RepoTags": [], "RepoDigests": [], "Created": CREATED - 86400 * 40, "Size": 999,
        "Containers": -1, "SharedSize": -1, "Labels": None, "ParentId": "",
    },
]  # fmt: skip
LAYERS = [
    {"Id": "sha256:" + "1" * 64, "Created": CREATED, "CreatedBy": "CMD x", "Size": 0, "Comment": "", "Tags": None},
    {
        "Id": "<missing>", "Created": CREATED - 86400 * 800, "Size": 123456789, "Comment": "buildkit", "Tags": None,
        "CreatedBy": "/bin/sh -c #(nop) ADD file:0123456789abcdef0123456789abcdef in / ",
    },
]  # fmt: skip
EVENTS = [
    {
        "Type": kind, "Action": action, "scope": "local", "time": 1700000000, "timeNano": 1700000000123456789,
        "Actor": {"ID": WEB, "Attributes": {"name": "web", "image": "nginx"}},
    }
    for kind, action in (("container", "start"), ("network", "connect"))
]  # fmt: skip
STATS = {
    "id": WEB, "name": "/web", "read": "2025-01-02T03:04:05Z", "preread": "2025-01-02T03:04:04Z",
    "pids_stats": {"current": 7}, "num_procs": 0, "os_type": "linux",
    "blkio_stats": {"io_service_bytes_recursive": [
        {"major": 8, "minor": 0, "op": "read", "value": 12345}, {"major": 8, "minor": 0, "op": "write", "value": 678},
    ]},
    "cpu_stats": {"cpu_usage": {"total_usage": 3000000}, "system_cpu_usage": 200000000, "online_cpus": 2},
    "precpu_stats": {"cpu_usage": {"total_usage": 1000000}, "system_cpu_usage": 100000000, "online_cpus": 2},
    "memory_stats": {"usage": 50000000, "limit": 1000000000, "stats": {"inactive_file": 1000000}},
    "networks": {"eth0": {"rx_bytes": 1234, "tx_bytes": 5678900}},
}  # fmt: skip
PULLED: list[dict[str, Any]] = [
    {"status": "Pulling from library/alpine", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "0123456789ab"},
    {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "id": "0123456789ab"},
    {"status": "Pull complete", "progressDetail": {}, "id": "0123456789ab"},
    {"status": "Digest: sha256:" + "5" * 64},
    {"status": "Status: Downloaded newer image for alpine:latest"},
]


def lines(*objects: Any) -> list[bytes]:
    return [json.dumps(item).encode() + b"\r\n" for item in objects]


def missing(text: str) -> Answer:
    return Answer(404, {"message": text})


def speak(*frames: bytes, echo: bool = False) -> Any:
    """A stream that says the frames, then, with `echo`, what it hears until the other end has no more."""

    def stream(reader: BinaryIO, connection: socket.socket) -> None:
        for piece in frames:
            connection.sendall(piece)
        while echo and (heard := reader.read1(4096)):  # type: ignore[attr-defined]
            connection.sendall(frame(1, heard))

    return stream


def archive() -> bytes:
    """A tar of one file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    return file.getvalue()


def script(daemon: FakeDaemon) -> None:
    """Sets every answer, as on the first day."""
    on = {key: value for key, value in daemon.on.items() if key.endswith("/_ping")}
    pulled: set[str] = set()

    def create(asked: Asked) -> Answer:
        image = asked.json["Image"]
        if image == "badnetwork":
            return missing("network nowhere not found")
        if image == "nobodyimage" or (image == "newimage" and image not in pulled):
            return missing(f"No such image: {image}:latest")
        warnings = ["something is odd"] if image == "newimage" else []
        return Answer(
            201,
            {"Id": {"failing": FAILING, "notfound": NOTFOUND, "denied": DENIED}.get(image, NEW), "Warnings": warnings},
        )

    def pull(asked: Asked) -> Answer:
        if "fromSrc" in asked.query:
            return Answer(chunks=lines({"status": "sha256:" + "6" * 64}))
        name = asked.query["fromImage"][0].rpartition("/")[2]
        if name == "nobodyimage":
            return missing(
                "pull access denied for nobodyimage, repository does not exist or may require 'docker login'"
            )
        if name == "broken":
            return Answer(chunks=lines(PULLED[0], {"errorDetail": {"message": "disk full"}, "error": "disk full"}))
        pulled.add(name)
        return Answer(chunks=lines(*PULLED))

    on["POST /containers/create"] = create
    on["POST /images/create"] = pull
    on["GET /containers/json"] = Answer(body=LISTED)
    on["GET /info"] = Answer(
        body={"ServerVersion": "29.1", "OSType": "linux", "IndexServerAddress": "https://index.docker.io/v1/"}
    )
    on["GET /version"] = Answer(body={"Version": "29.1", "ApiVersion": "1.51", "Os": "linux", "Components": []})
    for name, identity in (("web", WEB), ("db", DB), ("tty", "d" * 64), (NEW, NEW), (WEB, WEB)):
        _container(on, name, identity)
    on["GET /containers/stopped/json"] = Answer(body=container("stopped", DB, Running=False, Status="exited"))
    on[f"POST /containers/{NEW}/attach"] = Answer(
        stream=speak(frame(1, b"out\n"), frame(2, b"err\n"), echo=True),
        headers={"Content-Type": "application/vnd.docker.multiplexed-stream"},
    )
    for identity in (FAILING, NOTFOUND, DENIED):
        on[f"POST /containers/{identity}/attach"] = Answer(
            stream=speak(echo=True), headers={"Content-Type": "application/vnd.docker.multiplexed-stream"}
        )
        on[f"POST /containers/{identity}/wait"] = Answer(body={"StatusCode": 0})
    on[f"POST /containers/{NEW}/wait"] = Answer(body={"StatusCode": 42})
    on[f"POST /containers/{FAILING}/start"] = Answer(
        500, {"message": "driver failed programming external connectivity"}
    )
    failed = 'failed to create task: exec: "missing": executable file not found in $PATH'
    on[f"POST /containers/{NOTFOUND}/start"] = Answer(400, {"message": failed})
    on[f"POST /containers/{DENIED}/start"] = Answer(400, {"message": "failed to create task: permission denied"})
    _nobody(on)
    _exec(on)
    _others(on)
    daemon.on = on


def _container(on: dict[str, Any], name: str, identity: str) -> None:
    path = f"/containers/{name}"
    on[f"GET {path}/json"] = Answer(body=container(name if len(name) < 64 else "web", identity))
    for verb in ("start", "stop", "restart", "kill", "pause", "unpause", "rename"):
        on[f"POST {path}/{verb}"] = Answer(204)
    on[f"POST {path}/update"] = Answer(body={"Warnings": ["no swap here"]})
    on[f"POST {path}/wait"] = Answer(body={"StatusCode": 7})
    on[f"DELETE {path}"] = Answer(204)
    logged = [b"one\n"] if name == "tty" else [frame(1, b"one\n")[:5], frame(1, b"one\n")[5:] + frame(2, b"two\n")]
    on[f"GET {path}/logs"] = Answer(chunks=logged)
    on[f"GET /containers/{identity}/logs"] = Answer(chunks=logged)
    on[f"GET {path}/top"] = Answer(
        body={"Titles": ["PID", "CMD"], "Processes": [["4711", "nginx: master"], ["4712", "x"]]}
    )
    on[f"GET {path}/changes"] = Answer(
        body=[{"Path": "/etc", "Kind": 0}, {"Path": "/a", "Kind": 1}, {"Path": "/b", "Kind": 2}]
    )
    on[f"GET {path}/stats"] = Answer(body=STATS)
    on[f"GET {path}/export"] = Answer(chunks=[b"a tar ", b"stream"])
    on[f"POST {path}/exec"] = Answer(201, {"Id": EXEC})
    on[f"POST {path}/attach"] = Answer(
        stream=speak(frame(1, b"hello\n"), echo=True),
        headers={"Content-Type": "application/vnd.docker.multiplexed-stream"},
    )

    def stat(asked: Asked) -> Answer:
        known = {"/etc/file": FILE_STAT, "/tmp": FOLDER_STAT}
        value = known.get(asked.query["path"][0])
        if value is None:
            return missing(f"Could not find the file {asked.query['path'][0]} in container {name}")
        return Answer(
            body=archive() if asked.method == "GET" else None, headers={"X-Docker-Container-Path-Stat": value}
        )

    on[f"HEAD {path}/archive"] = stat
    on[f"GET {path}/archive"] = stat
    on[f"PUT {path}/archive"] = Answer(200)


def _nobody(on: dict[str, Any]) -> None:
    for verb in (
        "GET {}/json",
        "POST {}/start",
        "POST {}/stop",
        "POST {}/wait",
        "DELETE {}",
        "POST {}/kill",
        "HEAD {}/archive",
    ):
        on[verb.format("/containers/nobody")] = missing("No such container: nobody")
    on["GET /images/nobody/json"] = missing("No such image: nobody:latest")
    on["GET /networks/nobody"] = missing("network nobody not found")
    on["DELETE /networks/nobody"] = missing("network nobody not found")
    on["POST /networks/nobody/connect"] = missing("network nobody not found")
    on["GET /volumes/nobody"] = missing("get nobody: no such volume")
    on["DELETE /volumes/nobody"] = missing("get nobody: no such volume")
    on["DELETE /images/nobody"] = missing("No such image: nobody:latest")


def _exec(on: dict[str, Any]) -> None:
    def start(asked: Asked) -> Answer:
        if asked.json["Detach"]:
            return Answer(200)
        if asked.json["Tty"]:
            return Answer(stream=speak(b"raw\r\n"), headers={"Content-Type": "application/vnd.docker.raw-stream"})
        return Answer(
            stream=speak(frame(1, b"out\n"), frame(2, b"err\n"), echo=True),
            headers={"Content-Type": "application/vnd.docker.multiplexed-stream"},
        )

    on[f"POST /exec/{EXEC}/start"] = start
    on[f"GET /exec/{EXEC}/json"] = Answer(body={"ID": EXEC, "Running": False, "ExitCode": 3, "Pid": 1})


def _others(on: dict[str, Any]) -> None:
    on["GET /events"] = Answer(chunks=lines(*EVENTS))
    on["GET /images/json"] = Answer(body=IMAGES)
    on["GET /images/mysql/json"] = on["GET /images/mysql:latest/json"] = Answer(body=IMAGE)
    on["GET /images/mysql/history"] = Answer(body=LAYERS)
    on["POST /images/mysql/tag"] = Answer(201)
    on["DELETE /images/mysql"] = Answer(body=[{"Untagged": "mysql:latest"}, {"Deleted": "sha256:" + "1" * 64}])
    on["GET /images/get"] = Answer(chunks=[b"an ", b"archive"])
    on["POST /images/load"] = Answer(
        chunks=lines({"stream": "Loaded image: mysql:latest\n"}), headers={"Content-Type": "application/json"}
    )
    pushed = lines(
        {"status": "The push refers to repository [localhost:5000/team/app]"}, {"status": "Pushed", "id": "1"}
    )
    on["POST /images/localhost:5000/team/app/push"] = Answer(chunks=pushed)
    front = {**NETWORK, "Name": "front10", "Id": "8" * 64, "Labels": {"c": "d"}, "Internal": True}
    on["GET /networks"] = Answer(body=[front, NETWORK, {**NETWORK, "Name": "front9", "Id": "7" * 64}])
    on["GET /networks/bridge"] = Answer(body=NETWORK)
    on["GET /networks/back"] = Answer(body={**NETWORK, "Name": "back"})
    on["POST /networks/create"] = Answer(201, {"Id": "6" * 64, "Warning": ""})
    on["DELETE /networks/back"] = Answer(204)
    on["POST /networks/back/connect"] = on["POST /networks/back/disconnect"] = Answer(200)
    on["POST /networks/prune"] = Answer(body={"NetworksDeleted": ["back", "front"]})
    on["GET /volumes"] = Answer(body={"Volumes": [{**VOLUME, "Name": "zoo"}, VOLUME], "Warnings": None})
    on["GET /volumes/data"] = Answer(body=VOLUME)
    on["POST /volumes/create"] = Answer(201, VOLUME)
    on["DELETE /volumes/data"] = Answer(204)
    on["POST /volumes/prune"] = Answer(body={"VolumesDeleted": ["data"], "SpaceReclaimed": 12345})
    on["POST /containers/prune"] = Answer(body={"ContainersDeleted": [WEB], "SpaceReclaimed": 1234567})
    on["POST /images/prune"] = Answer(
        body={"ImagesDeleted": [{"Deleted": "sha256:1"}, {"Untagged": "x:1"}], "SpaceReclaimed": 5}
    )
    on["POST /build/prune"] = Answer(body={"CachesDeleted": [], "SpaceReclaimed": 0})
    on["GET /system/df"] = Answer(body={
        "LayersSize": 123456789,
        "Images": [{**IMAGES[0], "Containers": 1, "SharedSize": 0}, {**IMAGES[1], "Containers": 0}],
        "Containers": LISTED, "Volumes": [{**VOLUME, "UsageData": {"RefCount": 1, "Size": 500}}], "BuildCache": [],
    })  # fmt: skip
