"""What `linkspan pipework` asks for, parsed."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import re

from linkspan.errors import InvalidArgument
from linkspan.ipam.names import parse_mac
from linkspan.model.plug import Dhcp

CLIENTS = ("udhcpc", "dhclient", "dhcpcd")
_NAME = re.compile(r"[^\s/:]{1,15}", re.ASCII)
_PARTITION = re.compile(r"[0-9a-fA-F]{1,4}", re.ASCII)
_FAMILIES = {"": 0, "4": 4, "inet": 4, "6": 6, "inet6": 6}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlugRequest:
    """`host_interface` is a name, or `mac` finds a network card by its address. `address` is with prefix length."""

    host_interface: str = ""
    host_mac: str = ""
    interface: str = ""  # "" is the usual name
    host_end: str = ""  # of a veth pair; "" is a name of our own
    address: str = ""
    gateway: str = ""
    mac: str = ""
    vlan: str = ""
    direct: bool = False
    switch: bool = False  # the host's interface is to be a bridge of Open vSwitch's, and is made as one
    mtu: int = 0  # 0 is that of what it stands on
    dhcp: Dhcp | None = None


def parse_plug(
    *,
    host_interface: str,
    interface: str = "",
    host_end: str = "",
    family: str = "",
    address: str = "",
    gateway: str = "",
    mac: str = "",
    vlan: str = "",
    direct: bool = False,
    switch: bool = False,
    mtu: int = 0,
    dhcp: Dhcp | None = None,
) -> PlugRequest:
    """`host_interface` may be mac:<address>, `mac` U:<any string>; a port of a switch may do without an address.

    Raises InvalidArgument naming what is wrong.
    """
    host_mac = ""
    if host_interface.startswith("mac:"):
        host_interface, host_mac = "", parse_mac(host_interface.removeprefix("mac:"))
    else:
        check_interface("host interface", host_interface)
    for what, name in (("container interface", interface), ("local interface", host_end)):
        if name:
            check_interface(what, name)
    if family not in _FAMILIES:
        raise InvalidArgument(f"unknown address family {family!r}: use 4 or 6")
    if dhcp:
        if dhcp.client not in ("", *CLIENTS):
            raise InvalidArgument(f"unknown DHCP client {dhcp.client!r}: use {', '.join(CLIENTS)}")
        if address or gateway or _FAMILIES[family] == 6:
            raise InvalidArgument("DHCP gives an IPv4 address and gateway: name no other")
    elif not address and (gateway or not switch):
        raise InvalidArgument("an address with its prefix length is needed, or dhcp")
    elif address:
        address, gateway = _parse_addresses(address, gateway, _FAMILIES[family])
    if mtu and not 68 <= mtu <= 65535:
        raise InvalidArgument(f"invalid MTU {mtu}: use 68 to 65535")
    if vlan and not (_PARTITION.fullmatch(vlan)):
        raise InvalidArgument(f"invalid VLAN {vlan!r}: use 1 to 4094, or a partition key of InfiniBand")
    return PlugRequest(
        host_interface=host_interface,
        host_mac=host_mac,
        interface=interface,
        host_end=host_end,
        address=address,
        gateway=gateway,
        mac=_parse_mac(mac),
        vlan=vlan.lower(),
        direct=direct,
        switch=switch,
        mtu=mtu,
        dhcp=dhcp,
    )


def parse_vlan(text: str) -> int:
    """The number of an 802.1Q VLAN. Raises InvalidArgument."""
    if not text.isdecimal() or not 1 <= int(text) <= 4094:
        raise InvalidArgument(f"invalid VLAN {text!r}: use 1 to 4094")
    return int(text)


def check_interface(what: str, name: str) -> None:
    """Raises InvalidArgument where Linux has no such names."""
    if not _NAME.fullmatch(name) or name in (".", "..", "all", "default", "lo"):
        raise InvalidArgument(f"invalid {what} {name[:40]!r}: at most 15 characters, without spaces, / and :, not lo")


def _parse_addresses(address: str, gateway: str, family: int) -> tuple[str, str]:
    if "/" not in address:
        guess = f"{address}/{64 if ':' in address else 24}"
        raise InvalidArgument(f"{address} has no prefix length: perhaps {guess} is meant")
    try:
        own = ipaddress.ip_interface(address)
    except ValueError:
        raise InvalidArgument(f"invalid address {address!r}: use one like 10.1.1.2/24") from None
    if own.ip.is_unspecified or own.ip.is_multicast:
        raise InvalidArgument(f"invalid address {address!r}: no interface can have it")
    if family and own.version != family:
        raise InvalidArgument(f"{address} is of IPv{own.version}, and -a asks for IPv{family}")
    if not gateway:
        return str(own), ""
    try:
        way = ipaddress.ip_address(gateway)
    except ValueError:
        raise InvalidArgument(f"invalid gateway {gateway!r}") from None
    if way.version != own.version or way == own.ip or way.is_unspecified or way.is_multicast:
        raise InvalidArgument(f"invalid gateway {gateway!r} for {address}")
    return str(own), str(way)


def _parse_mac(text: str) -> str:
    """U:<string> is the address that pipework makes of the string: the first bytes of its line's MD5 sum."""
    if text.startswith("U:"):
        digest = hashlib.md5(text.removeprefix("U:").encode() + b"\n", usedforsecurity=False).digest()
        return "02:" + digest[:5].hex(":")
    return parse_mac(text) if text else ""
