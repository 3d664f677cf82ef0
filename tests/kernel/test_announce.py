"""Announcements as frames, and what the kernel's own neighbours make of them."""

from __future__ import annotations

import json

import pytest

from linkspan.kernel.announce import frame, send
from tests.hosts import hosts, needs_root

MAC = bytes.fromhex("02420a090002")


def test_the_arp_frame() -> None:
    assert frame("10.9.0.2", MAC).hex() == (
        "ffffffffffff02420a0900020806000108000604000102420a0900020a0900020000000000000a090002"
    )


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("address", ["10.211.55.9", "fd00::9"])
def test_neighbours_take_it(address: str) -> None:
    """A neighbour that has an entry for the address gets the new MAC at once."""
    with hosts(one="10.211.55.4/24", two="10.211.55.9/24") as made:
        one, two = made["one"], made["two"]
        one.run("ip", "address", "add", "fd00::4/64", "dev", "eth0", "nodad")
        stale = ("ip", "neighbour", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")
        one.run(*stale)
        one.run("sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0")
        two.call(send, "eth0", (address,))
        mac = two.json("ip", "-j", "link", "show", "eth0")[0]["address"]
        (entry,) = json.loads(one.run("ip", "-j", "neighbour", "show", address))
        assert entry["lladdr"] == mac
