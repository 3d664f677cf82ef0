"""Gratuitous ARP (RFC 826, RFC 5227) and unsolicited neighbour advertisements (RFC 4861) as frames."""

from __future__ import annotations

import ipaddress
import socket
import struct

_ARP, _IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_REQUEST = 1  # as the kernel's own announcements: some take no unsolicited reply
_ALL_NODES = ipaddress.IPv6Address("ff02::1").packed
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000
_TARGET_LINK_ADDRESS = 2


def frame(address: str, mac: bytes) -> bytes:
    """The ethernet frame that tells everybody that `address` is at `mac`."""
    parsed = ipaddress.ip_address(address)
    return _neighbour_advertisement(parsed.packed, mac) if parsed.version == 6 else _arp(parsed.packed, mac)


def send(interface: str, addresses: tuple[str, ...]) -> None:
    """From an interface of the calling thread's namespace, with its own MAC address. OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sending:
        sending.bind((interface, 0))
        mac: bytes = sending.getsockname()[4]
        for address in addresses:
            sending.send(frame(address, mac))


def _arp(address: bytes, mac: bytes) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + mac + address + bytes(6) + address
    return _BROADCAST + mac + _ARP.to_bytes(2, "big") + body


def _neighbour_advertisement(address: bytes, mac: bytes) -> bytes:
    option = bytes((_TARGET_LINK_ADDRESS, 1)) + mac
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address + option
    pseudo = address + _ALL_NODES + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + checksum(pseudo + body) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + address + _ALL_NODES
    return _ALL_NODES_MAC + mac + _IPV6.to_bytes(2, "big") + header + body


def checksum(data: bytes) -> bytes:
    total = sum(int(word) for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
