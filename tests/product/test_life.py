"""A container's life, verb by verb."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from tests.product.engine import Done
from tests.product.place import Place

Client = Callable[..., Done]


def state(engine: Place, ref: str) -> str:
    return str(engine.inspect(ref)["State"]["Status"])


def test_create_start_wait_remove(engine: Place, client: Client) -> None:
    created = client("create", "--name", "one", "plain", "sh", "-c", "echo hello; exit 3").out.strip()
    assert len(created) == 64 and state(engine, "one") == "created"
    assert client("start", "one").out == "one\n"
    assert client("wait", "one").out == "3\n"
    found = engine.inspect(created[:8])["State"]
    assert (found["Status"], found["ExitCode"], found["Running"], found["Pid"]) == ("exited", 3, False, 0)
    assert client("logs", "one").out == "hello\n"
    assert client("start", "-a", "one", status=3).out == "hello\n"
    assert client("rm", "one").out == "one\n"
    assert "No such container: one" in client("rm", "one", status=1).err


def test_run_in_the_foreground(client: Client) -> None:
    done = client("run", "--rm", "plain", "sh", "-c", "echo out; echo err >&2; exit 4", status=4)
    assert (done.out, done.err) == ("out\n", "err\n")
    assert client("run", "--rm", "-i", "plain", "cat", stdin="a\nb\n").out == "a\nb\n"


def test_run_rm_leaves_nothing(engine: Place, client: Client) -> None:
    client("run", "--rm", "--name", "gone", "plain", "true")
    assert client("ps", "-aq").out == ""
    client("run", "--rm", "-d", "--name", "gone", "plain", "sleep", "0.1")
    engine.docker("wait", "gone", status=None)
    deadline = time.monotonic() + 5
    while engine.out("ps", "-aq"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_stop_asks_first_and_kills_then(engine: Place, client: Client) -> None:
    engine.run("--name", "polite", "plain", "polite")
    engine.run("--name", "stubborn", "plain", "stubborn")
    until_says(engine, "polite", "up")
    began = time.monotonic()
    assert client("stop", "polite").out == "polite\n"
    assert time.monotonic() - began < 3 and engine.inspect("polite")["State"]["ExitCode"] == 7
    assert engine.out("logs", "polite") == "up\nasked"
    began = time.monotonic()
    client("stop", "-t", "1", "stubborn")
    assert 0.9 < time.monotonic() - began < 4 and engine.inspect("stubborn")["State"]["ExitCode"] == 137
    client("stop", "stubborn")  # no error, nothing to do


def test_stop_by_the_signal_and_time_of_its_own(engine: Place) -> None:
    script = "trap 'echo usr1; exit 5' USR1; echo up; while :; do sleep 0.05; done"
    engine.run("--name", "own", "--stop-signal", "USR1", "--stop-timeout", "30", "plain", "sh", "-c", script)
    until_says(engine, "own", "up")
    engine.docker("stop", "own")
    assert engine.out("logs", "own") == "up\nusr1" and engine.inspect("own")["State"]["ExitCode"] == 5
    engine.run("--name", "quick", "--stop-timeout", "0", "plain", "stubborn")
    began = time.monotonic()
    engine.docker("stop", "quick")
    assert time.monotonic() - began < 3


def test_kill(engine: Place, client: Client) -> None:
    script = "trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done"
    engine.run("--name", "victim", "plain", "sh", "-c", script)
    until_says(engine, "victim", "up")
    client("kill", "-s", "HUP", "victim")
    until_says(engine, "victim", "hup")
    assert state(engine, "victim") == "running"
    assert client("kill", "victim").out == "victim\n"
    assert engine.inspect("victim")["State"]["ExitCode"] == 137
    assert "is not running" in client("kill", "victim", status=1).err
    assert "nvalid signal" in client("kill", "-s", "NONSENSE", "victim", status=1).err
    assert "cannot kill container: nobody: No such container: nobody" in client("kill", "nobody", status=1).err


def test_restart(engine: Place, client: Client) -> None:
    engine.run("--name", "again", "-p", "8080:80", "web")
    before = engine.inspect("again")
    assert client("restart", "-t", "0", "again").out == "again\n"
    after = engine.inspect("again")
    assert after["State"]["Pid"] != before["State"]["Pid"] and after["State"]["Status"] == "running"
    assert after["NetworkSettings"]["Ports"] == before["NetworkSettings"]["Ports"]
    assert after["RestartCount"] == 0


def test_remove(engine: Place, client: Client) -> None:
    engine.run("--name", "again", "plain", "sleep", "60")
    refused = client("rm", "again", status=1).err
    assert 'cannot remove container "again": container is running' in refused.replace("/r", "again")
    assert client("rm", "-f", "again").out == "again\n"
    assert engine.out("ps", "-aq") == ""
    engine.docker("rm", "-f", "again", status=None)  # Docker 20.10's client fails here, 28's does not


def test_rename(engine: Place, client: Client) -> None:
    engine.run("--name", "first", "plain", "sleep", "60")
    engine.run("--name", "second", "plain", "sleep", "60")
    client("rename", "first", "third")
    assert engine.inspect("third")["Name"] == "/third" and "No such" in client("inspect", "first", status=1).err
    assert (
        'The container name "/second" is already in use by container'
        in client("rename", "third", "second", status=1).err
    )
    assert "Invalid container name (a b)" in client("rename", "third", "a b", status=1).err


def test_pause(engine: Place, client: Client) -> None:
    engine.run("--name", "proc", "plain", "sh", "-c", "while :; do echo x; sleep 0.02; done")
    client("pause", "proc")
    assert state(engine, "proc") == "paused" and "(Paused)" in engine.out("ps")
    size = len(engine.out("logs", "proc"))
    time.sleep(0.2)
    assert len(engine.out("logs", "proc")) == size
    assert "already paused" in client("pause", "proc", status=1).err
    assert "is paused" in client("exec", "proc", "true", status=1).err
    client("unpause", "proc")
    assert state(engine, "proc") == "running"
    assert "is not paused" in client("unpause", "proc", status=1).err
    client("pause", "proc")
    assert client("rm", "-f", "proc").out == "proc\n"


def test_update(engine: Place, client: Client) -> None:
    id_ = engine.run("--name", "updated", "-m", "64m", "plain", "sleep", "60")
    client("update", "--memory", "96m", "--memory-swap", "200m", "--cpus", "0.5", "--restart", "always", "updated")
    found = engine.inspect("updated")["HostConfig"]
    assert (found["Memory"], found["NanoCpus"]) == (96 << 20, 500_000_000)
    assert found["RestartPolicy"]["Name"] == "always"
    assert cgroup(id_, "memory", "memory.limit_in_bytes") == str(96 << 20)
    assert int(cgroup(id_, "cpu", "cpu.cfs_quota_us")) * 2 == int(cgroup(id_, "cpu", "cpu.cfs_period_us"))


def test_a_name_twice(engine: Place, client: Client) -> None:
    first = engine.run("--name", "twice", "plain", "sleep", "60")
    refused = client("run", "-d", "--name", "twice", "plain", status=125).err
    assert f'Conflict. The container name "/twice" is already in use by container "{first}"' in refused


def test_wait_for_many(engine: Place, client: Client) -> None:
    for code in (1, 2):
        engine.run("--name", f"w{code}", "plain", "sh", "-c", f"sleep 0.2; exit {code}")
    assert client("wait", "w1", "w2").out == "1\n2\n"


def test_start_twice_and_ids_by_prefix(engine: Place) -> None:
    id_ = engine.run("--name", "same", "plain", "sleep", "60")
    assert engine.out("start", id_[:6]) == id_[:6]
    assert engine.request("POST", f"/containers/{id_}/start")[0] == 304
    engine.docker("stop", "-t", "0", "same")
    assert engine.request("POST", f"/containers/{id_}/stop")[0] == 304


@pytest.mark.parametrize("policy, code, again", [("no", 1, 0), ("on-failure:2", 1, 2), ("on-failure", 0, 0)])
def test_restart_policy(engine: Place, policy: str, code: int, again: int) -> None:
    engine.run("--name", "proc", "--restart", policy, "plain", "sh", "-c", f"echo run; exit {code}")
    deadline = time.monotonic() + 8
    while engine.out("logs", "proc").count("run") < again + 1 or state(engine, "proc") != "exited":
        assert time.monotonic() < deadline, engine.inspect("proc")["State"]
        time.sleep(0.05)
    found = engine.inspect("proc")
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (again, code)


def test_restart_always_until_stopped(engine: Place) -> None:
    engine.run("--name", "proc", "--restart", "always", "plain", "sh", "-c", "sleep 0.1; echo run")
    deadline = time.monotonic() + 8
    while engine.out("logs", "proc").count("run") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    engine.docker("stop", "-t", "0", "proc")
    seen = engine.out("logs", "proc")
    time.sleep(1)
    assert engine.out("logs", "proc") == seen and state(engine, "proc") == "exited"


def test_restart_always_killed_from_outside(engine: Place) -> None:
    """A process that is killed by somebody else is started again; one that `docker kill` ends is not."""
    engine.run("--name", "proc", "--restart", "unless-stopped", "plain", "sleep", "60")
    engine.host.run(["kill", "-9", str(engine.inspect("proc")["State"]["Pid"])])
    deadline = time.monotonic() + 5
    while engine.inspect("proc")["RestartCount"] != 1 or state(engine, "proc") != "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    engine.docker("kill", "proc")
    time.sleep(0.5)
    assert state(engine, "proc") == "exited"


def test_command_line_ends_with_the_container(engine: Place) -> None:
    """SIGTERM to the attached client is handed on to the container."""
    client = engine.popen("run", "--rm", "--name", "term", "plain", "polite")
    until_says(engine, "term", "up")
    client.terminate()
    assert client.wait(10) == 7
    client.communicate()


def until_says(engine: Place, ref: str, text: str) -> None:
    deadline = time.monotonic() + 5
    while text not in engine.docker("logs", ref, status=None).out:
        assert time.monotonic() < deadline, f"{ref} does not say {text}"
        time.sleep(0.02)


def cgroup(id_: str, controller: str, file: str) -> str:
    return subprocess.check_output(
        ["sh", "-c", f"cat /sys/fs/cgroup/{controller}/linkspan-product-*/{id_}/{file}"], text=True
    ).strip()


def test_a_restart_keeps_what_is_removed_at_its_end(engine: Place, client: Client) -> None:
    engine.run("--rm", "--name", "kept", "plain", "sleep", "100")
    client("restart", "-t", "0", "kept")
    assert state(engine, "kept") == "running"
    client("stop", "-t", "0", "kept")
    until_gone(engine, "kept")


def test_an_update_keeps_the_restart_policy(engine: Place) -> None:
    engine.run("--restart", "unless-stopped", "--name", "kept", "plain", "sleep", "100")
    engine.docker("update", "--memory", "64m", "--memory-swap", "-1", "kept")
    host = engine.inspect("kept")["HostConfig"]
    assert (host["RestartPolicy"]["Name"], host["Memory"]) == ("unless-stopped", 64 << 20)
    engine.docker("update", "--restart", "no", "kept")
    assert engine.inspect("kept")["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_a_paused_container_is_asked_to_stop(engine: Place, client: Client) -> None:
    engine.run("--name", "polite", "plain", "polite")
    until_says(engine, "polite", "up")
    engine.docker("pause", "polite")
    began = time.monotonic()
    client("stop", "polite")
    assert time.monotonic() - began < 5
    assert engine.out("logs", "polite") == "up\nasked"


def test_a_restarting_container_is_removed_by_force_only(engine: Place, client: Client) -> None:
    engine.run("--restart", "always", "--name", "again", "plain", "false")
    deadline = time.monotonic() + 10
    while state(engine, "again") != "restarting":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiting = engine.popen("wait", "again")
    refused = client("rm", "again", status=1).err
    assert "container is restarting: stop the container before removing or force remove" in refused or (
        "container is running: stop the container" in refused
    )
    client("stop", "again")
    assert waiting.communicate(timeout=10)[0] == b"1\n"
    client("rm", "again")


def test_the_sandbox_goes_with_the_last_who_shares_it(engine: Place) -> None:
    engine.run("--name", "first", "-p", "18080:80", "plain", "sleep", "100")
    engine.run("--name", "second", "--net", "container:first", "plain", "sleep", "100")
    engine.run("--name", "third", "--net", "container:second", "plain", "sleep", "100")
    engine.docker("stop", "-t", "0", "first", "second")
    assert engine.inspect("first")["NetworkSettings"]["SandboxKey"]  # third lives there
    engine.docker("stop", "-t", "0", "third")
    assert not engine.inspect("first")["NetworkSettings"]["SandboxKey"]
    engine.run("--name", "other", "-p", "18080:80", "plain", "sleep", "100")  # the port is free again


def until_gone(engine: Place, name: str) -> None:
    deadline = time.monotonic() + 5
    while name in engine.out("ps", "-a", "--format", "{{.Names}}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
