"""flannel's configuration and leases, byte for byte as flanneld 0.18 and later keeps them in etcd.

`<prefix>/config` is JSON with Go's field names. `<prefix>/subnets/10.5.52.0-24` is a lease: whose the subnet is, and
how that host is reached. With IPv6 the key goes on: `10.5.52.0-24&fd00:5:52::-64`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

from linkspan.errors import InvalidArgument

PREFIX = "/coreos.com/network"
TTL = 86400  # seconds that a lease holds
BACKENDS = ("vxlan", "host-gw", "udp", "alloc")
UDP_PORT = 8285
VXLAN_PORT = 8472  # the kernel's own default, not the one that IANA gave later
_ELSEWHERE = ("wireguard", "ipip", "ipsec", "extension", "ali-vpc", "aws-vpc", "gce", "tencent-vpc")
_KEY = re.compile(r"(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&([a-f\d:]+)-(\d+))?")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """How packets get from host to host. `port` is 0 where the configuration names none; so is `mtu`."""

    type: str = "udp"
    vni: int = 1
    port: int = 0
    learning: bool = False
    gbp: bool = False
    direct_routing: bool = False
    mtu: int = 0  # of the packets that go out; 0 is the interface's

    @property
    def udp_port(self) -> int:
        """Where the other hosts listen: the same on all of them."""
        return self.port or (VXLAN_PORT if self.type == "vxlan" else UDP_PORT)

    def inner_mtu(self, underlay: int, *, ipv6: bool = False) -> int:
        """What is left for the containers' packets on an interface with the mtu `underlay`."""
        outer = min(self.mtu, underlay) if self.mtu and self.type == "vxlan" else underlay
        if self.type == "vxlan":
            return outer - (70 if ipv6 else 50)
        return outer - 28 if self.type == "udp" else outer


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The network of one IP version, and its part from which hosts get a subnet of `length` each."""

    network: str  # 10.5.0.0/16
    length: int
    first: str  # 10.5.1.0: of the first subnet
    last: str

    def fits(self, subnet: str) -> bool:
        """Whether a host may have this subnet."""
        found = ipaddress.ip_network(subnet)
        low, high = ipaddress.ip_address(self.first), ipaddress.ip_address(self.last)
        return found.prefixlen == self.length and int(low) <= int(found.network_address) <= int(high)


@dataclasses.dataclass(frozen=True, slots=True)
class FlannelConfig:
    v4: Range
    v6: Range | None = None
    backend: Backend = dataclasses.field(default_factory=Backend)
    text: str = ""  # as it is in etcd


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """A host's subnet. `reserved` is one whose key has no time limit: it is kept for whoever has its public address."""

    subnet: str  # 10.5.52.0/24
    public_ip: str
    subnet6: str = ""
    public_ip6: str = ""
    backend: str = ""  # "" is udp's, and alloc's
    vni: int = 0
    vtep: str = ""  # MAC address of the host's vxlan device
    vtep6: str = ""
    reserved: bool = False

    @property
    def gateway(self) -> str:
        """The first address of a host's subnet: its bridge has it."""
        return first_address(self.subnet)

    @property
    def gateway6(self) -> str:
        return first_address(self.subnet6) if self.subnet6 else ""


def first_address(subnet: str) -> str:
    return str(ipaddress.ip_network(subnet)[1])


def base_address(subnet: str) -> str:
    """The subnet's own address, which flannel gives to a host's tunnel."""
    return str(ipaddress.ip_network(subnet).network_address)


# --- configuration


