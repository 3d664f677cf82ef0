"""What cannot be done is said in Docker's form and words; the daemon goes on, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import socket_in
from tests.product.network import answers
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces


def raw(engine: Place, data: bytes, *, close: bool = True, wait: float = 5) -> bytes:
    """What comes back for bytes written to the socket; with `close`, no more bytes are to come from us."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(wait)
        client.connect(str(engine.socket))
        answer = b""
        try:
            client.sendall(data)
            if close:
                client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                answer += piece
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        return answer


def create(engine: Place, **body: Any) -> tuple[int, str]:
    status, answer = engine.request("POST", "/containers/create", {"Image": "plain", **body})
    assert isinstance(answer, dict), answer
    return status, str(answer.get("message", ""))


def test_unknown_image(engine: Place) -> None:
    assert engine.request("POST", "/containers/create", {"Image": "nothing-here"}) == (
        404,
        {"message": "No such image: nothing-here:latest"},
    )
    assert engine.request("GET", "/images/nothing-here/json")[0] == 404
    assert engine.request("DELETE", "/images/nothing-here")[0] == 404


def test_unknown_things(engine: Place) -> None:
    for method, path in (
        ("GET", "/containers/nobody/json"),
        ("POST", "/containers/nobody/start"),
        ("POST", "/containers/nobody/stop"),
        ("POST", "/containers/nobody/wait"),
        ("POST", "/containers/nobody/exec"),
        ("POST", "/containers/nobody/attach?stream=1&stdout=1"),
        ("GET", "/containers/nobody/logs?stdout=1"),
        ("GET", "/containers/nobody/stats?stream=0"),
        ("DELETE", "/containers/nobody"),
    ):
        body = {"Cmd": ["true"]} if path.endswith("exec") else None
        assert engine.request(method, path, body) == (404, {"message": "No such container: nobody"}), path
    assert engine.request("POST", "/exec/nothing/start", {})[1] == {"message": "No such exec instance: nothing"}
    assert engine.request("GET", "/networks/nothing") == (404, {"message": "network nothing not found"})
    assert engine.request("GET", "/volumes/nothing") == (404, {"message": "get nothing: no such volume"})
    assert engine.request("PATCH", "/containers/json")[0] in (404, 405)


def test_name_in_use(engine: Place) -> None:
    id_ = engine.run("--name", "one", "plain", "sleep", "60")
    status, answer = engine.request("POST", "/containers/create?name=one", {"Image": "plain"})
    assert status == 409 and answer["message"] == (
        f'Conflict. The container name "/one" is already in use by container "{id_}". You have to remove (or rename) '
        "that container to be able to reuse that name."
    )


@pytest.mark.parametrize(
    "bindings, text",
    [
        ({"1/tcp": [{"HostPort": "99999"}]}, "invalid port specification"),
        ({"b/tcp": [{"HostPort": "a"}]}, "invalid"),
        ({"80/tcp": [{"HostPort": "a"}]}, "invalid"),
        ({"80/tcp": [{"HostPort": "-1"}]}, "invalid"),
        ({"80/tcp": [{"HostPort": "9-5"}]}, "invalid"),
        ({"99999/tcp": [{"HostPort": "1"}]}, "invalid"),
        ({"0/tcp": [{"HostPort": "1"}]}, "invalid"),
        ({"80/nonsense": [{"HostPort": "1"}]}, "nvalid proto"),
        ({"80/tcp": [{"HostIp": "300.1.1.1", "HostPort": "1"}]}, "invalid"),
        ({"80/tcp": "1"}, ""),
        ("80", ""),
    ],
)
def test_ports(engine: Place, bindings: Any, text: str) -> None:
    status, message = create(engine, HostConfig={"PortBindings": bindings})
    assert status == 400 and text.lower() in message.lower() and message, message
    assert engine.out("ps", "-aq") == ""


def test_ports_from_the_command_line(engine: Place) -> None:
    for wrong in ("99999:1", "a:b", "1:99999", "300.1.1.1:1:1", "1:1/nonsense"):
        assert engine.docker("run", "-d", "-p", wrong, "plain", status=125).err
        assert engine.linkspan("run", "-d", "-p", wrong, "plain", status=125).err
    refused = engine.docker("run", "-d", "-p", "10.1.1.1:8080:80", "web", status=125).err  # not this host's
    assert "cannot assign requested address" in refused


