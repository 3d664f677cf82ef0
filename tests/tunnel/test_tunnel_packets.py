"""flannel's udp backend: what its process does with a packet."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.tunnel.process import Routes, older, refusal


def checksum_holds(header: bytes) -> bool:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def packet(ttl: int = 64, protocol: int = 17, body: bytes = bytes(20), source: str = "10.5.1.2") -> bytearray:
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(body), 7, 0, ttl, protocol, 0),
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address("10.5.2.2").packed,
    )
    total = sum(struct.unpack("!10H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return bytearray(header[:10] + (~total & 0xFFFF).to_bytes(2, "big") + header[12:] + body)


@given(st.integers(2, 255), st.integers(0, 255), st.integers(1, 0xFFFFFF))
def test_a_packet_that_is_a_hop_older_is_still_whole(ttl: int, protocol: int, source: int) -> None:
    made = packet(ttl, protocol, source=str(ipaddress.IPv4Address(0x0A000000 | source)))
    assert checksum_holds(made[:20])
    assert older(made) and made[8] == ttl - 1
    assert checksum_holds(made[:20])


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_packet_with_no_hop_left_goes_no_further(ttl: int) -> None:
    made = packet(ttl)
    before = bytes(made)
    assert not older(made) and made == before


def test_the_sender_is_told_and_never_about_a_message_like_that() -> None:
    made = packet(body=bytes(range(40)))
    message = refusal(bytes(made), 3)
    assert message is not None and checksum_holds(message[:20]) and checksum_holds(message[20:])
    assert (message[9], message[12:16], message[16:20]) == (1, bytes([10, 5, 2, 2]), bytes([10, 5, 1, 2]))
    assert (message[20], message[21], message[28:]) == (3, 0, bytes(made[:28]))
    echo, unreachable = packet(protocol=1, body=bytes([8, *bytes(7)])), packet(protocol=1, body=bytes([3, *bytes(7)]))
    assert refusal(bytes(echo), 11) is not None and refusal(bytes(unreachable), 11) is None
    fragment = packet()
    fragment[7] = 5
    assert refusal(bytes(fragment), 3) is None
    assert refusal(bytes(packet(source="224.0.0.1")), 3) is None


def test_the_host_with_the_longest_subnet_gets_it() -> None:
    routes = Routes()
    routes.set([["10.5.0.0/20", "192.0.2.1"], ["10.5.2.0/24", "192.0.2.2"]])
    assert routes.find(int(ipaddress.IPv4Address("10.5.2.9"))) == "192.0.2.2"
    assert routes.find(int(ipaddress.IPv4Address("10.5.3.9"))) == "192.0.2.1"
    assert routes.find(int(ipaddress.IPv4Address("10.6.3.9"))) is None
    routes.set([])
    assert routes.find(int(ipaddress.IPv4Address("10.5.2.9"))) is None