def parse_config(text: str) -> FlannelConfig:
    """Raises InvalidArgument that says what is wrong with it."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"flannel config: it is not JSON ({error}): {text[:200]!r}") from None
    if not isinstance(found, dict):
        raise InvalidArgument(f"flannel config: it is no JSON object: {text[:200]!r}")
    values = {name.lower(): value for name, value in found.items()}  # as Go reads names
    if not _flag(values, "EnableIPv4", default=True):
        raise InvalidArgument("flannel config: EnableIPv4 is false: a network of IPv6 alone is not supported")
    v6 = _range(values, 6) if _flag(values, "EnableIPv6", default=False) else None
    return FlannelConfig(_range(values, 4), v6, _backend(values.get("backend")), text)


def _range(values: Mapping[str, Any], version: int) -> Range:
    mark, longest, usual = ("IPv6", 126, 64) if version == 6 else ("", 30, 24)
    name = f"{mark}Network"
    try:
        network = ipaddress.ip_network(_text(values, name), strict=False)
    except ValueError:
        network = None
    if network is None or network.version != version:
        raise InvalidArgument(f"flannel config: please define a correct {name}: {values.get(name.lower())!r}")
    length = _number(values, f"{mark}SubnetLen", 0)
    if length:
        if length > longest:
            raise InvalidArgument(f"flannel config: {mark}SubnetLen must be less than /{longest + 1}")
        if length < network.prefixlen + 2:
            raise InvalidArgument(f"flannel config: {name} must be able to accommodate at least four subnets")
    elif network.prefixlen > longest - 2:
        raise InvalidArgument(f"flannel config: {name} is too small: /{longest - 2} at least")
    else:
        length = usual if network.prefixlen <= usual - 2 else network.prefixlen + 2
    size = 1 << (network.max_prefixlen - length)
    # The first subnet is left out: its own address is the network's.
    first = _bound(values, f"{mark}SubnetMin", network, size, int(network.network_address) + size)
    last = _bound(values, f"{mark}SubnetMax", network, size, int(network.broadcast_address) + 1 - size)
    if int(first) > int(last):
        raise InvalidArgument(f"flannel config: {mark}SubnetMin {first} is behind {mark}SubnetMax {last}")
    return Range(str(network), length, str(first), str(last))


def _bound(
    values: Mapping[str, Any],
    name: str,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    size: int,
    default: int,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    make = ipaddress.IPv6Address if network.version == 6 else ipaddress.IPv4Address
    try:
        found = make(_text(values, name) or default)
    except ValueError:
        raise InvalidArgument(f"flannel config: {name} is no address: {values.get(name.lower())!r}") from None
    if int(found) == 0:
        found = make(default)
    if found not in network:
        raise InvalidArgument(f"flannel config: {name} is not in the range of the Network")
    if int(found) % size:
        raise InvalidArgument(f"flannel config: {name} is not on a SubnetLen boundary: {found}")
    return found


def _backend(value: object) -> Backend:
    if value is None:
        return Backend()  # flanneld's documents say vxlan, its code takes udp
    if not isinstance(value, dict):
        raise InvalidArgument("flannel config: Backend is no JSON object")
    values = {name.lower(): item for name, item in value.items()}
    kind = _text(values, "Type").lower()
    if kind in _ELSEWHERE:
        raise InvalidArgument(f"flannel config: backend {kind} is not supported here: {', '.join(BACKENDS)} are")
    if kind not in BACKENDS:
        raise InvalidArgument(f"flannel config: unknown backend type: {kind}")
    vni, port = _number(values, "VNI", 1), _number(values, "Port", 0)
    # The lease names it in 16 bits: a larger one would be another network's on the other hosts.
    if not 0 < vni < 1 << 16:
        raise InvalidArgument(f"flannel config: VNI {vni}: 1 to 65535")
    if not 0 <= port < 1 << 16:
        raise InvalidArgument(f"flannel config: Port {port}: 1 to 65535")
    learning, gbp, direct = (_flag(values, name, default=False) for name in ("Learning", "GBP", "DirectRouting"))
    return Backend(kind, vni, port, learning, gbp, direct, _number(values, "MTU", 0))


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name.lower())
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(f"flannel config: {name} is no text: {value!r}")
    return value or ""


def _number(values: Mapping[str, Any], name: str, default: int) -> int:
    value = values.get(name.lower(), default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidArgument(f"flannel config: {name} is no number: {value!r}")
    return value


def _flag(values: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = values.get(name.lower(), default)
    if not isinstance(value, bool):
        raise InvalidArgument(f"flannel config: {name} is neither true nor false: {value!r}")
    return value


# --- leases


def lease_key(lease: Lease) -> str:
    """The last part of its key."""
    return "&".join(subnet.replace("/", "-") for subnet in (lease.subnet, lease.subnet6) if subnet)


def lease_value(lease: Lease) -> bytes:
    """What flanneld would write: no space, names in this order, and without what the backend does not have."""
    value: dict[str, Any] = {"PublicIP": lease.public_ip, "PublicIPv6": lease.public_ip6 or None}
    if lease.backend:
        value["BackendType"] = lease.backend
    for name, mac in (("BackendData", lease.vtep), ("BackendV6Data", lease.vtep6)):
        if mac:
            value[name] = {"VNI": lease.vni, "VtepMAC": mac}
    return json.dumps(value, separators=(",", ":")).encode()


def parse_lease(key: str, value: bytes, *, reserved: bool = False) -> Lease:
    """`key` is its last part. Raises InvalidArgument, which names the key: flanneld passes over such a lease, too."""
    subnets = _subnets(key)
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument(f"flannel lease {key}: it is no JSON object: {value[:200]!r}")
    values = {name.lower(): item for name, item in found.items()}
    try:
        public = str(ipaddress.IPv4Address(_string(values.get("publicip"))))
        public6 = values.get("publicipv6")
        public6 = str(ipaddress.IPv6Address(_string(public6))) if public6 is not None else ""
        backend = _string(values.get("backendtype", ""))
    except ValueError:
        raise InvalidArgument(f"flannel lease {key}: no public address in it: {value[:200]!r}") from None
    data, data6 = (_data(key, values.get(name)) for name in ("backenddata", "backendv6data"))
    if backend == "vxlan" and not data[1]:
        raise InvalidArgument(f"flannel lease {key}: it does not say how to reach {public}: {value[:200]!r}")
    vni = data[0] or data6[0]
    return Lease(subnets[0], public, subnets[1], public6, backend, vni, data[1], data6[1], reserved)


def _string(value: object) -> str:
    """A number would be an address, too."""
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _subnets(key: str) -> tuple[str, str]:
    match = _KEY.fullmatch(key)
    try:
        if match is None:
            raise ValueError
        four = ipaddress.IPv4Network(f"{match[1]}/{match[2]}")
        six = str(ipaddress.IPv6Network(f"{match[3]}/{match[4]}")) if match[3] else ""
    except ValueError:
        raise InvalidArgument(f"flannel lease {key}: its key is no subnet") from None
    return str(four), six


def _data(key: str, value: object) -> tuple[int, str]:
    """VNI and MAC address of a vxlan lease; (0, "") where there are none."""
    if not isinstance(value, dict):
        return 0, ""
    values = {name.lower(): item for name, item in value.items()}
    vni, mac = values.get("vni", 0), values.get("vtepmac", "")
    if isinstance(vni, bool) or not isinstance(vni, int) or not isinstance(mac, str):
        raise InvalidArgument(f"flannel lease {key}: its backend data is not vxlan's: {value!r}")
    mac = mac.lower()
    if mac and not _MAC.fullmatch(mac):
        raise InvalidArgument(f"flannel lease {key}: {mac!r} is no MAC address")
    return vni, mac


# --- subnet.env


def subnet_file(config: FlannelConfig, lease: Lease, mtu: int, *, masquerade: bool) -> str:
    """What a host's Docker is configured from."""
    lines = [f"FLANNEL_NETWORK={config.v4.network}", f"FLANNEL_SUBNET={_own(lease.subnet)}"]
    if config.v6 and lease.subnet6:
        lines += [f"FLANNEL_IPV6_NETWORK={config.v6.network}", f"FLANNEL_IPV6_SUBNET={_own(lease.subnet6)}"]
    lines += [f"FLANNEL_MTU={mtu}", f"FLANNEL_IPMASQ={'true' if masquerade else 'false'}"]
    return "\n".join([*lines, ""])


def previous_subnets(text: str) -> tuple[str, str]:
    """The subnets that a subnet.env names, "" where it does not."""
    found = {"FLANNEL_SUBNET": "", "FLANNEL_IPV6_SUBNET": ""}
    for name, _, value in (line.strip().partition("=") for line in text.splitlines()):
        if name in found:
            try:
                found[name] = str(ipaddress.ip_network(value.strip("\"'"), strict=False))
            except ValueError:
                continue
    return found["FLANNEL_SUBNET"], found["FLANNEL_IPV6_SUBNET"]


def _own(subnet: str) -> str:
    return f"{first_address(subnet)}/{subnet.partition('/')[2]}"
