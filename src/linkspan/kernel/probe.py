"""Asking a wire who has an address: ARP probes (RFC 5227) and neighbour solicitations (RFC 4862), and what is answered.

A probe gives no address of its own, so that nobody learns anything from it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterator

from linkspan.kernel.announce import checksum

_ARP, _IPV6 = 0x0806, 0x86DD
_ETH_ALL = 3
_BROADCAST = b"\xff" * 6
_REQUEST = 1
_SOLICITATION, _ADVERTISEMENT, _ICMP6 = 135, 136, 58
_OUTGOING = 4
_TARGET_LINK_ADDRESS = 2
_ARP_BODY = struct.Struct("!HHBBH6s4s6s4s")
_SO_ATTACH_FILTER = 26
# Classic BPF: what is neither ARP nor a solicitation or advertisement stays outside.
_FILTER = b"".join(
    struct.pack("=HBBI", *line)
    for line in (
        (0x28, 0, 0, 12),  # ether type
        (0x15, 6, 0, _ARP),
        (0x15, 0, 4, _IPV6),
        (0x30, 0, 0, 20),  # next header
        (0x15, 0, 2, _ICMP6),
        (0x30, 0, 0, 54),  # type
        (0x15, 1, 0, _SOLICITATION),
        (0x15, 0, 1, _ADVERTISEMENT),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
)


def question(address: str, mac: bytes, source: str = "") -> bytes:
    """The ethernet frame that asks who has `address`. `source` is an IPv4 address to be answered at; "" is none."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 6:
        return _solicitation(parsed.packed, mac)
    asking = socket.inet_aton(source or "0.0.0.0")
    body = _ARP_BODY.pack(1, 0x0800, 6, 4, _REQUEST, mac, asking, bytes(6), parsed.packed)
    return _BROADCAST + mac + _ARP.to_bytes(2, "big") + body


def claim(frame: bytes) -> tuple[str, str] | None:
    """The address that the sender of a frame has, or is about to take, and the MAC that it has it at."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _ARP and len(frame) >= 14 + _ARP_BODY.size:
        _, protocol, _, _, operation, mac, sender, _, target = _ARP_BODY.unpack_from(frame, 14)
        if protocol != 0x0800:
            return None
        if sender != bytes(4):
            return socket.inet_ntoa(sender), mac.hex(":")
        return (socket.inet_ntoa(target), mac.hex(":")) if operation == _REQUEST else None
    if kind == _IPV6 and len(frame) >= 78 and frame[20] == _ICMP6:
        target = socket.inet_ntop(socket.AF_INET6, frame[62:78])
        if frame[54] == _ADVERTISEMENT:
            return target, _link_address(frame) or frame[6:12].hex(":")
        if frame[54] == _SOLICITATION and frame[22:38] == bytes(16):
            return target, frame[6:12].hex(":")
    return None


class Wire:
    """One interface of the calling thread's namespace, for questions and for what is claimed there. OSError."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        try:
            kept = ctypes.create_string_buffer(_FILTER, len(_FILTER))
            program = struct.pack("HP", len(_FILTER) // 8, ctypes.addressof(kept))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            self._socket.bind((interface, _ETH_ALL))
            self.mac: bytes = self._socket.getsockname()[4]
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, address: str, source: str = "") -> None:
        self._socket.send(question(address, self.mac, source))

    def claims(self) -> Iterator[tuple[str, str]]:
        """Addresses and the MACs that claim them, as far as they have been heard; never our own."""
        while True:
            try:
                frame, place = self._socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError:
                return  # the interface went down; it may come back
            found = claim(frame) if place[2] != _OUTGOING else None
            if found and found[1] != self.mac.hex(":"):
                yield found


def answers(interface: str, address: str, source: str, seconds: float) -> bool:
    """Whether somebody on an interface's wire has an address. Asks until then, in vain for as long as said. OSError."""
    wire = Wire(interface)
    try:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            wire.ask(address, source)
            if select.select([wire], [], [], min(left, 0.1))[0] and any(a == address for a, _ in wire.claims()):
                return True
        return False
    finally:
        wire.close()


def _solicitation(address: bytes, mac: bytes) -> bytes:
    group = bytes.fromhex("ff0200000000000000000001ff") + address[-3:]
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address
    pseudo = bytes(16) + group + struct.pack("!II", len(body), _ICMP6)
    body = body[:2] + checksum(pseudo + body) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMP6, 255) + bytes(16) + group
    return b"\x33\x33" + group[-4:] + mac + _IPV6.to_bytes(2, "big") + header + body


def _link_address(frame: bytes) -> str:
    options = frame[78:]
    while len(options) >= 8 and options[1]:
        if options[0] == _TARGET_LINK_ADDRESS:
            return options[2:8].hex(":")
        options = options[options[1] * 8 :]
    return ""
