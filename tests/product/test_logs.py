"""docker logs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.product.engine import Done
from tests.product.place import Place
from tests.product.test_life import until_says

Client = Callable[..., Done]


def test_streams_and_tail(engine: Place, client: Client) -> None:
    engine.run("--name", "talk", "plain", "sh", "-c", "for i in 1 2 3 4; do echo o$i; echo e$i >&2; done; printf end")
    engine.docker("wait", "talk")
    done = client("logs", "talk")
    assert (done.out, done.err) == ("o1\no2\no3\no4\nend", "e1\ne2\ne3\ne4\n")
    last = client("logs", "--tail", "2", "talk")
    assert last.both.count("\n") <= 2  # of both together: which came last, only the two pipes' reader knows
    assert client("logs", "-n", "0", "talk").both == ""
    assert client("logs", "--tail", "all", "talk").out == done.out


def test_timestamps_since_until(engine: Place, client: Client) -> None:
    engine.run("--name", "talk", "plain", "sh", "-c", "echo first; sleep 1.8; echo second")
    engine.docker("wait", "talk")
    lines = client("logs", "-t", "talk").out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (first|second)$", line) for line in lines)
    between = lines[1].split()[0]
    assert client("logs", "--since", between, "talk").out == "second\n"
    assert client("logs", "--until", lines[0].split()[0], "talk").out in ("first\n", "")
    assert client("logs", "--since", "1h", "talk").out == "first\nsecond\n"
    # docker cuts the moment to a whole second: half a second back is up to one and a half.
    assert client("logs", "--since", "0.5s", "talk").out in ("second\n", "")
    assert client("logs", "--until", "1h", "talk").out == ""


def test_follow(engine: Place, client: Client) -> None:
    engine.run("--name", "talk", "plain", "sh", "-c", "echo one; sleep 0.3; echo two; exit 6")
    began = time.monotonic()
    assert client("logs", "-f", "talk").out == "one\ntwo\n"  # and ends with the container
    assert time.monotonic() - began < 5


def test_follow_through_a_stop_of_the_client(engine: Place) -> None:
    engine.run("--name", "talk", "plain", "sh", "-c", "while :; do echo tick; sleep 0.02; done")
    follower = engine.popen("logs", "-f", "--tail", "1", "talk")
    assert follower.stdout is not None
    assert [follower.stdout.readline() for _ in range(5)] == [b"tick\n"] * 5
    follower.kill()
    follower.communicate()


def test_a_terminals_log(engine: Place, client: Client) -> None:
    engine.run("-t", "--name", "talk", "plain", "sh", "-c", "echo out; echo err >&2")
    engine.docker("wait", "talk")
    assert client("logs", "talk").out == "out\r\nerr\r\n"


def test_long_lines_and_bytes(engine: Place, client: Client) -> None:
    engine.run("--name", "talk", "plain", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'a\\0b\\n'")
    engine.docker("wait", "talk")
    assert client("logs", "talk").out == "x" * 100_000 + "\na\0b\n"


def test_continue_over_a_restart(engine: Place) -> None:
    engine.run("--name", "talk", "plain", "polite")
    until_says(engine, "talk", "up")
    engine.docker("restart", "talk")
    deadline = time.monotonic() + 5
    while engine.out("logs", "talk") != "up\nasked\nup":
        assert time.monotonic() < deadline, engine.out("logs", "talk")
        time.sleep(0.05)


def test_missing(client: Client) -> None:
    assert "No such container: nobody" in client("logs", "nobody", status=1).err


def test_nothing_is_kept(engine: Place, client: Client) -> None:
    assert client("run", "--log-driver", "none", "--name", "talk", "plain", "echo", "word").out == "word\n"
    refused = client("logs", "talk", status=1)
    assert "configured logging driver does not support reading" in refused.err
    assert (
        engine.inspect("talk")["LogPath"] == "" and engine.inspect("talk")["HostConfig"]["LogConfig"]["Type"] == "none"
    )


def test_a_log_begins_anew_when_it_has_grown(engine: Place, client: Client) -> None:
    lines = [f"line {number}" for number in range(4000)]
    count = "echo begun; while [ ! -e /go ]; do sleep 0.02; done; i=0; "
    count += "while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done"
    engine.run("--name", "talk", "--log-opt", "max-size=10k", "--log-opt", "max-file=2", "plain", "sh", "-c", count)
    follower = engine.popen("logs", "-f", "talk")
    assert follower.stdout and follower.stdout.readline() == b"begun\n"
    engine.docker("exec", "talk", "touch", "/go")
    out, _ = follower.communicate(timeout=20)
    assert out.decode().splitlines()[-1] == lines[-1]
    engine.docker("wait", "talk")
    assert Path(engine.inspect("talk")["LogPath"]).stat().st_size <= 20 << 10
    kept = client("logs", "talk").out.splitlines()
    assert 0 < len(kept) < 4000 and kept == lines[-len(kept) :]
