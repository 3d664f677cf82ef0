"""What carries a mesh, without a daemon: real WireGuard and babeld on test hosts, which do not all hear each other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.fabric.place import Hosts, Member, hosts, until

RELAYED = "100.127.0.3 via 100.127.0.2 "
# Frames of a kind of its own (88b5), in VXLAN, from any address.
SPOOF = """
import socket, struct, sys
target, sources, ports = sys.argv[1], sys.argv[2].split(","), map(int, sys.argv[3].split(","))
frame = bytes.fromhex("ffffffffffff026c647f000288b5") + bytes(46)
payload = struct.pack("!II", 0x08000000, 4095 << 8) + frame
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for port in ports:
    udp = struct.pack("!HHHH", 5555, port, 8 + len(payload), 0) + payload
    for source in sources:
        ends = socket.inet_aton(source) + socket.inet_aton(target)
        raw.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends + udp, (target, 0))
"""
LISTEN = """
import socket
heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5))
heard.bind(("linkspan-mesh", 0x88b5))
heard.settimeout(0.5)
print("listening", flush=True)
try:
    heard.recv(100)
    print("heard")
except TimeoutError:
    print("silent")
"""


@pytest.fixture(scope="module")
def three(new_folder: Callable[[], Path]) -> Iterator[Hosts]:
    """Three hosts that all hear each other."""
    with hosts(new_folder(), 3) as made:
        made.start()
        yield made


@pytest.fixture
def mesh(three: Hosts) -> Iterator[Hosts]:
    """The same, as it should be before each test."""
    three.part()
    pairs = [(one, other) for one in three for other in three if one is not other]
    until(lambda: all(one.reaches(other) for one, other in pairs), "each host reaches every other", 30)
    yield three


def directly(made: Hosts) -> None:
    pairs = [(member, other) for member in made for other in made if member is not other]
    until(
        lambda: all(f"{other.address} via {other.address} " in member.ip("route") for member, other in pairs),
        "each host reaches every other directly",
        30,
    )


def hears(member: Member, sender: Member, sources: Sequence[str], ports: Sequence[int] = (6784,)) -> bool:
    """Whether a frame comes out of the host's segment that another one sends it in the clear, from any of `sources`."""
    listening = subprocess.Popen(
        [*member.host.enter(), sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True
    )
    assert listening.stdout
    assert listening.stdout.readline() == "listening\n"
    sender.host.run([sys.executable, "-c", SPOOF, member.outer, ",".join(sources), ",".join(map(str, ports))])
    return listening.communicate(timeout=10)[0] == "heard\n"


@contextlib.contextmanager
def at_most_lost(count: int, member: Member, other: Member) -> Iterator[None]:
    """Asks another host ten times a second all the while: not more than so many may be without an answer at the end."""
    command = [*member.host.enter(), "busybox", "ping", "-i", "0.1", "-W", "1", other.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            said = process.stdout.read()
    sent, heard = (int(line.split()[0]) for line in said.splitlines()[-2].split(", ")[:2])
    assert sent - heard <= count, said


def test_who_is_not_heard_is_reached_through_another_within_seconds(mesh: Hosts) -> None:
    first, second, third = mesh
    directly(mesh)
    with at_most_lost(1, first, second):
        mesh.part((1, 3))
        # Some 2 s on a quiet machine.
        until(lambda: RELAYED in first.ip("route") and first.reaches(third), "h1 reaches h3 through h2")
    # A packet as large as the segment takes passes through the host between them in one piece.
    assert first.reaches(third, "-s", str(1390 - 28))


def test_processes_that_are_killed_come_back(mesh: Hosts) -> None:
    first, second, third = mesh
    # The next one begins with telling the others to forget what the last one said, and then says it again.
    with at_most_lost(15, first, second):
        first.kill("babeld")
        # As though the way had changed meanwhile: the next one takes what it finds for its own.
        first.ip(*f"route replace {third.address} via 100.127.0.99 dev linkspan-mesh proto 42 onlink".split())
        until(lambda: "100.127.0.99" not in first.ip("route"), "the route is as babeld says")
        until(lambda: first.reaches(third), "h1 reaches h3")
    first.ip("route", "flush", "proto", "42")
    until(lambda: first.reaches(second) and first.reaches(third), "what another program took away is back", 15)
    first.kill("wireguard-go")
    until(lambda: first.reaches(second) and len(first.pids("wireguard-go")) == 1, "h1 reaches h2 again")
    assert "mtu 1440" in first.ip("link", "show", "linkspan-wg")


def test_a_daemon_that_dies_interrupts_nothing(mesh: Hosts) -> None:
    first, second, third = mesh
    before = [first.pids(name) for name in ("babeld", "wireguard-go")]
    with at_most_lost(1, first, second):
        first.stop(kill=True)
        assert first.reaches(third)
        started = first.start()
        assert (started["interface"], started["address"], started["mtu"]) == ("linkspan-mesh", first.address, 1390)
    assert [first.pids(name) for name in ("babeld", "wireguard-go")] == before


def test_nothing_is_taken_in_the_clear(mesh: Hosts) -> None:
    """Neither from a peer's own network, nor under an address that it has inside WireGuard."""
    assert not hears(mesh[1], mesh[3], ("10.211.55.3", "100.126.0.2", "100.127.0.2"), (6784, 6786))


def test_what_no_way_leads_to_is_not_sent_to_the_router(mesh: Hosts) -> None:
    first = mesh[1]
    first.ip("route", "add", "default", "via", "10.211.55.9")
    try:
        for address in ("100.127.0.77", "100.126.0.77", "fd6c::77"):
            found = first.host.run(["ip", "route", "get", address], check=False)
            assert found.returncode
    finally:
        first.ip("route", "delete", "default")


def test_who_is_no_peer_any_more_is_not_heard(mesh: Hosts) -> None:
    first, second, third = mesh
    for member, other in ((first, second), (second, first)):
        member.tell([other])
    until(lambda: not first.reaches(third), "h1 hears nothing of h3")
    until(lambda: first.reaches(second), "h1 reaches h2, if need be by another way than through h3")
    assert third.public_key not in first.host.run(["wg", "show", "linkspan-wg"]).stdout
    for member in mesh:
        member.tell([other for other in mesh if other is not member])


def test_two_parts_of_a_mesh_meet_again_and_what_is_not_encrypted_comes_from_peers_alone(
    new_folder: Callable[[], Path],
) -> None:
    """On the hosts' own network. (That a frame in the clear is heard here is what makes its not being heard above mean
    something.)"""
    with hosts(new_folder(), 5, encrypted=False) as made:
        apart = [(one, other) for one in (1, 2) for other in (3, 4, 5)]
        made.part(*apart)
        made.start()
        first, second, third, _, fifth = made
        until(lambda: first.reaches(second) and third.reaches(fifth), "each part is one", 15)
        assert not first.reaches(fifth)
        # By one link between two of them all reach all.
        made.part(*(pair for pair in apart if pair != (2, 3)))
        until(lambda: first.reaches(fifth) and fifth.reaches(first), "the parts are one", 20)
        assert "mtu 1450" in first.ip("link", "show", "linkspan-mesh")
        assert hears(first, second, [second.outer])
        assert not hears(first, second, ("10.211.55.77", "100.127.0.2"))
        first.do("end")
        assert not first.pids("babeld")
        assert [link["ifname"] for link in json.loads(first.ip("-j", "link"))] == ["lo", "eth0"]
        assert first.ip("route").splitlines() == [f"10.211.55.0/24 dev eth0 proto kernel scope link src {first.outer} "]


def test_at_the_end_nothing_of_it_is_left(new_folder: Callable[[], Path]) -> None:
    """Also of a daemon that has died: the next one has not started it."""
    with hosts(new_folder(), 1) as made:
        (member,) = made
        member.start()
        until(lambda: member.pids("wireguard-go") and member.pids("babeld"), "both are there")
        member.stop(kill=True)
        member.launch()
        member.do("end")
        assert not (member.pids("wireguard-go") or member.pids("babeld"))
