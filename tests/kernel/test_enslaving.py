"""An interface of the host's own in a bridge of ours: the host's sessions go on, at every step and back again."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.errors import Conflict, Internal
from linkspan.kernel import enslaving, netlink
from linkspan.kernel.linux import LinuxKernel
from linkspan.state.objects import Enslaved, State, state_of
from linkspan.state.plan import Plan, diff
from tests.hosts import Host, hosts, needs_root

pytestmark = [pytest.mark.root, needs_root]

FLAT = Enslaved("fl-eth0", "eth0")
NEAR, FAR = "10.211.55.4", "10.211.55.9"
_SO_RCVBUFFORCE = 33
BEHIND = "10.99.0.1"  # an address of the far host's, reached over a route with a gateway


class Killed(Exception):
    """The daemon is no more."""


@pytest.fixture
def place() -> Iterator[dict[str, Host]]:
    with hosts(near=f"{NEAR}/24", far=f"{FAR}/24") as made:
        near, far = made["near"], made["far"]
        near.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
        near.run("ip", "address", "add", "10.211.55.5/24", "dev", "eth0", "label", "eth0:1")
        near.run(
            "ip",
            "address",
            "add",
            "fd00:55::4/64",
            "dev",
            "eth0",
            "nodad",
            "valid_lft",
            "5000",
            "preferred_lft",
            "4000",
        )
        near.run("ip", "route", "add", "default", "via", FAR, "metric", "100", "proto", "dhcp", "src", NEAR)
        near.run("ip", "route", "add", "10.50.0.0/16", "via", FAR, "table", "77")
        near.run("ip", "-6", "route", "add", "default", "via", "fd00:55::9", "metric", "1024", "mtu", "1400")
        far.run("ip", "address", "add", f"{BEHIND}/32", "dev", "lo")
        far.run("ip", "address", "add", "fd00:55::9/64", "dev", "eth0", "nodad")
        yield made


class Kernel:
    """A daemon's kernel in a host, begun anew as often as a test likes."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.kernel = host.call(LinuxKernel, folder)

    def converge(self, *wanted: Enslaved) -> Plan:
        plan = diff(self.read(), state_of(wanted))
        self.host.call(self.kernel.apply, plan)
        return plan

    def read(self) -> State:
        return self.host.call(self.kernel.read)

    def again(self) -> None:
        self.close()
        self.kernel = self.host.call(LinuxKernel, self.folder)

    def close(self) -> None:
        self.host.call(self.kernel.close)


@pytest.fixture
def kernel(place: dict[str, Host], tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(place["near"], tmp_path / "netns")
    yield made
    made.close()


class Talk:
    """Numbered datagrams both ways without a pause, each answered by the far host, and a TCP connection beside."""

    def __init__(self, near: Host, far: Host, family: int = socket.AF_INET, far_address: str = FAR) -> None:
        self._answering = far.call(_bound, family, socket.SOCK_DGRAM)
        self._asking = near.call(socket.socket, family, socket.SOCK_DGRAM)
        self._asking.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        self._answering.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        listening = far.call(_bound, family, socket.SOCK_STREAM)
        listening.listen()
        self._near = near.call(socket.create_connection, (far_address, listening.getsockname()[1]), 5)
        self._far, _ = listening.accept()
        listening.close()
        self._asking.connect((far_address, self._answering.getsockname()[1]))
        self.sent, self.heard = 0, set[int]()
        self._going = True
        self._overflown = _overflown()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._answer, self._hear)]
        for one in (self._asking, self._answering):
            one.settimeout(0.5)
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while self._going:
            self._asking.send(self.sent.to_bytes(8, "big"))
            self.sent += 1
            time.sleep(0.0001)

    def _answer(self) -> None:
        with _until_silent():
            while True:
                data, who = self._answering.recvfrom(64)
                self._answering.sendto(data, who)

    def _hear(self) -> None:
        with _until_silent():
            while True:
                self.heard.add(int.from_bytes(self._asking.recv(64), "big"))

    def exchange(self) -> None:
        """Over the TCP connection, both ways."""
        for one, other in ((self._near, self._far), (self._far, self._near)):
            other.settimeout(5)
            one.sendall(b"still there?")
            assert other.recv(64) == b"still there?"

    def lost(self) -> set[int]:
        self._going = False
        for thread in self._threads:
            thread.join()
        for one in (self._asking, self._answering, self._near, self._far):
            one.close()
        lost = set(range(self.sent)) - self.heard
        # A machine with more to do than it can drops packets of any host ahead of the network that is tested.
        return lost if len(lost) > _overflown() - self._overflown else set()


