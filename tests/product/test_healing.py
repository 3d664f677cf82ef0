"""What somebody breaks on the host is whole again within a moment, with the containers running on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.product.network import answers, ask, who_server
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    """A container with a published port on the default network, and one on a network of its own."""
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        made.docker("network", "create", "own")
        made.run("--name", "web", "-p", "8080:80", "web")
        made.run("--name", "other", "--net", "own", "-p", "8081:80", "web")
        answers(made.there, HOST, 8080)
        answers(made.there, HOST, 8081)
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before, seen = traces(ground), looks(ground)
    yield ground
    os.kill(ground.pid, signal.SIGHUP)  # whatever a test leaves broken
    settles(ground, before)
    assert looks(ground) == seen
    assert "Traceback" not in ground.log.read_text()


def looks(engine: Place) -> list[object]:
    containers = [engine.inspect(name) for name in ("web", "other")]
    return [[c["State"] for c in containers], [c["NetworkSettings"] for c in containers], engine.inspect("own")]


def works(engine: Place) -> bool:
    """From outside and from the host; and the namespaces are held."""
    try:
        assert ask(engine.there, HOST, 8080, timeout=0.3) == OUTSIDE
        assert ask(engine.there, HOST, 8081, timeout=0.3) == OUTSIDE
        assert ask(engine.here, "127.0.0.1", 8080, timeout=0.3)
    except OSError:
        return False
    mounts = Path(f"/proc/{engine.host.pid}/mountinfo").read_text()
    return all(engine.inspect(name)["NetworkSettings"]["SandboxKey"] in mounts for name in ("web", "other"))


def until_works(engine: Place, within: float = 3) -> None:
    """It is noticed at once, or within a second where the kernel tells nobody; the rest is for a busy machine."""
    began = time.monotonic()
    while not works(engine):
        assert time.monotonic() < began + within, engine.log.read_text()[-3000:]
    with who_server(engine.there, OUTSIDE, 9000):
        for name in ("web", "other"):
            assert engine.out("exec", name, "wget", "-qO-", f"http://{OUTSIDE}:9000/") == HOST
    assert "eth0" in engine.out("run", "--rm", "--net", "container:web", "plain", "ip", "address")


def veth(engine: Place) -> str:
    endpoint = engine.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["EndpointID"]
    (name,) = [link["ifname"] for link in engine.ip("link") if link.get("ifalias") == f"linkspan:{endpoint}"]
    return str(name)


BROKEN = {
    "a bridge": "ip link delete docker0",
    "all bridges": "for b in $(ip -o link show type bridge | cut -d: -f2); do ip link delete $b; done",
    "a veth": "ip link delete VETH",
    "a veth off its bridge": "ip link set VETH nomaster",
    "a veth on another bridge": "ip link set VETH master $(ip -o link show type bridge | grep -o 'br-[0-9a-f]*')",
    "a veth down": "ip link set VETH down",
    "a bridge down": "ip link set docker0 down",
    "addresses": "ip address flush dev docker0",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=0",
    "forwarding of a bridge": "sysctl -qw net.ipv4.conf.docker0.forwarding=0",
    "route_localnet": "sysctl -qw net.ipv4.conf.docker0.route_localnet=0",
    "rules": "nft flush ruleset",
    "a namespace's file": "umount NETNS && rm NETNS",
    "all namespaces' files": "umount FOLDER/* && rm FOLDER/*",
    "everything": "for l in $(ip -o link | grep -oE '(docker0|br-|veth)[^:@]*'); do ip link delete $l; done; "
    "nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0",
}


@pytest.mark.parametrize("what", BROKEN)
def test_put_back(engine: Place, what: str) -> None:
    sandbox = engine.inspect("web")["NetworkSettings"]["SandboxKey"]
    folder = str(engine.exec_root / "netns")
    command = BROKEN[what].replace("VETH", veth(engine)).replace("NETNS", sandbox).replace("FOLDER", folder)
    engine.host.run(["sh", "-c", command])
    until_works(engine)
