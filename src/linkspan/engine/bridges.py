"""The bridge driver's networks: what their options mean, and the default one as dockerd's flags want it."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from linkspan.engine.attachment import IFACE_PREFIX
from linkspan.engine.subnets import free_subnet, uses
from linkspan.errors import InvalidArgument
from linkspan.ipam.addresses import default_gateway
from linkspan.ipam.names import bridge_name
from linkspan.ipam.pools import PoolSource, check_overlap
from linkspan.model.network import DEFAULT_GATEWAY, DEFAULT_GATEWAY6, GATEWAY_MODES, LEAST_MTU6, Network, Pool
from linkspan.model.port import parse_address
from linkspan.state.host import HostFacts

_BRIDGE = "com.docker.network.bridge."
_ANY = "com.docker.network."
MTU = _ANY + "driver.mtu"
INTERNAL = _ANY + "internal"
OPTIONS = {
    *(
        _BRIDGE + name
        for name in (
            "name",
            "enable_ip_masquerade",
            "enable_icc",
            "gateway_mode_ipv4",
            "gateway_mode_ipv6",
            "inhibit_ipv4",
            "host_binding_ipv4",
            "default_bridge",
            "trusted_host_interfaces",
        )
    ),
    *(_ANY + name for name in ("host_ipv4", "host_ipv6", "enable_ipv4", "enable_ipv6", "internal")),
    IFACE_PREFIX,
    MTU,
}


# What of it cannot change while the network is there, and why.
FIXED = {
    _BRIDGE + "name": "the containers' interfaces stand on that bridge",
    _BRIDGE + "default_bridge": "there is one default bridge, and it is made at start",
    IFACE_PREFIX: "interfaces that are there keep their names",
    _ANY + "enable_ipv4": "it follows from the subnets: add or remove one",
    _ANY + "enable_ipv6": "it follows from the subnets: add or remove one",
    INTERNAL: "it was asked for at creation only: use internal",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DefaultBridge:
    """dockerd's flags for the network named bridge. `adopted` is the subnet of a bridge that was there (`-b br0`)."""

    name: str = "docker0"
    disabled: bool = False  # -b none
    bip: str = ""  # 172.17.0.1/16
    fixed_cidr: str = ""
    default_gateway: str = ""
    ipv6: bool = False
    bip6: str = ""  # fd00:17::1/64
    fixed_cidr6: str = ""
    default_gateway6: str = ""
    icc: bool = True
    masquerade: bool = True
    mtu: int = 1500
    binding_address: str = "0.0.0.0"
    adopted: str = ""  # 10.211.55.1/24: the bridge is the administrator's, so is its address
    adopted6: str = ""


def enabled(options: Mapping[str, str], version: int, *, asked: bool) -> bool:
    """Whether a network has addresses of a version: the option says so where it is there, else what was `asked`."""
    return flag(options, f"{_ANY}enable_ipv{version}", default=asked)


def with_options(network: Network) -> Network:
    """The network with what its options say. Raises InvalidArgument naming the option."""
    options = network.options
    bridge = options.get(_BRIDGE + "name") or bridge_name(network.id)
    if len(bridge) > 15 or "/" in bridge or bridge in (".", "..") or any(map(str.isspace, bridge)):
        raise InvalidArgument(f"invalid bridge name {bridge!r}: Linux takes 15 characters at most, no / and no space")
    modes = [_mode(options.get(f"{_BRIDGE}gateway_mode_ipv{version}", "")) for version in (4, 6)]
    if "isolated" in modes and not network.internal:
        raise InvalidArgument("gateway mode 'isolated' can only be used for an internal network")
    mtu = parse_mtu(options.get(MTU, "1500"))
    if network.ipv6 and mtu < LEAST_MTU6:
        raise InvalidArgument(f"invalid value for {MTU}: {mtu}: IPv6 needs {LEAST_MTU6} at least")
    trusted = options.get(_BRIDGE + "trusted_host_interfaces", "")
    return msgspec.structs.replace(
        network,
        bridge=bridge,
        masquerade=flag(options, _BRIDGE + "enable_ip_masquerade", default=True),
        icc=flag(options, _BRIDGE + "enable_icc", default=True),
        mtu=mtu,
        binding_address=parse_address(options.get(_BRIDGE + "host_binding_ipv4", "")) or "0.0.0.0",
        gateway_mode=modes[0],
        gateway_mode6=modes[1],
        inhibit_ipv4=flag(options, _BRIDGE + "inhibit_ipv4", default=False),
        trusted_interfaces=tuple(dict.fromkeys(filter(None, trusted.split(":")))),
        host_ipv4=_source(options, 4),
        host_ipv6=_source(options, 6),
    )


