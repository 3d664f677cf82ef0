"""Many at once, and against each other."""

from __future__ import annotations

import concurrent.futures
import time

from tests.product.engine import Done
from tests.product.network import answers
from tests.product.place import HOST, OUTSIDE, Place


def together(engine: Place, *commands: tuple[str, ...]) -> list[Done]:
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(lambda command: engine.docker(*command, status=None), commands))


def test_twenty_at_once(engine: Place) -> None:
    runs = together(engine, *(("run", "-d", "-P", "--name", f"web{n}", "web") for n in range(20)))
    assert [run.status for run in runs] == [0] * 20, [run.err for run in runs if run.status]
    found = [engine.inspect(f"web{n}")["NetworkSettings"] for n in range(20)]
    addresses = {one["Networks"]["bridge"]["IPAddress"] for one in found}
    ports = {int(one["Ports"]["80/tcp"][0]["HostPort"]) for one in found}
    assert len(addresses) == len(ports) == 20
    assert len({one["Networks"]["bridge"]["MacAddress"] for one in found}) == 20
    assert {answers(engine.there, HOST, port) for port in ports} == {OUTSIDE}
    removed = together(engine, *(("rm", "-f", f"web{n}") for n in range(20)))
    assert [one.status for one in removed] == [0] * 20, [one.err for one in removed if one.status]
    assert engine.out("ps", "-aq") == ""


def test_start_and_stop_against_each_other(engine: Place) -> None:
    engine.out("create", "--name", "torn", "-p", "8080:80", "web")
    for _ in range(4):
        done = together(
            engine,
            *(
                (verb, *(() if verb == "start" else ("-t", "0")), "torn")
                for verb in ("start", "stop", "restart", "start")
            ),
        )
        assert all(one.status == 0 or "Error response from daemon" in one.err for one in done), done
    engine.docker("start", "torn")
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    done = together(
        engine, ("rm", "-f", "torn"), ("restart", "-t", "0", "torn"), ("kill", "torn"), ("rm", "-f", "torn")
    )
    assert done[0].status == 0 or "No such container" in done[0].err or "removal" in done[0].err, done[0]
    engine.docker("rm", "-f", "torn", status=None)
    assert engine.out("ps", "-aq") == ""


def test_one_name_for_many(engine: Place) -> None:
    done = together(engine, *(("create", "--name", "wanted", "-v", "/anonymous", "plain") for _ in range(8)))
    assert sorted(one.status for one in done) == [0] + [1] * 7
    assert all("is already in use by container" in one.err for one in done if one.status)
    assert len(engine.out("volume", "ls", "-q").split()) == 1


def test_one_port_for_many(engine: Place) -> None:
    done = together(engine, *(("run", "-d", "-p", "8080:80", "web") for _ in range(6)))
    assert sorted(one.status for one in done) == [0] + [125] * 5
    assert all("port is already allocated" in one.err for one in done if one.status)
    assert answers(engine.there, HOST, 8080) == OUTSIDE


def test_networks_at_once(engine: Place) -> None:
    done = together(engine, *(("network", "create", f"net{n}") for n in range(8)))
    assert [one.status for one in done] == [0] * 8
    subnets = [engine.inspect(f"net{n}")["IPAM"]["Config"][0]["Subnet"] for n in range(8)]
    assert len(set(subnets)) == 8
    engine.run("--name", "joiner", "plain", "sleep", "60")
    done = together(engine, *(("network", "connect", f"net{n}", "joiner") for n in range(8)))
    assert [one.status for one in done] == [0] * 8, [one.err for one in done]
    assert len(engine.out("exec", "joiner", "ls", "/sys/class/net").split()) == 10
    done = together(engine, *(("network", "disconnect", f"net{n}", "joiner") for n in range(8)))
    assert [one.status for one in done] == [0] * 8, [one.err for one in done]


def test_thirty_short_lives(engine: Place) -> None:
    began = time.monotonic()
    for _ in range(3):
        done = together(engine, *(("run", "--rm", "-v", "/anonymous", "-P", "web", "echo", str(n)) for n in range(10)))
        assert [one.out for one in done] == [f"{n}\n" for n in range(10)], [one.err for one in done]
    assert time.monotonic() - began < 60
