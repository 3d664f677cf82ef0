"""The administrator's table: made, completed, never changed; and packets that it drops or lets through."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.kernel.linux import LinuxKernel
from linkspan.state.objects import NftElement, state_of
from linkspan.state.plan import diff
from tests.hosts import Host, hosts, socket_in
from tests.kernel.test_ruleset import HOST_ADDRESS, ONE, OTHER, OUTSIDE, TWO, Net, net

__all__ = ["net"]  # the fixture
pytestmark = pytest.mark.root

TABLE = ("table", "inet", "linkspan-user")
CLOSED = state_of([NftElement("restricted", family) for family in ("ipv4", "ipv6")])


def user(host: Host) -> str:
    return host.run("nft", "list", *TABLE)


@contextlib.contextmanager
def kernel_in(host: Host, folder: Path) -> Iterator[LinuxKernel]:
    kernel = host.call(LinuxKernel, folder)
    try:
        yield kernel
    finally:
        host.call(kernel.close)


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(host="10.0.0.1/24") as made:
        yield made["host"]


def test_it_is_made_and_made_again(host: Host, tmp_path: Path) -> None:
    with kernel_in(host, tmp_path / "netns") as kernel:
        made = user(host)
        assert "set allowed" in made and "chain allow " in made and "chain forward" in made
        assert "flags owner" not in made
        for command in ("flush ruleset", "delete table inet linkspan-user", "delete chain inet linkspan-user forward"):
            host.run("nft", *command.split())
            host.call(kernel.read)
            assert sorted(user(host).splitlines()) == sorted(made.splitlines())
    assert user(host)  # it stays when the daemon goes


def test_what_is_there_is_let_be(host: Host, tmp_path: Path) -> None:
    with kernel_in(host, tmp_path / "netns") as kernel:
        host.run("nft", "flush", "chain", "inet", "linkspan-user", "forward")
        host.run("nft", "add rule inet linkspan-user forward ip saddr 192.0.2.1 drop")
        host.run("nft", "add element inet linkspan-user allowed { tcp . 8080, udp . 9000-9010 }")
        host.run("nft", "add set inet linkspan-user mine { type ipv4_addr; }")
        host.run("nft", "delete chain inet linkspan-user input; delete chain inet linkspan-user allow")
        kept = [("chain", "forward"), ("set", "allowed"), ("set", "mine")]
        before = [host.run("nft", "list", kind, "inet", "linkspan-user", name) for kind, name in kept]
        host.call(kernel.read)
        assert "chain allow {" in user(host) and "chain input {" in user(host)
        assert [host.run("nft", "list", kind, "inet", "linkspan-user", name) for kind, name in kept] == before
        everything = user(host)
    with kernel_in(host, tmp_path / "netns") as kernel:  # the next daemon
        host.call(kernel.read)
        assert user(host) == everything


def test_loaded_by_the_administrator_before_us(host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host.run(
        *("nft", "-f", "-"),
        stdin="table inet linkspan-user {\n set allowed {\n type inet_proto . inet_service\n flags interval\n"
        "elements = { tcp . 8080 }\n }\n }\n",
    )
    with kernel_in(host, tmp_path / "netns"):
        assert "tcp . 8080" in user(host) and "ct original proto-dst @allowed jump allow" in user(host)
        assert not caplog.records


def test_what_does_not_go_with_ours(host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host.run("nft", "-f", "-", stdin="table inet linkspan-user {\n set allowed {\n type ipv4_addr\n }\n }\n")
    before = user(host)
    with kernel_in(host, tmp_path / "netns"):
        assert user(host) == before
    (record,) = caplog.records
    assert record.message.startswith("nft table inet linkspan-user is left as it is: what linkspan would add to it")


def test_losses_are_noticed(host: Host, tmp_path: Path) -> None:
    with kernel_in(host, tmp_path / "netns") as kernel:
        watch = host.call(kernel.watch)
        host.run("nft", "add rule inet linkspan-user forward ip saddr 192.0.2.1 drop")
        host.run("nft", "flush chain inet linkspan-user forward")
        assert not host.call(watch.lost) and not host.call(watch.stirred)
        for command in ("delete chain inet linkspan-user forward", "delete table inet linkspan-user"):
            host.run("nft", *command.split())
            assert host.call(watch.lost) and not host.call(watch.stirred)
        host.run("nft", "add table ip strange")
        assert not host.call(watch.lost) and host.call(watch.stirred)
        assert not host.call(watch.stirred)


# --- packets


@pytest.fixture
def closed(net: Net) -> Iterator[Net]:
    net.host.call(net.kernel.apply, diff({}, CLOSED))
    yield net
    net.host.call(net.kernel.apply, diff(CLOSED, {}))
    net.host.run("nft", "delete", *TABLE)
    net.host.call(net.kernel.read)


def add(net: Net, what: str) -> None:
    net.host.run("nft", f"add {what}")


def test_closed_until_allowed(closed: Net) -> None:
    assert closed.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == ""
    assert closed.udp(OUTSIDE, HOST_ADDRESS, 8053, ONE) == ""
    # The host and its containers are not outside.
    assert closed.tcp(HOST_ADDRESS, HOST_ADDRESS, 8080, ONE)
    assert closed.tcp(HOST_ADDRESS, "127.0.0.1", 8081, ONE)
    for client in (ONE, TWO, OTHER):
        assert closed.tcp(client, HOST_ADDRESS, 8080, ONE)
    assert closed.tcp(TWO, ONE, 81, ONE, 81) == TWO
    assert closed.tcp(ONE, OUTSIDE, 81, OUTSIDE, 81) == HOST_ADDRESS
    add(closed, "element inet linkspan-user allowed { tcp . 8080 }")
    assert closed.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == OUTSIDE
    assert closed.tcp(OUTSIDE, HOST_ADDRESS, 8082, ONE) == ""
    assert closed.udp(OUTSIDE, HOST_ADDRESS, 8053, ONE) == ""
    add(closed, "element inet linkspan-user allowed { udp . 8000-8060 }")
    assert closed.udp(OUTSIDE, HOST_ADDRESS, 8053, ONE) == OUTSIDE
    # It opens what is published, and nothing else.
    add(closed, "element inet linkspan-user allowed { tcp . 1-65535 }")
    assert closed.tcp(OUTSIDE, ONE, 80, ONE) == ""


def test_closed_but_for_some_clients(closed: Net) -> None:
    add(closed, "rule inet linkspan-user forward ip saddr 10.211.55.10 tcp dport 80 jump allow")
    assert closed.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == ""
    rule = f"ip saddr {OUTSIDE} ct original ip daddr {HOST_ADDRESS} tcp dport 80 ct original proto-dst 8080 jump allow"
    add(closed, f"rule inet linkspan-user forward {rule}")
    assert closed.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == OUTSIDE
    assert closed.tcp(OUTSIDE, HOST_ADDRESS, 8082, ONE) == ""


def test_a_drop_there_drops(net: Net) -> None:
    try:
        add(net, f"rule inet linkspan-user forward ip saddr {OUTSIDE} tcp dport 80 ct original proto-dst 8080 drop")
        assert net.tcp(OUTSIDE, HOST_ADDRESS, 8080, ONE) == ""
        assert net.tcp(OUTSIDE, HOST_ADDRESS, 8082, ONE) == OUTSIDE
        add(net, f"rule inet linkspan-user forward ip saddr {ONE} udp dport 53 drop")
        assert net.udp(ONE, OUTSIDE, 53, OUTSIDE, 53) == ""
    finally:
        net.host.run("nft", "delete", *TABLE)
        net.host.call(net.kernel.read)


def test_an_established_connection_goes_on(net: Net) -> None:
    with socket_in(net.paths[ONE]) as listener, socket_in(net.paths[OUTSIDE]) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 80))
        listener.listen()
        client.connect((HOST_ADDRESS, 8080))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(1)
            net.host.call(net.kernel.apply, diff({}, CLOSED))
            try:
                client.sendall(b"on")
                assert accepted.recv(2) == b"on"
            finally:
                net.host.call(net.kernel.apply, diff(CLOSED, {}))
