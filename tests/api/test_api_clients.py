"""The real clients against our server: the docker command, and docker-py."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from api_serving import Running
from canned_daemon import BRIDGE, JOB, WEB
from tests.docker_client import DOCKER, MISSING, OLD_CLIENT, THERE

needs_docker = pytest.mark.skipif(not THERE, reason=MISSING)

needs_new_docker = pytest.mark.skipif(
    not THERE or OLD_CLIENT,
    reason="Docker 20.10 has no --format json, and no size of a terminal to begin with",
)


@pytest.fixture
def command(running: Running, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DOCKER, "-H", running.host, *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=30,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )

    return run


Command = Callable[..., subprocess.CompletedProcess[str]]


@needs_new_docker
def test_docker_reads(command: Command) -> None:
    assert "Version:          0.1.0" in command("version").stdout
    table = command("ps", "-a").stdout
    assert "0.0.0.0:3306->3306/tcp, 33060/tcp" in table and "docker-entrypoint.s…" in table and "Exited (3)" in table
    assert command("port", "web", "3306").stdout == "0.0.0.0:3306\n"
    (found,) = json.loads(command("inspect", "web").stdout)
    assert found["NetworkSettings"]["Ports"]["33060/tcp"] is None
    assert command("inspect", "-f", "{{.Id}}", "bridge").stdout.strip() == BRIDGE
    assert command("inspect", "-f", "{{.Name}}", "data").stdout.strip() == "data"
    missing = command("inspect", "nothing")
    assert missing.returncode == 1 and "No such object: nothing" in missing.stderr
    logs = command("logs", "--tail", "5", "--since", "1h", "web")
    assert (logs.stdout, logs.stderr) == ("one\n", "two\n")
    assert "mysqld" in command("history", "mysql").stdout
    assert command("volume", "ls", "-q").stdout == "data\n"
    assert "12.35kB" in command("system", "df").stdout
    assert "42" in command("top", "web").stdout
    assert "C /etc" in command("diff", "web").stdout
    lines = command("events", "--until", "1s", "--format", "json").stdout.splitlines()
    assert json.loads(lines[0])["status"] == "start"
    assert (
        WEB[:12] in command("stats", "--no-stream", "--no-trunc", "--format", "{{.Container}} {{.NetIO}}", WEB).stdout
    )
    assert "Swarm: inactive" in command("info").stdout


@needs_docker
def test_docker_run(command: Command, running: Running) -> None:
    assert command("run", "-i", "mysql", "cat", stdin="hi\nthere\n").stdout == "hi\nthere\n"
    assert command("run", "mysql", "status", "7").returncode == 7
    assert command("run", "--rm", "mysql", "status", "9").returncode == 9
    detached = command("run", "-d", "-p", "80:80", "-v", "data:/x", "-e", "A=b", "--name", "d", "mysql")
    assert len(detached.stdout.strip()) == 64
    assert command("run", "--name", "d", "mysql").returncode == 125
    host_config = next(a for a in running.daemon.containers.asked if a[0] == "create" and a[1] == "d")[3]
    assert host_config.port_bindings["80/tcp"][0].host_port == "80" and host_config.binds == ("data:/x",)
    assert command("wait", "job").stdout == "3\n"
    assert command("rm", "job").stdout == "job\n"
    refused = command("rm", "web")
    assert refused.returncode == 1 and "container is running" in refused.stderr


@needs_docker
def test_docker_exec(command: Command) -> None:
    assert command("exec", "web", "echo", "a", "b").stdout == "a b\n"
    done = command("exec", "-i", "web", "sh", stdin="err oh\nexit 4\n")
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "oh\n")
    missing = command("exec", "web", "missing")
    assert missing.returncode == 127 and "executable file not found" in missing.stderr
    assert command("exec", "-d", "web", "sh").returncode == 0
    assert command("exec", "none", "sh").returncode == 1


@needs_new_docker
def test_docker_exec_on_a_terminal(running: Running, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    client = subprocess.Popen(
        [DOCKER, "-H", running.host, "exec", "-it", "web", "sh"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    try:
        while not seen.endswith(b"$ "):
            seen += os.read(ours, 100)
        os.write(ours, b"exit 5\r")
        assert client.wait(20) == 5
    finally:
        client.kill()
        client.wait()
        os.close(ours)
    ((_, process),) = running.daemon.containers.execs.values()
    assert process is not None and process.size == (33, 77)


@needs_docker
def test_docker_copies_and_pulls(command: Command, running: Running, tmp_path: Path) -> None:
    assert "Downloaded newer image" in command("pull", "mysql:8").stdout
    absent = command("pull", "localhost/absent:1")
    assert absent.returncode == 0  # another name reaches the fake: it is the next one that is refused
    torn = command("image", "import", "-", "x:1", stdin="tar")
    assert torn.returncode == 0
    saved = tmp_path / "saved.tar"
    assert command("save", "-o", str(saved), "mysql").returncode == 0 and saved.read_bytes() == b"tar of mysql"
    assert "Loaded 12 bytes" in command("load", "-i", str(saved)).stdout
    exported = tmp_path / "exported.tar"
    assert command("export", "-o", str(exported), "web").returncode == 0 and exported.stat().st_size == 300_000
    command("cp", "-", "web:/x", stdin="not a tar, and not our matter")
    assert running.daemon.containers.files == {}  # the destination is no directory: the client says so itself
    built = command("build", "-", stdin="FROM scratch\n")
    assert built.returncode != 0 and "not part of linkspan" in built.stderr


@needs_docker
def test_docker_follows_until_the_client_is_killed(running: Running, tmp_path: Path) -> None:
    client = subprocess.Popen(
        [DOCKER, "-H", running.host, "logs", "-f", "web"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"one\n"
    assert not running.daemon.containers.log_closed.is_set()
    client.kill()
    client.wait()
    client.stdout.close()
    deadline = time.monotonic() + 10
    while not running.daemon.containers.log_closed.is_set():
        assert time.monotonic() < deadline, "the stream outlives its client"
        time.sleep(0.01)


def test_docker_py(running: Running) -> None:
    client: Any = docker.DockerClient(base_url=running.host, timeout=20, version="auto")
    try:
        assert client.ping() is True
        assert [c.name for c in client.containers.list(all=True)] == ["job", "web"]
        web = client.containers.get("web")
        assert web.logs() == b"one\ntwo\n"
        assert web.exec_run(["echo", "hi"]) == (0, b"hi\n")
        code, (out, err) = web.exec_run(["missing"], demux=True)
        assert code == 127 and out is None and b"not found" in err
        assert client.containers.get("job").wait() == {"StatusCode": 3}
        with pytest.raises(docker.errors.NotFound):
            client.containers.get("none")
        made = client.containers.create("mysql", ["cat"], name="py", stdin_open=True, ports={"80/tcp": 8080})
        raw = made.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        made.start()
        raw._sock.sendall(b"hello")
        assert raw._sock.recv(100) == b"\x01\0\0\0\0\0\0\x05hello"
        raw._sock.close()
        raw.close()
        assert client.networks.get("bridge").attrs["Containers"][WEB]["Name"] == "web"
        assert client.volumes.list()[0].name == "data"
        assert client.images.get("mysql").tags == ["mysql:latest"]
        events = client.events(decode=True)
        assert next(events)["Action"] == "start"
        events.close()
        assert client.api.inspect_container(JOB)["State"]["ExitCode"] == 3
        assert next(iter(web.stats(decode=True)))["networks"]["eth0"]["tx_bytes"] == 20
    finally:
        client.close()
