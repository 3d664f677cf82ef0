"""`--link` on the default bridge: names in /etc/hosts, the environment, and what follows the other container."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.product.engine import Done
from tests.product.network import answers, silent
from tests.product.place import Place
from tests.product.test_configuration import ground, start

__all__ = ["ground", "start"]  # fixtures


def hosts(engine: Place, ref: str) -> list[str]:
    return [line.replace("\t", " ") for line in engine.out("exec", ref, "cat", "/etc/hosts").splitlines()]


def test_what_a_linked_container_knows(engine: Place, client: Callable[..., Done]) -> None:
    engine.run("--name", "db", "-e", "WORD=here", "-h", "db-host", "web")
    client("run", "-d", "--name", "front", "--link", "db:data-base", "--link", "db", "plain", "sleep", "600")
    address = engine.address("db")
    assert f"{address} data-base db-host db" in hosts(engine, "front")
    assert f"{address} db db-host" in hosts(engine, "front")
    told = engine.out("exec", "front", "env").splitlines()
    for entry in (
        f"DATA_BASE_PORT=tcp://{address}:80",
        f"DATA_BASE_PORT_5353_UDP_ADDR={address}",
        "DATA_BASE_NAME=/front/data-base",
        "DATA_BASE_ENV_WORD=here",
        "DB_NAME=/front/db",
    ):
        assert entry in told
    assert engine.out("exec", "front", "cat", "/proc/1/environ").split("\0").count(f"DB_PORT=tcp://{address}:80") == 1
    assert engine.inspect("front")["HostConfig"]["Links"] == ["/db:/front/data-base", "/db:/front/db"]
    listed = engine.request("GET", '/containers/json?filters={"name":["^/db$"]}')[1]
    assert listed[0]["Names"] == ["/db", "/front/data-base", "/front/db"]
    assert engine.request("GET", "/containers/front/db/json")[1]["Name"] == "/db"
    assert engine.out("exec", "front", "wget", "-q", "-O", "-", "http://data-base/") == "here"


def test_links_follow_the_other_container(engine: Place) -> None:
    engine.run("--name", "db", "web")
    engine.run("--name", "front", "--link", "db:database", "plain", "sleep", "600")
    engine.docker("exec", "front", "sh", "-c", "echo 10.9.9.9 by-hand >>/etc/hosts")
    engine.docker("stop", "db")
    assert not [line for line in hosts(engine, "front") if "database" in line]
    engine.docker("start", "db")
    assert [line.split()[0] for line in hosts(engine, "front") if "database" in line] == [engine.address("db")]
    engine.docker("network", "disconnect", "bridge", "db")
    assert not [line for line in hosts(engine, "front") if "database" in line]
    engine.docker("network", "connect", "bridge", "db")
    assert [line.split()[0] for line in hosts(engine, "front") if "database" in line] == [engine.address("db")]
    engine.docker("rename", "db", "store")
    (line,) = [line for line in hosts(engine, "front") if "database" in line]
    assert line.endswith(" store") and "10.9.9.9 by-hand" in hosts(engine, "front")
    assert engine.inspect("front")["HostConfig"]["Links"] == ["/store:/front/database"]
    engine.docker("restart", "-t", "0", "front")
    assert [line for line in hosts(engine, "front") if "database" in line] == [line]
    engine.docker("rm", "--link", "/front/database")
    assert not [line for line in hosts(engine, "front") if "database" in line]
    assert engine.inspect("front")["HostConfig"]["Links"] is None
    engine.docker("rename", "store", "db")


def test_what_cannot_be_linked(engine: Place) -> None:
    assert (
        "could not get container for nobody" in engine.docker("run", "-d", "--link", "nobody", "plain", status=125).err
    )
    engine.docker("create", "--name", "still", "plain")
    refused = engine.docker("run", "-d", "--name", "front", "--link", "still:s", "plain", "sleep", "9", status=125)
    assert "Cannot link to a non running container: /still AS /front/s" in refused.err
    assert engine.inspect("front")["State"]["Status"] == "created"
    assert engine.request("DELETE", "/containers/front/t?link=1")[0] == 404
    assert engine.request("DELETE", "/containers/front?link=1")[0] == 409
    engine.docker("rm", "still")  # what it was linked to is gone: it starts all the same, as with Docker
    engine.docker("start", "front")


def test_without_icc_a_link_opens_the_exposed_ports_and_nothing_else(start: Callable[..., Place]) -> None:
    made = start("--icc=false")
    made.run("--name", "db", "web")  # exposes 80 and 5353/udp, and not 81
    made.run("--name", "front", "--link", "db:database", "web")
    made.run("--name", "other", "web")
    db = made.address("db")
    made.docker("exec", "-d", "db", "httpd", "-f", "-p", "81", "-h", "/www")
    assert answers(made.sandbox("front"), db, 80) == made.address("front")
    assert made.out("exec", "front", "wget", "-q", "-O", "-", "http://database/") == "here"
    assert silent(made.sandbox("front"), db, 81) and silent(made.sandbox("other"), db, 80)
    assert silent(made.sandbox("db"), made.address("front"), 80)  # a link has a direction
    made.docker("restart", "-t", "0", "db")
    assert answers(made.sandbox("front"), made.address("db"), 80)
    made.docker("rm", "--link", "front/database")
    assert silent(made.sandbox("front"), made.address("db"), 80)


def test_without_icc_a_link_opens_the_same_by_ipv6(start: Callable[..., Place]) -> None:
    made = start("--icc=false", "--ipv6")
    server = ("httpd", "-f", "-p", "[::]:80", "-h", "/www")
    made.run("--name", "db", "web", *server)
    made.run("--name", "front", "--link", "db:database", "web", *server)
    made.run("--name", "other", "web", *server)
    made.docker("exec", "-d", "db", "httpd", "-f", "-p", "[::]:81", "-h", "/www")

    def address(name: str) -> str:
        return str(made.inspect(name)["NetworkSettings"]["Networks"]["bridge"]["GlobalIPv6Address"])

    front, db = made.sandbox("front"), address("db")
    assert db in [line.split()[0] for line in hosts(made, "front") if "database" in line]
    for own in (made.address("db"), db):
        assert answers(front, own, 80)
        assert silent(front, own, 81) and silent(made.sandbox("other"), own, 80)
    assert silent(made.sandbox("db"), address("front"), 80)  # a link has a direction
    assert answers(made.here, db, 81)  # the host reaches all
    made.restart(signal.SIGKILL)
    assert answers(front, db, 80)
    made.docker("restart", "-t", "0", "db")
    assert answers(front, address("db"), 80)
    made.docker("rm", "--link", "front/database")
    assert silent(front, address("db"), 80)
