"""The daemon is killed, or asked to end, at any moment; the containers do not notice, and the next one picks up."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker_client import DOCKER
from tests.hosts import socket_in
from tests.product.network import Watch, answers, ask, ask_udp, held, silent, udp_echo
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.terminal import terminal
from tests.product.test_life import until_says
from tests.product.traces import settles, traces

BOTH_WAYS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "asked to end"])


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before = traces(ground)
    yield ground
    if ground.process is None or ground.process.poll() is not None:
        ground.start()
    ground.clear()
    settles(ground, before)
    assert "Traceback" not in ground.log.read_text(), ground.log.read_text()[-4000:]


def state(engine: Place, ref: str) -> Any:
    return engine.inspect(ref)["State"]


def becomes(engine: Place, ref: str, status: str, within: float = 5) -> Any:
    deadline = time.monotonic() + within
    while (found := state(engine, ref))["Status"] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("command", ["umount {0}", "umount {0} && rm {0}"])
def test_a_namespaces_file_is_removed_meanwhile(engine: Place, command: str) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    engine.run("--name", "joined", "--net", "container:web", "plain", "sleep", "600")
    answers(engine.there, HOST, 8080)
    before, inside = engine.inspect("web"), engine.out("exec", "joined", "ip", "address", "show", "eth0")
    engine.end(signal.SIGKILL)
    engine.host.run(["sh", "-c", command.format(before["NetworkSettings"]["SandboxKey"])])
    with Watch(engine.there, HOST, 8080) as outside:
        engine.start()
        assert ask(engine.there, HOST, 8080) == OUTSIDE
    assert not outside.failures
    assert engine.inspect("web") == before
    assert engine.out("exec", "joined", "ip", "address", "show", "eth0") == inside
    engine.docker("network", "create", "late")
    engine.docker("network", "connect", "late", "web")
    assert "eth1" in engine.out("exec", "joined", "ip", "address")


@BOTH_WAYS
def test_running_containers_do_not_notice(engine: Place, number: int) -> None:
    engine.docker("network", "create", "own")
    engine.run("--name", "web", "-p", "8080:80", "-p", "5353:5353/udp", "-v", "vol:/vol", "web")
    engine.run("--name", "other", "--net", "own", "-P", "web")
    engine.run("--name", "joined", "--net", "container:web", "plain", "sleep", "600")
    engine.run("--name", "still", "--net", "host", "plain", "sleep", "600")
    engine.docker("run", "--name", "done", "plain", "sh", "-c", "exit 4", status=4)
    engine.docker("pause", "other")
    names = ("web", "other", "joined", "still", "done", "own", "bridge", "vol")
    before = {name: engine.inspect(name) for name in names}
    seen = {key: value for key, value in traces(engine).items() if key not in ("daemon's files", "nft")}
    answers(engine.there, HOST, 8080)
    with Watch(engine.there, HOST, 8080) as outside, Watch(engine.here, "127.0.0.1", 8080) as here:
        engine.end(number)
        time.sleep(0.2)
        assert ask(engine.there, HOST, 8080) == OUTSIDE
        engine.start()
        time.sleep(0.2)
    assert outside.failures == here.failures == [] and outside.answered > 20
    assert {name: engine.inspect(name) for name in names} == before
    assert {key: value for key, value in traces(engine).items() if key in seen} == seen
    with udp_echo(engine.sandbox("web"), 5353):
        assert ask_udp(engine.there, HOST, 5353) == OUTSIDE
    assert engine.out("exec", "web", "echo", "alive") == "alive"
    engine.docker("unpause", "other")
    engine.run("--name", "new", "-p", "8081:80", "web")
    assert answers(engine.there, HOST, 8081) == OUTSIDE
    assert engine.address("new") != engine.address("web")
    refused = engine.docker("run", "-d", "-p", "8080:80", "web", status=125).err
    assert "port is already allocated" in refused  # the port is still reserved
    engine.docker("restart", "-t", "0", "web")
    assert answers(engine.there, HOST, 8080) == OUTSIDE


def test_established_connections_live_on(engine: Place) -> None:
    engine.run("--name", "slow", "-p", "7000:7000", "plain", "nc", "-ll", "-p", "7000", "-e", "cat")
    deadline = time.monotonic() + 5
    while True:
        client = socket_in(engine.there)
        try:
            client.connect((HOST, 7000))
            client.sendall(b"before")
            assert client.recv(100) == b"before"
            break
        except (OSError, AssertionError):
            client.close()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    engine.restart(signal.SIGKILL)
    client.sendall(b"after")
    assert client.recv(100) == b"after"
    client.close()


@BOTH_WAYS
def test_logs_go_on(engine: Place, number: int) -> None:
    engine.run("--name", "talk", "plain", "sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done")
    until_says(engine, "talk", "line 3")
    engine.end(number)
    time.sleep(0.5)
    engine.start()
    engine.docker("kill", "talk")
    lines = engine.out("logs", "talk").splitlines()
    assert lines == [f"line {n + 1}" for n in range(len(lines))] and len(lines) > 20


@BOTH_WAYS
def test_who_ends_meanwhile(engine: Place, number: int) -> None:
    """Their exit codes are seen by the next daemon, and what they held is given back."""
    commands = {"fine": "sleep 0.3", "failed": "sleep 0.3; exit 9", "killed": "sleep 600"}
    for port, (name, command) in enumerate(commands.items()):
        engine.run("--name", name, "-p", f"{8080 + port}:80", "plain", "sh", "-c", command)
    pid = str(state(engine, "killed")["Pid"])
    engine.run("--name", "removed", "--rm", "-v", "/anonymous", "plain", "sleep", "0.3")
    engine.run("--name", "again", "--restart", "always", "-p", "8090:80", "plain", "sh", "-c", "echo up; sleep 1.2")
    engine.run("--name", "once", "--restart", "on-failure", "plain", "sleep", "0.3")
    engine.end(number)
    engine.host.run(["kill", "-9", pid])
    time.sleep(1.5)
    engine.start()
    codes = {name: becomes(engine, name, "exited")["ExitCode"] for name in commands}
    assert codes == {"fine": 0, "failed": 9, "killed": 137}
    assert state(engine, "fine")["FinishedAt"] < state(engine, "again")["StartedAt"]
    assert engine.address("fine") == "" and engine.out("port", "fine") == ""
    becomes(engine, "again", "running")
    assert state(engine, "once")["Status"] == "exited"
    deadline = time.monotonic() + 5
    while "removed" in engine.out("ps", "-a", "--format", "{{.Names}}"):
        assert time.monotonic() < deadline, "--rm is forgotten"
        time.sleep(0.05)
    assert engine.out("volume", "ls", "-q") == ""
    engine.docker("start", "fine")


def test_who_was_stopped_stays_stopped(engine: Place) -> None:
    for name, policy in (("u", "unless-stopped"), ("a", "always"), ("n", "no")):
        engine.run("--name", f"{name}1", "--restart", policy, "plain", "sleep", "600")
        engine.docker("stop", "-t", "0", f"{name}1")
    engine.restart(signal.SIGKILL)
    time.sleep(0.3)
    becomes(engine, "a1", "running")  # as Docker: always means also when the daemon starts
    assert state(engine, "u1")["Status"] == state(engine, "n1")["Status"] == "exited"


def test_killed_while_a_container_starts(engine: Place) -> None:
    """At ten moments of a start; nothing stands in the way of the next daemon, nor of the next start."""
    chance = random.Random(7)
    before = traces(engine)
    for turn in range(10):
        client = engine.popen("run", "-d", "--name", f"turn{turn}", "-p", "8080:80", "-v", "/anonymous", "web")
        time.sleep(chance.uniform(0, 0.25))
        engine.end(signal.SIGKILL)
        client.communicate(timeout=20)
        engine.start()
        known = engine.out("ps", "-a", "--format", "{{.Names}}").split()
        if known:
            found = state(engine, f"turn{turn}")
            assert found["Status"] in ("created", "running", "exited"), found
            if found["Status"] != "running":
                engine.docker("start", f"turn{turn}")
            assert answers(engine.there, HOST, 8080) == OUTSIDE
        engine.clear()
        settles(engine, before)
        assert silent(engine.there, HOST, 8080)


def test_killed_while_containers_are_removed(engine: Place) -> None:
    before = traces(engine)
    for turn in range(4):
        for number in range(4):
            engine.run("--name", f"gone{number}", "-P", "-v", "/anonymous", "web")
        client = engine.popen("rm", "-f", "-v", *(f"gone{number}" for number in range(4)))
        time.sleep(0.03 * (turn + 1))
        engine.end(signal.SIGKILL)
        client.communicate(timeout=20)
        engine.start()
        engine.clear()
        settles(engine, before)


def test_killed_twice_in_a_row(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    answers(engine.there, HOST, 8080)
    before = engine.inspect("web")
    with Watch(engine.there, HOST, 8080) as watch:
        for delay in (0.0, 0.1, 0.25):
            engine.end(signal.SIGKILL)
            process = engine.host.start(engine.command(), log=engine.log, env=engine.environment)
            time.sleep(delay)
            process.kill()
            process.wait()
            engine.host.run(["pkill", "-9", "-f", f"linkspand.*{engine.data_root}"], check=False)
            engine.start()
    assert watch.failures == [] and engine.inspect("web") == before


def test_monitors_killed_with_the_daemon(engine: Place) -> None:
    """conmon is killed too, while no daemon runs: its container ends, or is ended, and can be started again."""
    engine.run("--name", "orphan", "-p", "8080:80", "web")
    engine.end(signal.SIGKILL)
    engine.host.run(["pkill", "-9", "conmon"])
    time.sleep(0.3)
    engine.start()
    becomes(engine, "orphan", "exited")
    engine.docker("start", "orphan")
    assert answers(engine.there, HOST, 8080) == OUTSIDE


def test_network_lost_while_no_daemon_runs(engine: Place) -> None:
    """Rules, bridge and links that somebody removed are put back; what is not ours is let be."""
    engine.run("--name", "web", "-p", "8080:80", "web")
    answers(engine.there, HOST, 8080)
    engine.end(signal.SIGKILL)
    engine.host.run(["nft", "delete", "table", "inet", "linkspan"], check=False)
    engine.host.run(["ip", "link", "del", "docker0"])
    engine.host.run(["ip", "link", "add", "strange0", "type", "bridge"])
    engine.start()
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    assert [link["ifname"] for link in engine.ip("link") if link["ifname"] == "strange0"]
    engine.host.run(["ip", "link", "del", "strange0"])


def test_host_port_taken_while_no_daemon_runs(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    answers(engine.there, HOST, 8080)
    engine.end(signal.SIGKILL)
    with held(engine.here, "0.0.0.0", 8080):
        engine.start()
        assert state(engine, "web")["Status"] == "running"
    assert ask(engine.there, HOST, 8080) == OUTSIDE


def test_terminal_after_the_daemon(engine: Place) -> None:
    """A terminal outlives the daemon: who attaches again has the same shell."""
    with terminal(engine, "run", "-it", "--name", "shell", "plain") as screen:
        screen.until(b"# ")
        screen.type(b"A=remembered; echo do''ne\r")
        screen.until(b"done\r\n")  # the shell has it; a prompt may be the one from before
        engine.end(signal.SIGKILL)
        assert screen.ends() != 0
    engine.start()
    with terminal(engine, "attach", "shell") as screen:
        screen.type(b"echo $A\r")
        screen.until(b"remembered\r\n")
        screen.type(b"exit 3\r")
        assert screen.ends() == 3


def test_records_say_the_same(engine: Place) -> None:
    """Everything that can be asked for is the same after a restart, for what never ran as for what ran."""
    options = (
        "--label",
        "a=b",
        "-e",
        "A=b",
        "--cap-add",
        "NET_ADMIN",
        "--dns",
        "10.1.1.1",
        "-m",
        "64m",
        "--tmpfs",
        "/t",
    )
    engine.out("create", "--name", "never", *options, "-p", "80", "plain", "true")
    engine.docker("run", "--name", "failed", "plain", "nothing-there", status=127)
    engine.docker("run", "--name", "ended", "plain", "true")

    def everything() -> str:
        found = [
            engine.inspect(name) for name in ("never", "failed", "ended", "plain", "web", "bridge", "host", "none")
        ]
        return json.dumps([found, engine.out("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Status}}")])

    before = everything()
    engine.restart(signal.SIGKILL)
    assert everything().replace("seconds", "second") == before.replace("seconds", "second") or (
        json.loads(everything())[0] == json.loads(before)[0]
    )


def test_killed_at_any_moment_under_load(engine: Place) -> None:
    """Three clients at work, the daemon killed in the midst of it; what is left is whole, and can be cleared away."""
    chance = random.Random(11)
    engine.run("--name", "steady", "-p", "8079:80", "web")
    answers(engine.there, HOST, 8079)
    before = traces(engine)
    works = (
        "docker run -d --name a$N -p 808$N:80 web; docker restart -t 0 a$N; docker rm -f a$N",
        "docker network create n$N; docker run -d --name b$N --net n$N -P web; docker rm -f b$N; docker network rm n$N",
        "docker network create m; docker network connect m steady; docker network disconnect m steady; "
        "docker network rm m",
    )
    with Watch(engine.there, HOST, 8079) as watch:
        for turn in range(4):
            clients = [
                subprocess.Popen(
                    ["sh", "-c", work.replace("$N", str(turn)).replace("docker ", f"{DOCKER} ")],
                    env=engine.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for work in works[: 2 if turn < 3 else 3]
            ]
            time.sleep(chance.uniform(0.1, 0.9))
            engine.end(signal.SIGKILL)
            for client in clients:
                client.wait(20)
            engine.start()
    assert watch.failures == [] and watch.answered > 20
    assert ask(engine.there, HOST, 8079) == OUTSIDE
    for name in engine.out("ps", "-a", "--format", "{{.Names}}").split():
        if name != "steady":
            engine.docker("rm", "-f", name)
    if "m" in engine.inspect("steady")["NetworkSettings"]["Networks"]:
        engine.docker("network", "disconnect", "m", "steady")
    if networks := engine.out("network", "ls", "-q", "-f", "type=custom").split():
        engine.docker("network", "rm", *networks)
    settles(engine, before)


def test_what_it_is_doing_is_printed_when_asked(engine: Place) -> None:
    said = engine.busy_with()
    assert "most recent call first" in said and "Stack for <Task" in said
    assert engine.answers()


def test_policies_are_there_after_it(engine: Place) -> None:
    text = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {}\n"
    host = engine.out("info", "--format", "{{.Name}}")
    text += "---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: host}\n"
    text += f"spec: {{node: {host}, interfaceName: eth0}}\n"
    done = engine.linkspan("policy", "apply", "-f", "-", stdin=text)
    assert done.err == "WARNING: NetworkPolicy shop/web: there is no network shop yet\n"
    before = engine.linkspan("policy", "get", "-o", "yaml").out
    closed = engine.host.run(["nft", "list", "table", "inet", "linkspan-policy"]).stdout
    engine.restart(signal.SIGKILL)
    assert engine.linkspan("policy", "get", "-o", "yaml").out == before
    assert engine.host.run(["nft", "list", "table", "inet", "linkspan-policy"]).stdout == closed
