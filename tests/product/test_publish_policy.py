"""--publish-policy=closed, and the administrator's own table, as the daemon keeps them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.product.network import answers, ask, silent
from tests.product.others import eventually
from tests.product.place import HOST, OUTSIDE, Place, place

HOST6, OUTSIDE6 = "fd00:56::4", "fd00:56::9"
TABLE = ["nft", "list", "table", "inet", "linkspan-user"]


@pytest.fixture(scope="module")
def engine(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start("--publish-policy=closed")
        made.import_images()
        yield made
        assert "Traceback" not in made.log.read_text() and "ERROR" not in made.log.read_text(), made.log.read_text()


def nft(engine: Place, text: str) -> None:
    engine.host.run(["nft", text])


def test_closed_until_allowed_and_as_long_as_that(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "-p", "8081:80", "web")
    assert answers(engine.here, "127.0.0.1", 8080) and ask(engine.here, HOST, 8080)
    assert engine.out("exec", "web", "wget", "-qO-", f"http://{HOST}:8080/") == "here"
    assert silent(engine.there, HOST, 8080)
    nft(engine, "add element inet linkspan-user allowed { tcp . 8080 }")
    assert ask(engine.there, HOST, 8080) == OUTSIDE and silent(engine.there, HOST, 8081)
    before = engine.host.run(TABLE).stdout
    engine.restart(signal.SIGKILL)
    assert engine.host.run(TABLE).stdout == before
    assert ask(engine.there, HOST, 8080) == OUTSIDE and silent(engine.there, HOST, 8081)
    assert ["PublishPolicy", "closed"] in engine.api.info()["FirewallBackend"]["Info"]
    # What was allowed goes with a flush; what is closed stays closed, and the table is there to be filled again.
    nft(engine, "flush ruleset")
    assert silent(engine.there, HOST, 8080)
    eventually(lambda: "set allowed" in engine.host.run(TABLE, check=False).stdout)
    nft(engine, "add element inet linkspan-user allowed { tcp . 8081 }")
    assert ask(engine.there, HOST, 8081) == OUTSIDE and silent(engine.there, HOST, 8080)
    # Asked to, the next daemon opens them; and a drop there drops all the same.
    engine.restart(signal.SIGTERM, "--publish-policy=open")
    assert ask(engine.there, HOST, 8080) == OUTSIDE
    nft(engine, f"add rule inet linkspan-user forward ip saddr {OUTSIDE} tcp dport 80 ct original proto-dst 8081 drop")
    assert silent(engine.there, HOST, 8081) and ask(engine.there, HOST, 8080)
    nft(engine, "flush chain inet linkspan-user forward")
    assert ask(engine.there, HOST, 8081) == OUTSIDE


def test_closed_for_ipv6_too(engine: Place) -> None:
    """Translated for a container that has IPv6, relayed for one that has IPv4 alone."""
    nft(engine, "delete table inet linkspan-user")
    engine.restart(signal.SIGTERM, "--publish-policy=closed")
    for host, address in ((engine.host, HOST6), (engine.outside, OUTSIDE6)):
        host.run(["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
    engine.docker("network", "create", "--ipv6", "both")
    engine.run("--name", "one", "-p", "8086:80", "web")
    engine.run("--name", "two", "--net", "both", "-p", "8087:80", "web", "httpd", "-f", "-p", "[::]:80", "-h", "/www")
    for port in (8086, 8087):
        assert answers(engine.here, "::1", port) and ask(engine.here, HOST6, port)
        assert silent(engine.there, HOST6, port) and silent(engine.there, HOST, port)
        nft(engine, f"add element inet linkspan-user allowed {{ tcp . {port} }}")
        assert answers(engine.there, HOST6, port) and ask(engine.there, HOST, port)
        nft(engine, f"delete element inet linkspan-user allowed {{ tcp . {port} }}")
        assert silent(engine.there, HOST6, port)
    nft(engine, "add rule inet linkspan-user input ip6 saddr fd00:56::9 tcp dport 8086 jump allow")
    assert ask(engine.there, HOST6, 8086)
