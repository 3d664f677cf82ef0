"""docker-py, as programs use it."""

from __future__ import annotations

import time

import docker
import pytest

from tests.product.network import answers
from tests.product.place import HOST, OUTSIDE, Place


def test_life(engine: Place) -> None:
    api = engine.api
    made = api.containers.run(
        "web",
        detach=True,
        name="web",
        ports={"80/tcp": 8080, "5353/udp": ("127.0.0.1", 5353)},
        environment={"A": "b"},
        labels={"a": "b"},
        volumes={"vol": {"bind": "/vol", "mode": "rw"}},
        mem_limit="64m",
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
    )
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    made.reload()
    assert made.status == "running" and made.labels["a"] == "b"
    assert made.ports["5353/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "5353"}]
    assert made.exec_run(["sh", "-c", "echo $A; exit 3"]) == (3, b"b\n")
    assert made.top()["Titles"][0] == "UID" and made.stats(stream=False)["name"] == "/web"
    assert [one.id for one in api.containers.list(filters={"label": "a=b"})] == [made.id]
    stream, stat = made.get_archive("/etc/plain")
    assert stat["name"] == "plain" and b"not to be executed" in b"".join(stream)
    made.pause()
    made.unpause()
    made.rename("other")
    made.restart(timeout=0)
    made.stop(timeout=0)
    assert made.wait()["StatusCode"] == 137
    made.remove(v=True)
    with pytest.raises(docker.errors.NotFound, match="No such container: other"):
        api.containers.get("other")


def test_foreground_and_errors(engine: Place) -> None:
    api = engine.api
    assert api.containers.run("plain", "echo hello", remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as failed:
        api.containers.run("plain", ["sh", "-c", "echo wrong >&2; exit 4"], remove=True)
    assert failed.value.exit_status == 4 and failed.value.stderr == b"wrong\n"
    with pytest.raises(docker.errors.APIError, match="network nothing not found"):
        api.containers.create("plain", network="nothing")
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        api.containers.run("plain", "nothing-there", remove=True)
    (kept,) = api.containers.list(all=True)  # docker-py removes what has run
    assert kept.status == "created"


def test_logs_as_they_come(engine: Place) -> None:
    made = engine.api.containers.run("plain", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"], detach=True)
    assert list(made.logs(stream=True, follow=True)) == [b"1\n", b"2\n", b"3\n"]
    assert made.logs(tail=1) == b"3\n" and made.logs(stdout=False, stderr=True) == b""


def test_attach_to_what_was_written_before(engine: Place) -> None:
    """docker-py loses what comes together with the head: the head is read before anything else is sent."""
    made = engine.api.containers.run("plain", "echo hello", detach=True)
    made.wait()
    assert [made.attach(stream=False, logs=True) for _ in range(100)] == [b"hello\n"] * 100


def test_networks_and_volumes(engine: Place) -> None:
    api = engine.api
    pool = docker.types.IPAMPool(subnet="10.88.0.0/24", gateway="10.88.0.254")
    network = api.networks.create("own", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"x": "y"})
    made = api.containers.run("plain", "sleep 60", detach=True, network="own")
    network.reload()
    assert [one.id for one in network.containers] == [made.id]
    assert made.exec_run("ip route").output.startswith(b"default via 10.88.0.254")
    api.networks.get("bridge").connect(made)
    made.reload()
    assert set(made.attrs["NetworkSettings"]["Networks"]) == {"own", "bridge"}
    network.disconnect(made)
    network.remove()
    volume = api.volumes.create("vol", labels={"a": "b"})
    assert [one.name for one in api.volumes.list(filters={"label": "a"})] == ["vol"] and volume.attrs[
        "Driver"
    ] == "local"
    volume.remove()
    assert api.df()["Volumes"] == [] and api.ping() and api.version()["ApiVersion"] == "1.52"


def test_what_docker_compose_1_needs(engine: Place) -> None:
    """It speaks the newest version, without what went away with 1.45 and 1.52, and then breaks in `up`."""
    with docker.APIClient(
        f"unix://{engine.socket}", version="auto", user_agent="docker-compose/1.29.2 docker-py"
    ) as api:
        assert not api.inspect_image("plain")["ContainerConfig"].get("Volumes")
        since = int(time.time())
        engine.docker("run", "--rm", "--name", "told", "plain", "true")
        told = api.events(since=since, until=time.time() + 0.2, filters={"type": "container"}, decode=True)
        assert {(event["status"], event["from"], len(event["id"])) for event in told} >= {("start", "plain", 64)}
