"""docker attach, and docker run in the foreground: input, detach keys, half-close."""

from __future__ import annotations

import socket
import time

import pytest

from tests.product.engine import PROGRAMS
from tests.product.place import Place
from tests.product.terminal import terminal
from tests.product.test_life import until_says

PROGRAMS_BY_NAME = pytest.mark.parametrize("program", ["", str(PROGRAMS / "linkspan")], ids=["docker", "linkspan"])


@PROGRAMS_BY_NAME
def test_run_on_a_terminal(engine: Place, program: str) -> None:
    with terminal(engine, "run", "--rm", "-it", "plain", program=program) as screen:
        screen.until(b"# ")
        screen.type(b"stty size; echo $TERM; hostname\r")
        assert b"33 77" in screen.until(b"xterm")
        screen.type(b"exit 8\r")
        assert screen.ends() == 8


@PROGRAMS_BY_NAME
def test_detach_and_attach_again(engine: Place, program: str) -> None:
    with terminal(engine, "run", "-it", "--name", "kept", "plain", program=program) as screen:
        screen.until(b"# ")
        screen.type(b"A=remembered\r")
        screen.until(b"# ")
        screen.type(b"\x10\x11")
        assert screen.ends() == 0
    assert engine.inspect("kept")["State"]["Running"]
    with terminal(engine, "attach", "--detach-keys", "ctrl-a,x", "kept", program=program) as screen:
        screen.type(b"echo $A\r")
        screen.until(b"remembered\r\n")
        screen.type(b"\x01x")
        screen.ends()
    assert engine.inspect("kept")["State"]["Running"]
    with terminal(engine, "attach", "kept", program=program) as screen:
        screen.type(b"exit 3\r")
        assert screen.ends() == 3


@PROGRAMS_BY_NAME
def test_input_through_a_pipe_is_half_closed(engine: Place, program: str) -> None:
    """The end of input reaches the process, and its output after that still comes back."""
    client = engine.popen("run", "--rm", "-i", "plain", "sh", "-c", "cat; sleep 0.3; echo after", program=program)
    out, err = client.communicate(b"in\n" * 100_000, timeout=30)
    assert (out, err, client.returncode) == (b"in\n" * 100_000 + b"after\n", b"", 0)


def test_attach_to_output(engine: Place) -> None:
    engine.run("-i", "--name", "echo", "plain", "sh", "-c", "echo up; while read a; do echo got $a; done; exit 2")
    until_says(engine, "echo", "up")
    client = engine.popen("attach", "echo")
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(b"one\n")
    client.stdin.flush()
    assert client.stdout.readline() == b"got one\n"
    client.kill()
    client.communicate()
    assert engine.inspect("echo")["State"]["Running"]  # its input stays open when a client goes away
    client = engine.popen("attach", "echo")
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(b"two\n")
    client.stdin.close()  # nor is it closed then: the container was not made for a single client
    assert client.stdout.readline() == b"got two\n"
    engine.docker("rm", "-f", "echo")
    client.stdin = None
    client.communicate(timeout=10)
    assert client.returncode == 137


def test_two_clients_see_the_same(engine: Place) -> None:
    engine.run("-i", "--name", "both", "plain", "sh", "-c", "read a; echo got $a; sleep 0.2; exit 4")
    first = engine.popen("attach", "--no-stdin", "both")
    second = engine.popen("attach", "both")
    deadline = time.monotonic() + 5
    while (
        engine.out("events", "--since", "10s", "--until", "0s", "-f", "event=attach", "-f", "container=both").count(
            "\n"
        )
        < 1
    ):
        assert time.monotonic() < deadline
    out, _ = second.communicate(b"x\n", timeout=10)
    assert out == b"got x\n" and second.returncode == 4
    out, _ = first.communicate(timeout=10)
    assert out == b"got x\n" and first.returncode == 4


def test_attach_to_what_does_not_run(engine: Place) -> None:
    engine.out("create", "--name", "still", "plain")
    refused = engine.docker("attach", "still", status=1).err
    assert "cannot attach to a stopped container" in refused.lower()


def test_attach_through_docker_py(engine: Place) -> None:
    container = engine.api.containers.create("plain", ["sh", "-c", "read a; echo got $a"], stdin_open=True)
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    stream._sock.sendall(b"word\n")
    assert stream._sock.recv(100).endswith(b"got word\n")
    assert container.wait()["StatusCode"] == 0
    stream._sock.close()
    stream.close()
    assert engine.api.containers.run("plain", "echo hello", remove=True) == b"hello\n"


def test_the_reader_may_be_slow(engine: Place) -> None:
    """Ten megabytes that nobody reads for a while: nothing is lost, and the daemon serves others meanwhile."""
    client = engine.popen("run", "--rm", "plain", "sh", "-c", "head -c 10000000 /dev/zero")
    time.sleep(0.5)
    assert engine.request("GET", "/_ping")[0] == 200
    out, _ = client.communicate(timeout=30)
    assert len(out) == 10_000_000


def test_attach_over_a_websocket(engine: Place) -> None:
    """Bare bytes both ways, as browsers and aiodocker have them."""
    engine.docker("create", "-i", "--name", "box", "plain", "sh", "-c", "read a; echo got $a; echo $a >&2; exit 3")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(engine.socket))
        client.sendall(
            b"GET /v1.44/containers/box/attach/ws?stdin=1&stdout=1&stderr=1&stream=1 HTTP/1.1\r\nHost: x\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        said = client.recv(4096)
        assert said.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in said
        engine.docker("start", "box")
        client.sendall(b"\x82\x85\0\0\0\0word\n")
        said = b""
        while not said.endswith(b"\x88\x02\x03\xe8"):  # the end is said, too
            more = client.recv(4096)
            assert more
            said += more
    assert said in (
        b"\x82\x09got word\n\x82\x05word\n\x88\x02\x03\xe8",
        b"\x82\x05word\n\x82\x09got word\n\x88\x02\x03\xe8",
    )
    assert engine.request("GET", "/containers/box/attach/ws")[0] == 400


def test_detach_keys_under_any_spelling(engine: Place) -> None:
    """docker-py sends `detachKeys`, and Docker takes the names of fields in any case."""
    engine.run("-i", "--name", "box", "plain", "cat")
    body = {"AttachStdin": True, "AttachStdout": True, "Tty": True, "Cmd": ["cat"], "detachKeys": "ctrl-a"}
    exec_id = engine.request("POST", "/containers/box/exec", body)[1]["Id"]
    assert engine.request("GET", f"/exec/{exec_id}/json")[1]["DetachKeys"] == "ctrl-a"