def test_bodies(engine: Place) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"Image": 7}',
        b'{"Cmd": {"a": 1}, "Image": "plain"}',
    ):
        status, answer = engine.request("POST", "/containers/create", body)
        assert status == 400 and answer["message"], (body, status, answer)
    deep = b"[" * 100_000 + b"]" * 100_000
    assert engine.request("POST", "/containers/create", b'{"Image": "plain", "Labels": ' + deep + b"}")[0] == 400
    assert create(engine, HostConfig={"Memory": "much"})[0] == 400
    assert create(engine, Env=["=x"])[0] == 400
    assert engine.request("GET", "/containers/json?filters=nonsense")[0] == 400
    assert engine.request("GET", "/containers/json?limit=x")[0] == 400
    assert engine.request("GET", "/events?since=yesterday")[0] == 400


@pytest.mark.parametrize(
    "command, status, text",
    [
        (("nothing-there",), 127, 'exec: "nothing-there": executable file not found in $PATH'),
        (("/not/there",), 127, "no such file or directory"),
        (("/etc/plain",), 126, "permission denied"),
        (("/etc",), 126, ""),
        (("broken",), 126, "exec format error"),
    ],
)
def test_commands_that_cannot_be_run(engine: Place, command: tuple[str, ...], status: int, text: str) -> None:
    before = traces(engine)
    refused = engine.docker("run", "--rm", "-p", "8080:80", "plain", *command, status=None)
    if command == ("broken",) and refused.status == 1:  # told by the process itself, as its first and last words
        assert "exec format error" in refused.err
    else:
        assert refused.status == status and text in refused.err, refused
    settles(engine, before)
    engine.docker("run", "-d", "--name", "kept", "-p", "8080:80", "plain", *command, status=None)
    if command == ("broken",):
        engine.docker("wait", "kept")
    found = engine.inspect("kept")["State"]
    assert not found["Running"] and found["ExitCode"] in (status, 1, 128)
    engine.run("-p", "8080:80", "web")  # the port is free


def test_a_registry_that_does_not_answer(engine: Place) -> None:
    closed = engine.docker("pull", "127.0.0.1:5999/some/thing", status=1, timeout=40).err
    assert "connection refused" in closed
    with socket_in(engine.here) as listener:  # accepts, and never says a word
        listener.bind(("127.0.0.1", 5998))
        listener.listen()
        silent = engine.popen("pull", "127.0.0.1:5998/some/thing")
        time.sleep(1)
        assert engine.request("GET", "/_ping")[0] == 200
        engine.run("--name", "meanwhile", "plain", "sleep", "60")
        silent.send_signal(signal.SIGINT)  # and who gives up leaves nothing running
        silent.communicate(timeout=20)
    assert "invalid reference format" in engine.docker("pull", "UPPER/case", status=1).err


def test_truncated_requests(engine: Place) -> None:
    before = traces(engine)
    body = json.dumps({"Image": "plain"}).encode()
    head = f"POST /containers/create?name=cut HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    whole = head + body
    for length in (1, 10, len(head) - 2, len(head), len(head) + 5, len(whole) - 1):
        answer = raw(engine, whole[:length])
        assert b" 2" not in answer[:13] and b"Traceback" not in answer, answer
    chunked = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    assert b" 201 " not in raw(engine, chunked)
    assert engine.out("ps", "-aq") == ""
    settles(engine, before)


def test_garbage(engine: Place) -> None:
    before = traces(engine)
    chance = random.Random(3)
    for size in (1, 50, 5_000, 200_000):
        assert b"Traceback" not in raw(engine, chance.randbytes(size))
    for line in (
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /containers/%00%ff/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /containers/../../etc/passwd/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ):
        answer = raw(engine, line, wait=3)
        assert b"Traceback" not in answer and b" 500 " not in answer[:20], answer[:300]
    assert engine.request("GET", "/_ping") == (200, "OK")
    settles(engine, before)


def test_idle_connections(engine: Place) -> None:
    """Two hundred clients that connect and say nothing are in nobody's way."""
    idle = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    for one in idle:
        one.connect(str(engine.socket))
    assert engine.out("run", "--rm", "plain", "echo", "served") == "served"
    for one in idle:
        one.close()


