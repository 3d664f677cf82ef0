"""docker exec."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.product.engine import PROGRAMS, Done
from tests.product.place import Place
from tests.product.terminal import terminal
from tests.product.traces import settles, traces

Client = Callable[..., Done]


@pytest.fixture
def running(engine: Place) -> Iterator[Place]:
    engine.run("--name", "box", "-e", "FROM=create", "-w", "/home/app", "plain", "sleep", "60")
    before = traces(engine)
    yield engine
    settles(engine, before)  # an exec leaves nothing, while its container runs on


def test_streams_and_status(running: Place, client: Client) -> None:
    done = client("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9", status=9)
    assert (done.out, done.err) == ("out\n", "err\n")
    assert client("exec", "-i", "box", "cat", stdin="in\n" * 20_000).out == "in\n" * 20_000
    assert client("exec", "box", "cat").out == ""  # without -i there is no input
    assert client("exec", "box", "sh", "-c", "kill -9 $$", status=137).out == ""


def test_options(running: Place, client: Client) -> None:
    done = client(
        "exec", "-e", "A=1", "-e", "B", "-w", "/tmp", "-u", "app", "box", "sh", "-c", "id -u; pwd; echo $A$FROM"
    )
    assert done.out == "1000\n/tmp\n1create\n"
    assert client("exec", "-u", "app:extra", "box", "id", "-g").out == "2000\n"
    assert client("exec", "box", "pwd").out == "/home/app\n"
    assert client("exec", "box", "sh", "-c", "echo $HOME").out == "/root\n"
    capable = client("exec", "--privileged", "box", "grep", "CapEff", "/proc/self/status").out
    assert capable != client("exec", "box", "grep", "CapEff", "/proc/self/status").out


def test_not_runnable(running: Place, client: Client) -> None:
    missing = client("exec", "box", "nothing-of-that-name", status=127)
    assert "executable file not found in $PATH" in missing.both
    assert "permission denied" in client("exec", "box", "/etc/plain", status=126).both
    client("exec", "-u", "nobody-there", "box", "true", status=126)
    assert "no such file" in client("exec", "-w", "/not/there", "box", "true", status=None).both


def test_on_a_stopped_container(engine: Place, client: Client) -> None:
    engine.out("create", "--name", "still", "plain")
    assert "is not running" in client("exec", "still", "true", status=1).err
    assert "No such container: nobody" in client("exec", "nobody", "true", status=1).err


def test_detached(running: Place, client: Client) -> None:
    client("exec", "-d", "box", "sh", "-c", "echo here >/tmp/made")
    deadline = time.monotonic() + 5
    while running.docker("exec", "box", "cat", "/tmp/made", status=None).out != "here\n":
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("program", ["", str(PROGRAMS / "linkspan")], ids=["docker", "linkspan"])
def test_terminal(running: Place, program: str) -> None:
    with terminal(running, "exec", "-it", "box", "sh", program=program) as screen:
        screen.until(b"# ")
        screen.type(b"stty size; tty; echo $TERM\r")
        assert b"33 77" in screen.until(b"xterm")
        assert b"/dev/pts/" in screen.seen
        screen.size(40, 100)
        deadline = time.monotonic() + 5
        while True:
            screen.type(b"stty size; echo do''ne\r")
            if b"40 100" in screen.until(b"done\r"):
                break
            assert time.monotonic() < deadline
        screen.type(b"exit 6\r")
        assert screen.ends() == 6


def test_interrupt_on_a_terminal(running: Place) -> None:
    with terminal(running, "exec", "-it", "box", "sh") as screen:
        screen.until(b"# ")
        screen.type(b"echo st''art; sleep 50\r")
        screen.until(b"start\r\n")
        for _ in range(10):  # the shell itself swallows one that comes while it makes the process
            screen.type(b"\x03")
            with contextlib.suppress(AssertionError):
                screen.until(b"# ", within=1)
                break
        screen.type(b"echo $?\r")
        if b"# " not in screen.until(b"130").partition(b"130")[2]:
            screen.until(b"# ")  # before it is at its prompt, the shell would not see the next key
        screen.type(b"\x04")
        screen.ends()


def test_many_at_once(running: Place) -> None:
    clients = [running.popen("exec", "box", "sh", "-c", f"echo {n}; exit {n}") for n in range(20)]
    for number, one in enumerate(clients):
        out, _ = one.communicate(timeout=60)
        assert (one.returncode, out) == (number, f"{number}\n".encode())


def test_ends_with_its_container(engine: Place) -> None:
    engine.run("--name", "short", "plain", "sleep", "60")
    one = engine.popen("exec", "short", "sleep", "50")
    deadline = time.monotonic() + 5
    while len(engine.out("top", "short").splitlines()) < 3:
        assert time.monotonic() < deadline
    engine.docker("rm", "-f", "short")
    one.communicate(timeout=10)
    assert one.returncode == 137


def test_inspected(running: Place) -> None:
    """docker-py's low-level calls, as its users have them."""
    api = running.api.api
    made = api.exec_create("box", ["sh", "-c", "exit 5"], environment={"X": "1"})["Id"]
    assert api.exec_inspect(made)["Running"] is False and api.exec_inspect(made)["ExitCode"] is None
    assert api.exec_start(made) == b""
    found = api.exec_inspect(made)
    assert (found["ExitCode"], found["Running"], found["ProcessConfig"]["entrypoint"]) == (5, False, "sh")
    assert running.api.containers.get("box").exec_run("echo hi", demux=True) == (0, (b"hi\n", None))
