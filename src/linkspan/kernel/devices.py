"""What only some kinds of link have, as netlink attributes and as ours: modes of macvlan and ipvlan, a VLAN's number,
IPoIB's partition key, a tunnel's ends.

Formats: linux/if_link.h.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from linkspan.errors import InvalidArgument
from linkspan.kernel.netlink import attribute, attributes, number, u8, u16, u32
from linkspan.state.objects import Vxlan

# The kinds, and what a kernel without them lacks.
FEATURES = {
    "macvlan": "macvlan links (module macvlan)",
    "ipvlan": "ipvlan links (module ipvlan)",
    "vlan": "802.1Q VLAN links (module 8021q)",
    "ipoib": "IP over InfiniBand (module ib_ipoib)",
    "dummy": "dummy links (module dummy)",
    "ipip": "IP-in-IP links (module ipip)",
    "wireguard": "WireGuard (module wireguard)",
    "tun": "TUN devices (module tun)",
}

_MACVLAN = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"": 0, "bridge": 0, "private": 1, "vepa": 2}
_MODE, _FLAGS = 1, 2  # of macvlan and ipvlan alike
_VLAN_ID = 1
_PKEY = 1
# IFLA_IPTUN_…
_TUNNEL_LOCAL, _TUNNEL_TTL, _TUNNEL_PROTOCOL, _TUNNEL_PMTU = 2, 4, 9, 10
_TTL, _IPIP, _NONE_SUCH = 64, 4, 255
# IFLA_VXLAN_…
_VNI, _LINK, _LOCAL, _LEARNING, _PORT, _LOCAL6, _CHECKSUM = 1, 3, 4, 7, 15, 17, 18


def device_data(kind: str, mode: str) -> bytes:
    """The attributes of IFLA_INFO_DATA. Raises InvalidArgument for a mode that this kind of link does not have."""
    try:
        match kind:
            case "macvlan":
                return u32(_MODE, _MACVLAN[mode])
            case "ipvlan":
                mode, _, flag = mode.partition(".")
                return u16(_MODE, _IPVLAN[mode]) + u16(_FLAGS, _IPVLAN_FLAGS[flag])
            case "vlan":
                return u16(_VLAN_ID, int(mode))
            case "ipoib" if mode:
                return u16(_PKEY, int(mode, 16))
            case "ipip":
                local = attribute(_TUNNEL_LOCAL, ipaddress.IPv4Address(mode).packed)
                return local + u8(_TUNNEL_TTL, _TTL) + u8(_TUNNEL_PROTOCOL, _IPIP) + u8(_TUNNEL_PMTU, 1)
    except (KeyError, ValueError, OverflowError):
        raise InvalidArgument(f"a {kind} link has no mode {mode!r}") from None
    return b""


def device_mode(kind: str, data: bytes) -> str:
    """The mode in IFLA_INFO_DATA, as `state/objects.py` writes it; "" for a kind without, or an unknown mode."""
    raw = attributes(data)
    found = {name: number(value) for name, value in raw.items() if len(value) in (2, 4)}
    match kind:
        case "macvlan":
            return _name(_MACVLAN, found.get(_MODE, 0))
        case "ipvlan":
            flag = _name(_IPVLAN_FLAGS, found.get(_FLAGS, 0))
            return _name(_IPVLAN, found.get(_MODE, 0)) + (f".{flag}" if flag else "")
        case "vlan":
            return str(found.get(_VLAN_ID, ""))
        case "ipoib" if _PKEY in found:
            return f"{found[_PKEY]:04x}"
        case "ipip" if _TUNNEL_LOCAL in raw:
            return str(ipaddress.ip_address(raw[_TUNNEL_LOCAL]))
    return ""


def ipip_refused() -> bytes:
    """Attributes of IFLA_INFO_DATA that a kernel which has IP-in-IP links refuses as wrong, before it makes one."""
    return u8(_TUNNEL_PROTOCOL, _NONE_SUCH)


def vxlan_data(vxlan: Vxlan, link: int) -> bytes:
    """The attributes of IFLA_INFO_DATA; `link` is the index of its link, 0 where it has none."""
    local = ipaddress.ip_address(vxlan.local)
    return (
        u32(_VNI, vxlan.vni)
        + (u32(_LINK, link) if link else b"")
        + attribute(_LOCAL6 if local.version == 6 else _LOCAL, local.packed)
        + u8(_LEARNING, False)
        + attribute(_PORT, vxlan.port.to_bytes(2, "big"))
        + u8(_CHECKSUM, vxlan.checksum)
    )


def vxlan_ends(data: bytes) -> tuple[int, str, int, bool, int] | None:
    """Number, local address, port, whether there are checksums, and its link's index, from IFLA_INFO_DATA; None for one
    that learns."""
    found: Mapping[int, bytes] = attributes(data)
    local = found.get(_LOCAL6) or found.get(_LOCAL)
    if found.get(_LEARNING) != b"\0" or not local:
        return None
    port = int.from_bytes(found.get(_PORT, b""), "big")
    checksum, link = found.get(_CHECKSUM) == b"\1", number(found.get(_LINK, b""))
    return number(found.get(_VNI, b"")), str(ipaddress.ip_address(local)), port, checksum, link


def _name(names: dict[str, int], value: int) -> str:
    return next((name for name, number_ in names.items() if number_ == value), "")