def without_gateway(network: Network) -> tuple[int, ...]:
    """The IP versions for which no address is set aside for a gateway, as nobody would use it."""
    if network.strict_blocks:
        return (4, 6)  # each host has one of its own
    if network.driver not in ("bridge", "overlay", "weave"):
        # What leads nowhere needs no gateway, nor does what needs nobody to lead it; a segment has its own.
        return (4, 6) if network.internal or network.direct or network.path else ()
    four = network.gateway_mode == "isolated" or (network.inhibit_ipv4 and network.internal)
    return tuple(v for v, is_so in ((4, four), (6, network.gateway_mode6 == "isolated")) if is_so)


def default_bridge_network(
    flags: DefaultBridge,
    old: Network | None,
    others: Iterable[Network],
    sources: Sequence[PoolSource],
    host: HostFacts,
    fresh_id: str,
    created: str,
) -> Network:
    """The network named bridge. One that has chosen its subnets keeps them. Raises InvalidArgument, Forbidden."""
    others = tuple(others)
    taken = [pool.subnet for network in others for pool in network.pools]
    kept = {pool.version: pool.subnet for pool in (old.pools if old and old.managed else ())}
    given = {4: flags.adopted or flags.bip}
    wanted = {4: (flags.fixed_cidr, flags.default_gateway)}
    if flags.ipv6:
        # As with dockerd, a range without an address for the bridge is the whole subnet.
        given[6] = flags.adopted6 or flags.bip6
        wanted[6] = (flags.fixed_cidr6, flags.default_gateway6)
        if not given[6] and flags.fixed_cidr6:
            kept[6] = flags.fixed_cidr6
    pools = []
    for version, address in given.items():
        if address:
            interface = ipaddress.ip_interface(address)
            subnet, own = str(interface.network), str(interface.ip)
            check_overlap(subnet, taken)
        elif version in kept:
            subnet, own = kept[version], ""
        else:
            subnet, own = free_subnet(sources, tuple(uses(others, host)), version), ""
        pools.append(_default_pool(subnet, own, *wanted[version]))
    return Network(
        id=old.id if old else fresh_id,
        name="bridge",
        driver="bridge",
        created=old.created if old else created,
        pools=tuple(pools),
        ipv6=flags.ipv6,
        options={
            _BRIDGE + "default_bridge": "true",
            _BRIDGE + "enable_icc": _text(flags.icc),
            _BRIDGE + "enable_ip_masquerade": _text(flags.masquerade),
            _BRIDGE + "host_binding_ipv4": flags.binding_address,
            _BRIDGE + "name": flags.name,
            MTU: str(flags.mtu),
        },
        bridge=flags.name,
        managed=not flags.adopted,
        masquerade=flags.masquerade,
        icc=flags.icc,
        mtu=flags.mtu,
        binding_address=flags.binding_address,
    )


def _default_pool(subnet: str, own: str, fixed: str, leads_out: str) -> Pool:
    """`own` is the bridge's address in the subnet, "" for the first one."""
    own = own or default_gateway(Pool(subnet=subnet))
    auxiliary = {}
    if leads_out not in ("", own):
        # The bridge keeps its address; containers are sent elsewhere, and that address stays out of the pool too.
        version6 = ":" in subnet
        auxiliary = {DEFAULT_GATEWAY6 if version6 else DEFAULT_GATEWAY: leads_out}
        _check_inside(subnet, "default-gateway-v6" if version6 else "default-gateway", leads_out)
    if fixed:
        _check_inside(subnet, "fixed-cidr-v6" if ":" in subnet else "fixed-cidr", fixed)
    return Pool(subnet=subnet, ip_range="" if fixed == subnet else fixed, gateway=own, auxiliary=auxiliary)


def _check_inside(subnet: str, what: str, value: str) -> None:
    try:
        inner = ipaddress.ip_network(value)
    except ValueError:
        raise InvalidArgument(f"invalid {what}: {value}") from None
    outer = ipaddress.ip_network(subnet)
    if inner.version != outer.version or not inner.subnet_of(outer):  # type: ignore[arg-type]
        raise InvalidArgument(f"no matching subnet for {what} {value}: it lies outside {subnet}")


def _mode(text: str) -> str:
    if text not in ("", *GATEWAY_MODES):
        raise InvalidArgument(f"unknown gateway mode {text}")
    return text or "nat"


def _source(options: Mapping[str, str], version: int) -> str:
    name = f"{_ANY}host_ipv{version}"
    text = options.get(name, "")
    if text and (address := parse_address(text)) and (6 if ":" in address else 4) != version:
        raise InvalidArgument(f"invalid value for {name}: {text!r} is no IPv{version} address")
    return parse_address(text)


def flag(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = options.get(name, "").lower()
    if value not in ("", "true", "false", "t", "f", "1", "0"):
        raise InvalidArgument(f"invalid value for {name}: {value!r}: use true or false")
    return value in ("true", "t", "1") if value else default


def parse_mtu(text: str) -> int:
    if not text.isdigit() or not 68 <= int(text) <= 65535:
        raise InvalidArgument(f"invalid value for {MTU}: {text!r}: use 68 to 65535")
    return int(text)


def _text(flag: bool) -> str:
    return "true" if flag else "false"
