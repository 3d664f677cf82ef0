"""What a user asks of one attachment of a container to a network: checked, and turned into what the interface gets.

check_settings       Docker's rules for the address, alias, MAC and options of an attachment
interface_name       eth0, eth1 …, or the name asked for
interface_sysctls    `com.docker.network.endpoint.sysctls`
link_local_addresses `--link-local-ip`
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator

from linkspan.engine.announce import announcement_problems
from linkspan.engine.bandwidth import asked_bandwidth
from linkspan.engine.vlans import asked_vlan
from linkspan.errors import Conflict, InvalidArgument
from linkspan.ipam.names import parse_mac
from linkspan.model.container import Container, EndpointIpamConfig, EndpointSettings
from linkspan.model.names import parse_link
from linkspan.model.network import Network

SYSCTLS = "com.docker.network.endpoint.sysctls"
IFNAME = "com.docker.network.endpoint.ifname"
IFACE_PREFIX = "com.docker.network.container_iface_prefix"
_PREDEFINED = ("default", "bridge", "host", "none")
# A setting's file name; what lies above it is fixed.
_SETTING = re.compile(r"[a-z0-9_]+", re.ASCII)
_INTERFACE = re.compile(r"[^\s/:]{1,15}", re.ASCII)


def check_settings(name: str, settings: EndpointSettings, network: Network) -> None:
    """`name` is the network's as the user typed it. Raises InvalidArgument with everything that is wrong."""
    problems = list(_problems(name, settings, network))
    if problems:
        raise InvalidArgument("invalid endpoint settings:\n" + "\n".join(problems))


def _problems(name: str, settings: EndpointSettings, network: Network) -> Iterator[str]:
    asked = settings.ipam_config or EndpointIpamConfig()
    if network.predefined or name in _PREDEFINED:
        if asked.ipv4_address or asked.ipv6_address:
            yield "user specified IP address is supported on user defined networks only"
        if settings.aliases:
            yield "network-scoped alias is supported only for containers in user defined networks"
    elif network.config_only:
        yield "cannot create endpoint on configuration-only network"
    else:
        yield from _address_problems(asked.ipv4_address, 4, network)
        yield from _address_problems(asked.ipv6_address, 6, network)
    for text in asked.link_local_ips or ():
        if (address := _address(text)) is None or not address.is_link_local:
            yield f"invalid link-local IP address: {text}"
    if settings.mac_address:
        try:
            parse_mac(settings.mac_address)
        except InvalidArgument as error:
            yield str(error)
    options = settings.driver_opts or {}
    try:
        asked_vlan(options, network)
    except InvalidArgument as error:
        yield str(error)
    yield from (problem for sysctl in _split(options.get(SYSCTLS, "")) if (problem := _sysctl_problem(sysctl)))
    if IFNAME in options and not _fits_interface(options[IFNAME]):
        yield f"invalid interface name {options[IFNAME]!r}: at most 15 characters, without spaces, slashes and colons"
    yield from announcement_problems(options)
    try:
        asked_bandwidth(settings)
    except InvalidArgument as error:
        yield str(error)
    for link in settings.links or ():
        try:
            parse_link(link)
        except InvalidArgument as error:
            yield str(error)


def _address_problems(text: str, version: int, network: Network) -> Iterator[str]:
    if not text:
        return
    address = _address(text)
    if address is None or address.version != version or address.is_unspecified:
        yield f"invalid IPv{version} address: {text}"
        return
    pools = (*network.pools, *network.configured)
    chosen = [pool for pool in pools if pool.version == version and not pool.automatic]
    if not chosen:
        yield "user specified IP address is supported only when connecting to networks with user configured subnets"
    elif not any(address in ipaddress.ip_network(pool.subnet) for pool in chosen):
        yield f"no configured subnet or ip-range contain the IP address {text}"


def _sysctl_problem(text: str) -> str:
    words = text.split(".", 4)
    if len(words) != 5 or words[1] not in ("ipv4", "ipv6", "mpls") or words[3] not in ("IFNAME", "ifname"):
        return (
            f"unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', "
            "'X' must be 'ipv4', 'ipv6' or 'mpls'"
        )
    setting, equals, _ = words[4].partition("=")
    if not equals:
        return f"expected sysctl '{text}' to have format name=value"
    if words[0] != "net" or not _SETTING.fullmatch(words[2]) or not _SETTING.fullmatch(setting):
        return f"expected sysctl '{text}' to have format net.X.Y.IFNAME.Z"
    return ""


def interface_sysctls(settings: EndpointSettings, interface: str) -> tuple[tuple[str, str], ...]:
    """Settings of the kernel, by name below /proc/sys, and their values. The options have been checked."""
    found: dict[str, str] = {}
    for text in _split((settings.driver_opts or {}).get(SYSCTLS, "")):
        name, _, value = text.partition("=")
        _, family, kind, _, setting = name.split(".", 4)
        found[f"net/{family}/{kind}/{interface}/{setting}"] = value
    return tuple(found.items())


def without_ipv6(container: Container, settings: EndpointSettings) -> bool:
    """IPv6 is turned off by a setting of the interface or of the container: it gets no IPv6 address, as with Docker."""
    sysctls = container.host_config.sysctls or {}
    asked = (f"net.ipv6.conf.{which}.disable_ipv6" for which in ("all", "default"))
    own = dict(interface_sysctls(settings, "own")).get("net/ipv6/conf/own/disable_ipv6", "0")
    return own == "1" or any(sysctls.get(name) == "1" for name in asked)


def asked_names(container: Container) -> frozenset[str]:
    """The names that the container asks for its interfaces: those given out by number leave them free."""
    return frozenset(name for s in container.networks.values() if (name := (s.driver_opts or {}).get(IFNAME, "")))


def interface_name(
    settings: EndpointSettings, network: Network, taken: Collection[str], asked: Collection[str] = ()
) -> str:
    """The name asked for, or the network's prefix (eth) with the first number that is free.

    `asked` are names that other attachments ask for. Raises Conflict where the name asked for is that of another
    interface in the sandbox.
    """
    if wanted := (settings.driver_opts or {}).get(IFNAME, ""):
        if wanted in taken or wanted == "lo":
            raise Conflict(f"interface name {wanted!r} is already in use in the container")
        return wanted
    prefix = network.options.get(IFACE_PREFIX, "") or "eth"
    numbered = (f"{prefix}{number}" for number in range(len(taken) + len(asked) + 1))
    return next(name for name in numbered if name not in taken and name not in asked)


def check_interface_prefix(prefix: str) -> None:
    """Of a network's interfaces: the number must still find room. Raises InvalidArgument."""
    if not _fits_interface(f"{prefix}000"):
        raise InvalidArgument(f"invalid value for {IFACE_PREFIX}: {prefix!r}: at most 12 characters, without / and :")


def link_local_addresses(settings: EndpointSettings) -> tuple[str, ...]:
    """With the prefix lengths that link-local addresses have: 169.254.9.9/16, fe80::9/64."""
    asked = (settings.ipam_config or EndpointIpamConfig()).link_local_ips or ()
    addresses = [ipaddress.ip_address(text) for text in asked]
    return tuple(dict.fromkeys(f"{a}/{16 if a.version == 4 else 64}" for a in addresses))


def _fits_interface(name: str) -> bool:
    return bool(_INTERFACE.fullmatch(name)) and name not in (".", "..", "all", "default")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def _split(text: str) -> list[str]:
    return text.split(",") if text else []