def test_a_body_of_100_megabytes(engine: Place) -> None:
    before = memory(engine)
    size = 100 << 20
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(engine.socket))
        client.sendall(f"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        piece, answer = b" " * (1 << 20), b""
        try:
            for _ in range(100):
                client.sendall(piece)
        except OSError:
            pass  # it has heard enough
        try:
            answer = client.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or b" 413 " in answer[:20] or b" 400 " in answer[:20], answer[:200]
    assert memory(engine) - before < 30 << 20
    assert engine.request("GET", "/_ping")[0] == 200


def memory(engine: Place) -> int:
    """Resident memory of the daemon, in bytes."""
    return int(Path(f"/proc/{engine.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_clients_that_go_away(engine: Place) -> None:
    before = traces(engine)
    for arguments in (
        ("run", "--rm", "--name", "left", "plain", "sleep", "0.5"),
        ("run", "--rm", "-i", "--name", "left", "plain", "sleep", "0.5"),
        ("run", "--rm", "-d", "--name", "left", "-p", "8080:80", "plain", "sleep", "0.5"),
    ):
        for delay in (0.02, 0.06, 0.12):
            client = engine.popen(*arguments)
            time.sleep(delay)
            client.kill()
            client.communicate()
            deadline = time.monotonic() + 5
            while "Up" in engine.out("ps", "--format", "{{.Status}}"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            engine.docker("rm", "-f", "left", status=None)
    settles(engine, before)


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(new_folder: Callable[[], Path]) -> Iterator[Place]:
    """A daemon whose data lie on a file system of 24 megabytes, mounted in its host alone."""
    with place(new_folder()) as made:
        made.data_root.mkdir()
        made.host.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(made.data_root)])
        made.start()
        made.import_images()
        yield made
        assert "Traceback" not in made.log.read_text(), made.log.read_text()[-4000:]


def fill(made: Place, leave: int) -> None:
    """Writes until only `leave` bytes are free."""
    root = f"/proc/{made.host.pid}/root{made.data_root}"
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    subprocess.run(
        [
            *made.host.enter(),
            "dd",
            "if=/dev/zero",
            f"of={made.data_root}/filler",
            "bs=4096",
            f"count={(free - leave) // 4096}",
        ],
        check=False,
        capture_output=True,
    )


def test_full_disk(small: Place) -> None:
    small.run("--name", "web", "-p", "8080:80", "web")
    answers(small.there, HOST, 8080)
    before = {key: value for key, value in traces(small).items() if key != "daemon's files"}
    fill(small, 0)
    full = ("no space left on device", "disk is full")
    for turn, arguments in enumerate(
        (
            ("run", "-d", "-p", "8081:80", "web"),
            ("run", "-d", "-v", "vol:/data", "web"),
            ("pull", "127.0.0.1:5999/x"),
        )
    ):
        done = small.docker(*arguments, status=None, timeout=40)
        assert done.status and done.err, arguments
        if turn < 2:
            assert any(text in done.both.lower() for text in full), (arguments, done)
    archive = small.folder / "big.tar"
    subprocess.run(["tar", "-cf", str(archive), "/usr/bin/busybox"], check=True, capture_output=True)
    done = small.docker("import", str(archive), "big", status=None)
    assert done.status and any(text in done.both.lower() for text in full), done
    assert small.docker("ps", "-q").out.strip() and small.request("GET", "/_ping")[0] == 200
    assert answers(small.there, HOST, 8080) == OUTSIDE
    failed = small.out("ps", "-aq", "-f", "status=created").split()
    small.docker("rm", *failed)  # also what could not start goes while the disk is still full
    small.docker("volume", "rm", "-f", "vol")
    small.host.run(["rm", f"{small.data_root}/filler"])
    settles(small, before)
    small.run("--name", "after", "-p", "8081:80", "web")
    assert answers(small.there, HOST, 8081) == OUTSIDE
    small.docker("rm", "-f", "after", "web")


def test_stop_and_remove_on_a_full_disk(small: Place) -> None:
    """Who wants room must be able to make it."""
    small.run("--name", "big", "-p", "8080:80", "plain", "sh", "-c", "head -c 3000000 /dev/zero >/big; sleep 600")
    small.run("--name", "other", "plain", "sleep", "600")
    time.sleep(0.3)
    fill(small, 0)
    small.docker("rm", "-f", "big", timeout=30)
    small.docker("stop", "-t", "0", "other", timeout=30)
    assert small.out("ps", "-aq", "-f", "name=big") == ""
