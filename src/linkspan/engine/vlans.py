"""VLANs of ports on a switch: of a network's, and of one endpoint's."""

from __future__ import annotations

from collections.abc import Mapping

from linkspan.errors import InvalidArgument
from linkspan.model.network import Network

VLAN = "vlan"  # the option of a network, and of an endpoint
SWITCHED = "ovs"  # the driver that has them


def parse_vlan(text: str) -> int:
    """A number as a user gave it; "" and 0 are none. Raises InvalidArgument."""
    if text and not (text.isascii() and text.isdecimal() and int(text) <= 4094):
        raise InvalidArgument(f"invalid value for {VLAN}: {text!r}: use 1 to 4094, or 0 for none")
    return int(text or 0)


def asked_vlan(options: Mapping[str, str] | None, network: Network) -> int:
    """Of an endpoint with these options: its own, or its network's. Raises InvalidArgument."""
    if network.driver != SWITCHED:
        return 0
    text = (options or {}).get(VLAN, "")
    return parse_vlan(text) if text else network.vlan
