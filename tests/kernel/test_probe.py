"""Questions to a wire who has an address: as frames, and between two hosts."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.kernel import announce, probe
from tests.hosts import hosts, needs_root

MAC, OTHER = bytes.fromhex("02420a000001"), bytes.fromhex("02420a000002")


def test_a_question_of_ipv4_gives_no_address() -> None:
    frame = probe.question("10.0.0.9", MAC)
    assert frame[:6] == b"\xff" * 6 and frame[6:12] == MAC and frame[12:14] == b"\x08\x06"
    assert frame[14:] == bytes.fromhex("0001080006040001") + MAC + bytes(4) + bytes(6) + bytes((10, 0, 0, 9))


def test_a_question_of_ipv6_goes_to_its_group() -> None:
    frame = probe.question("fd00::1:203", MAC)
    assert frame[:6].hex(":") == "33:33:ff:01:02:03"
    assert frame[22:38] == bytes(16) and frame[38:54] == ipaddress.IPv6Address("ff02::1:ff01:203").packed
    assert announce.checksum(frame[22:54] + (24).to_bytes(4, "big") + (58).to_bytes(4, "big") + frame[54:]) == b"\0\0"


@pytest.mark.parametrize("address", ["10.0.0.9", "fd00::9"])
def test_what_is_claimed(address: str) -> None:
    assert probe.claim(announce.frame(address, OTHER)) == (address, OTHER.hex(":"))
    assert probe.claim(probe.question(address, OTHER)) == (address, OTHER.hex(":"))  # about to be taken


@given(st.binary(max_size=120))
def test_whatever_comes_is_read_or_passed_over(rest: bytes) -> None:
    for kind in (b"\x08\x06", b"\x86\xdd", b""):
        found = probe.claim(bytes(12) + kind + rest)
        assert found is None or ipaddress.ip_address(found[0])


@pytest.mark.root
@needs_root
def test_between_two_hosts() -> None:
    with hosts(near="10.211.55.4/24", far="10.211.55.9/24") as made:
        near, far = made["near"], made["far"]
        far.run("ip", "address", "add", "fd00:55::9/64", "dev", "eth0", "nodad")
        far.run("ip", "address", "add", "10.211.55.77/32", "dev", "lo")
        begun = time.monotonic()
        assert near.call(probe.answers, "eth0", "10.211.55.9", "", 1.0)
        assert near.call(probe.answers, "eth0", "10.211.55.9", "10.211.55.4", 1.0)
        assert near.call(probe.answers, "eth0", "fd00:55::9", "", 1.0)
        assert time.monotonic() - begun < 2.5  # each would wait for one second
        assert not near.call(probe.answers, "eth0", "10.211.55.10", "", 0.2)
        assert not near.call(probe.answers, "eth0", "10.211.55.4", "", 0.2)  # not our own word
        with pytest.raises(OSError, match="No such device"):
            near.call(probe.Wire, "eth9")