def _overflown() -> int:
    """Packets that the whole machine's processors have dropped, as too many of them waited."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())


class _until_silent:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        return kind is not None and issubclass(kind, TimeoutError)


def _bound(family: int, kind: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind(("", 0))
    return made


def network_of(host: Host) -> dict[str, list[str]]:
    """Addresses and routes, whichever of the two links they are on."""
    addresses = [
        f"{a['local']}/{a['prefixlen']} {a['scope']} {a.get('broadcast')} {a.get('label', '').partition(':')[2]}"
        for link in host.json("ip", "-j", "address")
        if link["ifname"] != "lo"
        for a in link["addr_info"]
    ]
    routes = [
        re.sub(r" (expires \d+sec|linkdown)", "", line).replace("fl-eth0", "eth0").strip()
        for family in ("-4", "-6")
        for table in ("main", "77")
        for line in host.run("ip", family, "route", "show", "table", table, check=False).splitlines()
        if not line.startswith("fe80::/64")
    ]
    return {"addresses": sorted(addresses), "routes": sorted(routes)}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_not_a_packet_is_lost(place: dict[str, Host], kernel: Kernel, family: int) -> None:
    near = place["near"]
    before = network_of(near)
    talk = Talk(near, place["far"], family, FAR if family == socket.AF_INET else "fd00:55::9")
    try:
        for _ in range(5):
            assert kernel.converge(FLAT)
            assert not kernel.converge(FLAT)
            talk.exchange()
            assert near.json("ip", "-j", "link", "show", "eth0")[0]["master"] == "fl-eth0"
            assert not near.json("ip", "-j", "address", "show", "eth0")[0]["addr_info"]
            assert network_of(near) == before
            kernel.converge()
            talk.exchange()
            assert network_of(near) == before
            assert "fl-eth0" not in near.run("ip", "link")
    finally:
        lost = talk.lost()
    assert talk.sent > 1000
    assert not lost, (len(lost), sorted(lost)[:20], talk.sent)


class Steps:
    """Counts what is asked of the kernel, and kills the daemon before one of those that change something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        send = netlink.NetlinkSocket._send

        def counted(inside: netlink.NetlinkSocket, requests: Any) -> int:
            if self.left is not None and any(kind in _CHANGING for kind, _, _ in requests):
                if self.left == 0:
                    raise Killed
                self.left -= 1
            return send(inside, requests)

        monkeypatch.setattr(netlink.NetlinkSocket, "_send", counted)

    def killed(self, kernel: Kernel, after: int, *wanted: Enslaved) -> bool:
        """Whether the daemon was killed before it was done; its successor is there."""
        self.left = after
        try:
            kernel.converge(*wanted)
            return False
        except Killed:
            return True
        finally:
            self.left = None
            kernel.again()


