"""Limits of one attachment, measured."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import time

import pytest

from tests.hosts import socket_in
from tests.product.place import Place
from tests.product.test_healing import veth
from tests.product.test_macvlan import LAN, ONE

PORT = 7777


def rate(source: str, sink: str, address: str, amount: int) -> float:
    """Bits a second, of `amount` bytes by TCP from the namespace `source` to `address` in `sink`."""
    server = socket_in(sink)
    server.bind((address, PORT))
    server.listen()
    server.settimeout(10)

    def receive() -> float:
        client, _ = server.accept()
        with client:
            client.settimeout(10)
            got, began = len(client.recv(1 << 16)), time.monotonic()
            while piece := client.recv(1 << 16):
                got += len(piece)
            return got * 8 / (time.monotonic() - began)

    with concurrent.futures.ThreadPoolExecutor(1) as thread, server, socket_in(source) as sending:
        receiving = thread.submit(receive)
        sending.settimeout(10)
        sending.connect((address, PORT))
        sending.sendall(bytes(amount))
        sending.close()
        return receiving.result()


def near(measured: float, wanted: float) -> bool:
    return 0.8 * wanted < measured < 1.2 * wanted


def told(engine: Place, ref: str) -> dict[str, str] | None:
    (settings,) = engine.inspect(ref)["NetworkSettings"]["Networks"].values()
    options: dict[str, str] | None = settings["DriverOpts"]
    return options


def test_on_a_bridge(engine: Place) -> None:
    engine.docker("network", "create", "own")
    engine.api.containers.run(
        "plain",
        ["sleep", "600"],
        detach=True,
        name="web",
        networking_config={"own": engine.api.api.create_endpoint_config(driver_opt={"rate": "40mbit"})},
        network="own",
    )
    sandbox, address = engine.sandbox("web"), engine.address("web")
    gateway = engine.inspect("own")["IPAM"]["Config"][0]["Gateway"]
    assert near(rate(engine.here, sandbox, address, 2_500_000), 40e6)
    assert near(rate(sandbox, engine.here, gateway, 2_500_000), 40e6)
    # Changed while it runs, by either front door, and still so after the daemon's end and the container's.
    assert engine.linkspan("bandwidth", "web", "own", "80mbit").out == (
        "80000000 bit/s each way, bursts of 100000 bytes\n"
    )
    assert near(rate(engine.here, sandbox, address, 4_000_000), 80e6)
    engine.restart(signal.SIGKILL)
    assert near(rate(sandbox, engine.here, gateway, 4_000_000), 80e6)
    engine.docker("restart", "-t", "0", "web")
    assert told(engine, "web") == {"rate": "80mbit"}
    assert near(rate(engine.here, engine.sandbox("web"), engine.address("web"), 4_000_000), 80e6)
    status, answer = engine.request("POST", "/containers/web/bandwidth", {"Network": "own", "Rate": ""})
    assert (status, answer) == (200, {"Rate": 0, "Burst": 0}) and told(engine, "web") is None
    assert rate(engine.here, engine.sandbox("web"), engine.address("web"), 20_000_000) > 200e6
    assert engine.linkspan("bandwidth", "web", "own", "none").out == "no limit\n"


@pytest.mark.parametrize("end", ["host", "sandbox"])
def test_put_back_where_somebody_takes_it_off(engine: Place, end: str) -> None:
    engine.run("--name", "web", "--network", "name=bridge,driver-opt=rate=40mbit", "plain", "sleep", "600")
    device = veth(engine) if end == "host" else "eth0"
    enter = ["nsenter", f"--net={engine.inspect('web')['NetworkSettings']['SandboxKey']}"] if end == "sandbox" else []

    def limits() -> str:
        return str(engine.host.run([*enter, "tc", "qdisc", "show", "dev", device]).stdout)

    assert "tbf 4c53: root" in limits()
    engine.host.run([*enter, "tc", "qdisc", "del", "dev", device, "root"])
    deadline = time.monotonic() + 5
    while "tbf 4c53: root" not in limits():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "rate 40Mbit" in limits()


def test_on_a_macvlan(engine: Place) -> None:
    engine.docker("network", "create", *LAN, "-o", "parent=eth0", "lan")
    engine.run("--name", "web", "--net", "lan", "plain", "sleep", "600")
    sandbox = engine.sandbox("web")
    engine.linkspan("bandwidth", "web", "lan", "40mbit", "32kb")
    assert near(rate(engine.there, sandbox, ONE, 2_500_000), 40e6)
    assert near(rate(sandbox, engine.there, "10.211.55.9", 2_500_000), 40e6)
    engine.linkspan("bandwidth", "web", "lan", "none")
    pid = engine.inspect("web")["State"]["Pid"]
    links = json.loads(engine.host.run(["nsenter", "-t", str(pid), "-n", "ip", "-j", "link"]).stdout)
    assert {link["ifname"] for link in links} == {"lo", "eth0"}
    assert rate(engine.there, sandbox, ONE, 20_000_000) > 200e6


def test_what_is_wrong_changes_nothing(engine: Place) -> None:
    engine.run("--name", "web", "plain", "sleep", "600")
    for words, status, text in (
        ({"Network": "bridge", "Rate": "fast"}, 400, "invalid rate: 'fast'"),
        ({"Network": "bridge", "Burst": "1mb"}, 400, "it belongs to a rate"),
        ({"Network": "host", "Rate": "1mbit"}, 404, "container web is not connected to network host"),
        ({"Network": "nope", "Rate": "1mbit"}, 404, "network nope not found"),
        ({"Rate": "1mbit"}, 400, "a network is needed"),
        ({"Network": "bridge", "Speed": "1mbit"}, 400, "unknown field `Speed`"),
    ):
        found = engine.request("POST", "/containers/web/bandwidth", words)
        assert found[0] == status and text in found[1]["message"], found
    assert engine.request("POST", "/containers/nope/bandwidth", {"Network": "bridge"})[0] == 404
    assert told(engine, "web") is None
