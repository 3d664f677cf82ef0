"""Names in the kernel that follow from what they name, so that nothing has to remember them."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable

from linkspan.errors import InvalidArgument


def mac_address(address: str, taken: Callable[[str], bool] = lambda mac: False) -> str:
    """02:42 and the IPv4 address: an address used again keeps its MAC, so that no neighbour's ARP cache is stale.

    Of an IPv6 address, four bytes of its hash. Where that is `taken`, the next one that is as good: 06:42, 0a:42 … are
    local addresses too.
    """
    packed = ipaddress.ip_address(address).packed
    rest = ":42:" + (packed if len(packed) == 4 else hashlib.sha256(packed).digest()[:4]).hex(":")
    return next(mac for first in range(0x02, 0x100, 4) if not taken(mac := f"{first:02x}{rest}"))


def parse_mac(text: str) -> str:
    """A MAC address as a user gave it, in lower case with colons. Raises InvalidArgument."""
    parts = text.replace("-", ":").lower().split(":")
    try:
        octets = [int(part, 16) for part in parts if len(part) <= 2]
    except ValueError:
        octets = []
    if len(octets) != 6 or len(parts) != 6:
        raise InvalidArgument(f"invalid MAC address: {text}")
    if octets[0] & 1:
        raise InvalidArgument(f"invalid MAC address: {text} is a multicast address")
    return ":".join(f"{octet:02x}" for octet in octets)


def veth_name(endpoint_id: str) -> str:
    """The host's end of an endpoint's veth pair: as long as Linux allows, so that a thousand of them do not collide."""
    return f"veth{endpoint_id[:11]}"


def bridge_name(network_id: str) -> str:
    """A user-defined network's bridge, in Docker's form: br- and twelve digits (15 characters is Linux's limit)."""
    return f"br-{network_id[:12]}"