_CHANGING = {16, 17, 20, 21, 24, 25, 28}


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "back"])
@pytest.mark.parametrize("there_first", [False, True], ids=["in", "out"])
def test_killed_at_every_step(
    place: dict[str, Host], kernel: Kernel, monkeypatch: pytest.MonkeyPatch, there_first: bool, forward: bool
) -> None:
    """Killed while an interface moves into its bridge, or out of it; the next daemon ends that, or takes it back."""
    near, steps = place["near"], Steps(monkeypatch)
    before = network_of(near)
    talk = Talk(near, place["far"])
    first, then = ((FLAT,), ()) if there_first else ((), (FLAT,))
    after = 0
    try:
        while True:
            kernel.converge(*first)
            killed = steps.killed(kernel, after, *then)
            talk.exchange()
            wanted = then if forward else first
            kernel.converge(*wanted)
            assert kernel.read() == state_of(wanted)
            assert network_of(near) == before
            talk.exchange()
            kernel.converge(*first)
            assert network_of(near) == before
            if not killed:
                break
            after += 1
        kernel.converge()
    finally:
        lost = talk.lost()
    assert after >= 6
    assert not lost, (len(lost), sorted(lost)[:20], talk.sent)


def test_a_gateway_that_does_not_answer_any_more(
    place: dict[str, Host], kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is taken back, and sessions go on."""
    near = place["near"]
    before = network_of(near)
    talk = Talk(near, place["far"])
    heard = enslaving.probe.answers
    monkeypatch.setattr(enslaving.probe, "answers", lambda name, *rest: name == "eth0" and heard(name, *rest))
    with pytest.raises(Internal, match=f"gateway {FAR} does not answer there, so it was taken back"):
        kernel.converge(FLAT)
    talk.exchange()
    assert network_of(near) == before
    assert not kernel.read()
    assert not talk.lost()


def test_what_stands_in_the_way(place: dict[str, Host], kernel: Kernel) -> None:
    near = place["near"]
    before = network_of(near)
    near.run("ip", "link", "add", "fl-eth0", "type", "bridge")
    with pytest.raises(Conflict, match="fl-eth0 exists already and was not made by linkspan"):
        kernel.converge(FLAT)
    near.run("ip", "link", "del", "fl-eth0")
    near.run("ip", "link", "add", "mv0", "link", "eth0", "type", "macvlan")
    with pytest.raises(Conflict, match="eth0 is in use otherwise, by macvlan links"):
        kernel.converge(FLAT)
    near.run("ip", "link", "del", "mv0")
    near.run("ip", "link", "add", "br7", "type", "bridge")
    near.run("ip", "link", "set", "eth0", "master", "br7")
    with pytest.raises(Conflict, match="eth0 is a port of another bridge already"):
        kernel.converge(FLAT)
    near.run("ip", "link", "del", "br7")
    assert network_of(near) == before
    assert not kernel.read()


def test_what_others_do_to_it(place: dict[str, Host], kernel: Kernel) -> None:
    """An address that a DHCP client puts back on the interface, the interface out of the bridge, the bridge removed."""
    near = place["near"]
    before = network_of(near)
    kernel.converge(FLAT)
    for harm in (
        ("ip", "address", "add", f"{NEAR}/24", "brd", "10.211.55.255", "dev", "eth0"),
        ("ip", "link", "set", "eth0", "nomaster"),
        ("ip", "link", "del", "fl-eth0"),
        ("ip", "link", "set", "fl-eth0", "down"),
    ):
        kernel.read()
        near.run(*harm)
        kernel.converge(FLAT)
        assert kernel.read() == state_of([FLAT])
        seen = network_of(near)
        assert set(before["addresses"]) <= set(seen["addresses"]), harm
        assert seen["routes"] == before["routes"], harm


def test_without_the_interface(place: dict[str, Host], kernel: Kernel) -> None:
    """The bridge waits for it, and has it once it is there."""
    near = place["near"]
    kernel.converge(Enslaved("fl-up0", "up0"))
    assert not kernel.converge(Enslaved("fl-up0", "up0"))
    near.run("ip", "link", "add", "up0", "type", "veth", "peer", "up1")
    near.run("ip", "link", "set", "up0", "up")
    assert kernel.converge(Enslaved("fl-up0", "up0"))
    assert near.json("ip", "-j", "link", "show", "up0")[0]["master"] == "fl-up0"
    kernel.converge()
    near.run("ip", "link", "del", "up0")
