"""Streams: frames, detach keys, a terminal, standard input to its end, signals."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import pytest
from answers import NEW, script
from fake_daemon import Answer, Asked, FakeDaemon, frame
from hypothesis import given
from hypothesis import strategies as st

from conftest import Command
from linkspan.cli.failure import Failure
from linkspan.cli.streams import Demultiplexer, DetachKeys, detach_keys

PROGRAM = (sys.executable, "-m", "linkspan.cli.main")


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))), st.integers(1, 9))
def test_frames_however_they_are_cut(outputs: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(frame(number, output) for number, output in outputs)
    frames = Demultiplexer()
    seen = [part for at in range(0, len(stream), size) for part in frames.feed(stream[at : at + size])]
    for number in (1, 2):
        assert b"".join(o for n, o in seen if n == number) == b"".join(o for n, o in outputs if n == number)


def test_an_error_frame_is_the_daemons_own_error() -> None:
    with pytest.raises(Failure, match="error from daemon in stream: no space"):
        list(Demultiplexer().feed(frame(3, b"no space")))


@pytest.mark.parametrize(
    ("typed", "passed", "left"),
    [
        ([b"abc"], b"abc", False),
        ([b"a\x10\x11b"], b"a", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
    ],
)
def test_detach_keys(typed: list[bytes], passed: bytes, left: bool) -> None:
    keys = DetachKeys(detach_keys(""))
    seen, done = b"", False
    for piece in typed:
        part, done = keys.feed(piece)
        seen += part
    assert (seen, done) == (passed, left)


def test_detach_keys_named() -> None:
    assert detach_keys("ctrl-x,z") == b"\x18z"
    with pytest.raises(Failure, match="Unknown character: 'foo'"):
        detach_keys("foo")


def test_input_is_passed_on_to_its_end(linkspan: Command, daemon: FakeDaemon) -> None:
    """More than the socket's buffers hold, both ways at once: neither end may wait for the other."""
    script(daemon)
    big = os.urandom(3_000_000)
    done = linkspan("run", "-i", "alpine", "cat", input=big)
    assert done.stdout == b"out\n" + big
    assert (done.stderr, done.returncode) == (b"err\n", 42)


def test_bytes_glued_to_the_answer_are_kept(linkspan: Command, daemon: FakeDaemon) -> None:
    script(daemon)
    daemon.glued = frame(1, b"first\n")
    assert linkspan("run", "alpine").stdout == b"first\nout\n"


def test_order_of_run(linkspan: Command, daemon: FakeDaemon) -> None:
    script(daemon)
    assert linkspan("run", "--rm", "alpine").returncode == 42
    assert daemon.verbs == [
        "POST /containers/create", *(f"POST /containers/{NEW}/{verb}" for verb in ("attach", "wait", "start"))
    ]  # fmt: skip
    assert daemon.last(f"POST /containers/{NEW}/wait").query == {"condition": ["removed"]}


def test_signals_are_passed_on(linkspan: Command, daemon: FakeDaemon) -> None:
    script(daemon)
    started, killed = threading.Event(), threading.Event()

    def attach(reader: BinaryIO, connection: socket.socket) -> None:
        started.wait(10)
        connection.sendall(frame(1, b"ready\n"))
        killed.wait(10)

    def start(_: Asked) -> Answer:
        started.set()
        return Answer(204)

    def kill(_: Asked) -> Answer:
        killed.set()
        return Answer(204)

    daemon.on[f"POST /containers/{NEW}/attach"] = Answer(stream=attach)
    daemon.on[f"POST /containers/{NEW}/start"] = start
    daemon.on[f"POST /containers/{NEW}/kill"] = kill
    with subprocess.Popen([*PROGRAM, "run", "alpine"], env=linkspan.environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 42
    assert daemon.last(f"POST /containers/{NEW}/kill").query == {"signal": ["TERM"]}


@pytest.mark.parametrize("typed", [b"exit\n", b"\x10\x11"])
def test_a_terminal(typed: bytes, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Raw while it lasts, as it was afterwards; the container's terminal gets its size; detach keys leave."""
    import termios

    script(daemon)

    def attach(reader: BinaryIO, connection: socket.socket) -> None:
        connection.sendall(b"$ ")
        heard = b""
        while not heard.endswith(b"\n") and (piece := reader.read1(100)):  # type: ignore[attr-defined]
            heard += piece
        connection.sendall(b"heard " + heard)

    daemon.on[f"POST /containers/{NEW}/attach"] = Answer(stream=attach)
    daemon.on[f"POST /containers/{NEW}/resize"] = Answer(200)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (33, 77))
    before = termios.tcgetattr(theirs)
    line = [*PROGRAM, "run", "-it", "alpine"]
    with subprocess.Popen(line, env=linkspan.environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        screen = b""
        while not screen.endswith(b"$ "):
            screen += os.read(ours, 100)
        os.write(ours, typed)
        assert process.wait(10) == (42 if typed == b"exit\n" else 0)
    screen = os.read(ours, 100)
    assert (b"heard exit" if typed == b"exit\n" else b"read escape sequence") in screen
    assert termios.tcgetattr(theirs) == before
    assert daemon.last(f"POST /containers/{NEW}/resize").query == {"h": ["33"], "w": ["77"]}
    assert daemon.last("POST /containers/create").json["HostConfig"]["ConsoleSize"] == [33, 77]
    os.close(ours)
    os.close(theirs)
