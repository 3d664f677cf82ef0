"""Ports of a container that is there, published and withdrawn while it runs: what Docker's users cannot do."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.hosts import socket_in
from tests.product.network import answers, ask_udp, held, silent, udp_echo
from tests.product.place import HOST, OUTSIDE, Place


@contextmanager
def echo(space: str, port: int) -> Iterator[None]:
    """A TCP server in a sandbox that sends back what it gets, for one connection."""
    server = socket_in(space)
    server.bind(("0.0.0.0", port))
    server.listen()
    server.settimeout(10)

    def serve() -> None:
        client, _ = server.accept()
        with client:
            client.settimeout(10)
            while data := client.recv(100):
                client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.close()
        thread.join(10)
        assert not thread.is_alive()


def said(connection: socket.socket, word: bytes) -> bool:
    """Whether an echo still comes back over a connection."""
    connection.sendall(word)
    return connection.recv(100) == word


def test_while_it_runs_and_for_every_later_start(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    address = engine.address("web")
    assert engine.linkspan("publish", "web", "-p", "8081:80", "-p", "127.0.0.1:8082:80").out == (
        "80/tcp -> 0.0.0.0:8081\n80/tcp -> [::]:8081\n80/tcp -> 127.0.0.1:8082\n"
    )
    assert answers(engine.there, HOST, 8081) == answers(engine.there, HOST, 8080) == OUTSIDE
    assert answers(engine.here, "127.0.0.1", 8082) and silent(engine.there, HOST, 8082)
    assert set(engine.out("port", "web").splitlines()) == {
        *("80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"),
        *("80/tcp -> 0.0.0.0:8081", "80/tcp -> [::]:8081"),
        "80/tcp -> 127.0.0.1:8082",
    }
    assert "0.0.0.0:8081->80/tcp" in engine.out("ps")
    assert engine.linkspan("unpublish", "web", "8080").out == "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"
    assert silent(engine.there, HOST, 8080)
    with held(engine.here, "0.0.0.0", 8080):
        pass  # the host has it back
    assert engine.inspect("web")["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8081"}, {"HostIp": "127.0.0.1", "HostPort": "8082"}]
    }
    engine.restart()
    engine.docker("restart", "-t", "0", "web")
    assert engine.address("web") == address
    assert answers(engine.there, HOST, 8081) == OUTSIDE and silent(engine.there, HOST, 8080)


def test_open_connections_go_on(engine: Place) -> None:
    """Those of other ports, and those of the port that is withdrawn: only new ones are refused."""
    engine.run("--name", "web", "-p", "8080:7", "-p", "8081:8", "web")
    inside = engine.sandbox("web")
    with echo(inside, 7), echo(inside, 8), socket_in(engine.there) as one, socket_in(engine.there) as two:
        one.settimeout(5)
        two.settimeout(5)
        one.connect((HOST, 8080))
        two.connect((HOST, 8081))
        assert said(one, b"before") and said(two, b"before")
        engine.linkspan("publish", "web", "-p", "8082:80")
        engine.linkspan("unpublish", "web", "8081")
        assert said(one, b"after") and said(two, b"after")
        assert silent(engine.there, HOST, 8081) and answers(engine.there, HOST, 8082)
        engine.linkspan("unpublish", "web", ":80")
        assert said(one, b"still") and said(two, b"still")


def test_udp_is_cut_at_once(engine: Place) -> None:
    engine.run("--name", "named", "plain", "sleep", "60")
    with udp_echo(engine.sandbox("named"), 53), socket_in(engine.there, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.connect((HOST, 53))
        engine.linkspan("publish", "named", "-p", "53:53/udp")
        assert ask_udp(engine.there, HOST, 53) == OUTSIDE
        client.send(b"x")
        assert client.recv(100).decode() == OUTSIDE
        engine.linkspan("unpublish", "named", "53/udp")
        client.send(b"x")
        try:
            assert not client.recv(100)
        except OSError:
            pass  # refused or silent, but not answered
        else:
            raise AssertionError("the withdrawn port still answers")


def test_one_container_hands_a_port_to_another(engine: Place) -> None:
    engine.run("--name", "blue", "-p", "8080:80", "web")
    engine.run("--name", "green", "web")
    before = engine.inspect("green")["HostConfig"]
    refused = engine.linkspan("publish", "green", "-p", "8090:80", "-p", "8080:80", status=1).err
    assert "driver failed programming external connectivity on endpoint green (" in refused
    assert "Bind for 0.0.0.0:8080 failed: port is already allocated" in refused
    assert engine.inspect("green")["HostConfig"] == before and engine.out("port", "green") == ""
    assert silent(engine.there, HOST, 8090)
    engine.linkspan("unpublish", "blue", "8080")
    engine.linkspan("publish", "green", "-p", "8080:80")
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    assert engine.out("port", "green").splitlines() == ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]


def test_a_process_of_the_host_is_in_the_way(engine: Place) -> None:
    engine.run("--name", "web", "web")
    with held(engine.here, "0.0.0.0", 8080):
        refused = engine.linkspan("publish", "web", "-p", "8079:80", "-p", "8080:80", status=1).err
        assert "failed to bind host port 0.0.0.0:8080/tcp: address already in use" in refused
        assert engine.linkspan("publish", "web", "-p", "8079-8081:80").out.startswith("80/tcp -> 0.0.0.0:8079\n")
        assert engine.linkspan("publish", "web", "-p", "8080-8081:80").out.startswith("80/tcp -> 0.0.0.0:8081\n")
    engine.linkspan("unpublish", "web", "8079-8081")
    assert engine.out("port", "web") == "" and silent(engine.there, HOST, 8081)


def test_while_it_does_not_run(engine: Place) -> None:
    engine.docker("create", "--name", "web", "web")
    assert engine.linkspan("publish", "web", "-p", "8080:80", "-p", "8081:80").out == ""
    engine.linkspan("unpublish", "web", "8081")
    engine.docker("start", "web")
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    assert engine.out("port", "web").splitlines() == ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]


def test_who_shares_a_network_publishes_with_its_owner(engine: Place) -> None:
    engine.run("--name", "web", "web")
    engine.run("--name", "guest", "--network", "container:web", "plain", "sleep", "60")
    refused = engine.linkspan("publish", "guest", "-p", "8080:80", status=1).err
    assert "conflicting options: port publishing and the container type network mode" in refused
    engine.linkspan("publish", "web", "-p", "8080:80")
    assert answers(engine.there, HOST, 8080) == OUTSIDE


def test_over_http(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    body = {"PortBindings": {"80/tcp": [{"HostPort": "8081"}, {"HostIp": "127.0.0.1", "HostPort": "8082"}]}}
    places = (("0.0.0.0", "8081"), ("::", "8081"), ("127.0.0.1", "8082"))
    made = {"80/tcp": [{"HostIp": address, "HostPort": port} for address, port in places]}
    assert engine.request("POST", "/v1.51/containers/web/publish", body) == (200, {"Ports": made, "Warnings": []})
    assert engine.request("POST", "/containers/web/publish", body)[0] == 304
    assert engine.request("POST", "/containers/web/unpublish", body) == (200, {"Ports": made, "Warnings": []})
    assert engine.request("POST", "/containers/web/unpublish", body)[0] == 404
    assert engine.request("POST", "/containers/web/unpublish", {"PortBindings": {"80/tcp": None}})[0] == 200
    assert engine.out("port", "web") == ""
    for path, wrong, status in (
        ("web/publish", {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}, 400),
        ("web/publish", {"PortBindings": {}}, 400),
        ("web/publish", {"Ports": ["8080"]}, 400),
        ("web/unpublish", {"Ports": ["nonsense"]}, 400),
        ("web/unpublish", {}, 400),
        ("nobody/publish", body, 404),
        ("nobody/unpublish", {"Ports": ["80"]}, 404),
    ):
        assert engine.request("POST", f"/containers/{path}", wrong)[0] == status, (path, wrong)


def test_events(engine: Place) -> None:
    id_ = engine.run("--name", "web", "web")
    engine.linkspan("publish", "web", "-p", "8080:80")
    engine.linkspan("unpublish", "web", "8080")
    lines = engine.out(
        "events", "--since", "5m", "--until", f"{time.time():.9f}", "--format", "{{json .}}", "-f", f"container={id_}"
    )
    told = [json.loads(line) for line in lines.splitlines()]
    found = [(e["Action"], e["Actor"]["Attributes"]["ports"]) for e in told if e["Action"] in ("publish", "unpublish")]
    assert found == [(verb, "0.0.0.0:8080->80/tcp,[::]:8080->80/tcp") for verb in ("publish", "unpublish")]
