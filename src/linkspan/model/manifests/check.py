"""What a resource may say, beyond its shape; and what it says, in one form: subnets without host bits, ports as
numbers or ranges, protocols by name. Each function takes a spec as it was written, and raises Wrong."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model import bgp
from linkspan.model import selector as selectors
from linkspan.model.bgp import BgpConfigurationSpec, BgpFilterSpec, BgpPeerSpec
from linkspan.model.ippool import (
    AUTOMATIC,
    CROSS_SUBNET,
    MANUAL,
    MODES,
    NEVER,
    TUNNEL,
    WORKLOAD,
    IpPoolSpec,
    IpReservationSpec,
)
from linkspan.model.manifests.shape import Wrong
from linkspan.model.manifests.yaml_text import Path
from linkspan.model.policy import (
    ACTIONS,
    ALLOW_PROFILE,
    DEFAULT_TIER,
    DENY,
    EGRESS,
    INGRESS,
    PASS,
    PORTS_OF,
    PROTOCOLS,
    THE_DEFAULT_TIER,
    Entity,
    HostEndpointSpec,
    Icmp,
    NetworkSetSpec,
    PolicySpec,
    Rule,
    TierSpec,
)
from linkspan.model.resource import Metadata

MOST_RULES = 1024  # in each direction of a policy
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NETWORK = re.compile(r"[^\s/\x00-\x1f-](?:[^/\x00-\x1f]{0,251}[^\s/\x00-\x1f])?")  # as networks are named here
_INTERFACE = re.compile(r"[^\s/:]{1,15}")
_RANGE = re.compile(r"(\d{1,5}):(\d{1,5})")
_BY_NAME = {name.lower(): name for name in PROTOCOLS}
_BY_NUMBER = {number: name for name, number in PROTOCOLS.items()}
_ICMP_OF = {"ICMP": 4, "ICMPv6": 6}


def name(path: Path, text: str) -> None:
    """As Kubernetes has them."""
    if len(text) > 253 or not _NAME.fullmatch(text):
        raise Wrong(path, f"{text[:60]!r}: small letters, digits, - and ., from a letter or digit to one, 253 at most")


def network(path: Path, text: str) -> None:
    if not _NETWORK.fullmatch(text):
        raise Wrong(path, f"{text[:60]!r} is not the name of a network")


def labels(path: Path, found: Iterable[tuple[str, str]]) -> None:
    for key, value in found:
        if not selectors.LABEL.fullmatch(key):
            raise Wrong((*path, key), "a label's name has letters, digits, and . _ - /")
        if len(value) > 255:
            raise Wrong((*path, key), "a label's value has 255 characters at most")


# -- policies and tiers -----------------------------------------------------------------------------------------------


def policy(spec: PolicySpec, *, of_network: bool) -> PolicySpec:
    at: Path = ("spec",)
    _selector((*at, "selector"), spec.selector)
    if of_network and spec.namespace_selector:
        raise Wrong((*at, "namespaceSelector"), "a NetworkPolicy is of the network that metadata.namespace names")
    _selector((*at, "namespaceSelector"), spec.namespace_selector)
    _order((*at, "order"), spec.order)
    name((*at, "tier"), spec.tier)
    for index, type_ in enumerate(spec.types):
        if type_ not in (INGRESS, EGRESS):
            raise Wrong((*at, "types", index), f"{type_!r}: Ingress or Egress")
        if type_ in spec.types[:index]:
            raise Wrong((*at, "types", index), f"{type_} is there already")
    types = spec.types or _types_of(spec)
    for field, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        if len(rules) > MOST_RULES:
            raise Wrong((*at, field), f"{len(rules)} rules, {MOST_RULES} at most")
    return msgspec.structs.replace(
        spec,
        types=types,
        ingress=tuple(_rule((*at, "ingress", index), rule) for index, rule in enumerate(spec.ingress)),
        egress=tuple(_rule((*at, "egress", index), rule) for index, rule in enumerate(spec.egress)),
    )


def _types_of(spec: PolicySpec) -> tuple[str, ...]:
    """A policy that names none is about the directions that it has rules for, and about ingress if about nothing."""
    if not spec.egress:
        return (INGRESS,)
    return (INGRESS, EGRESS) if spec.ingress else (EGRESS,)


def _rule(at: Path, rule: Rule) -> Rule:
    if rule.action not in ACTIONS:
        raise Wrong((*at, "action"), f"{rule.action!r}: one of {', '.join(ACTIONS)}")
    if rule.ip_version not in (None, 4, 6):
        raise Wrong((*at, "ipVersion"), f"{rule.ip_version}: 4 or 6")
    protocol = _protocol((*at, "protocol"), rule.protocol)
    not_protocol = _protocol((*at, "notProtocol"), rule.not_protocol)
    for field, found in (("protocol", protocol), ("notProtocol", not_protocol)):
        version = _ICMP_OF.get(str(found))
        if version and rule.ip_version not in (None, version):
            raise Wrong((*at, field), f"{found} is not of IPv{rule.ip_version}")
    for field, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        _icmp((*at, field), icmp, protocol)
    source, destination = (
        _entity((*at, field), entity, protocol, rule.ip_version)
        for field, entity in (("source", rule.source), ("destination", rule.destination))
    )
    return msgspec.structs.replace(
        rule,
        protocol=protocol,
        not_protocol=not_protocol,
        icmp=None if rule.icmp == Icmp() else rule.icmp,  # which says nothing but the protocol
        not_icmp=None if rule.not_icmp == Icmp() else rule.not_icmp,
        source=source,
        destination=destination,
    )


def _protocol(at: Path, protocol: int | str | None) -> int | str | None:
    """By name, where it has one."""
    if isinstance(protocol, str) and not protocol.isdecimal():
        if protocol.lower() not in _BY_NAME:
            raise Wrong(at, f"{protocol[:60]!r}: one of {', '.join(PROTOCOLS)}, or a number")
        return _BY_NAME[protocol.lower()]
    if protocol is None:
        return None
    number = int(str(protocol)[:9])
    if not 0 < number < 256:
        raise Wrong(at, f"{number}: a protocol's number is from 1 to 255")
    return _BY_NUMBER.get(number, number)


def _icmp(at: Path, icmp: Icmp | None, protocol: int | str | None) -> None:
    if icmp is None:
        return
    if protocol not in _ICMP_OF:
        raise Wrong(at, "it goes with protocol ICMP or ICMPv6")
    if icmp.type is None and icmp.code is not None:
        raise Wrong((*at, "type"), "it is needed with a code")
    if icmp.type is not None and not 0 <= icmp.type <= 254:
        raise Wrong((*at, "type"), f"{icmp.type} is not from 0 to 254")
    if icmp.code is not None and not 0 <= icmp.code <= 255:
        raise Wrong((*at, "code"), f"{icmp.code} is not from 0 to 255")


def _entity(at: Path, entity: Entity, protocol: int | str | None, version: int | None) -> Entity:
    _selector((*at, "selector"), entity.selector)
    _selector((*at, "notSelector"), entity.not_selector)
    _selector((*at, "namespaceSelector"), entity.namespace_selector, of_networks=True)
    for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        if ports and protocol not in PORTS_OF:
            raise Wrong((*at, field), f"ports go with the protocols {', '.join(PORTS_OF)}: say which")
    return msgspec.structs.replace(
        entity,
        nets=_nets((*at, "nets"), entity.nets, version),
        not_nets=_nets((*at, "notNets"), entity.not_nets, version),
        ports=tuple(_port((*at, "ports", index), port) for index, port in enumerate(entity.ports)),
        not_ports=tuple(_port((*at, "notPorts", index), port) for index, port in enumerate(entity.not_ports)),
    )


def _port(at: Path, port: int | str) -> int | str:
    if isinstance(port, str) and not port.isdecimal():
        ends = _RANGE.fullmatch(port)
        if ends is None:
            raise Wrong(at, f"{port[:60]!r}: named ports are not supported: a number, or a range such as 8080:8090")
        first, last = (_number(at, text) for text in ends.groups())
        if first > last:
            raise Wrong(at, f"{port}: the range ends before it begins")
        return f"{first}:{last}" if first < last else first
    return _number(at, str(port))


def _number(at: Path, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:9]) < 65536:
        raise Wrong(at, f"{text[:20]} is not a port: 1 to 65535")
    return int(text)


def _nets(at: Path, nets: Iterable[str], version: int | None = None) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for index, text in enumerate(nets):
        try:
            net = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise Wrong((*at, index), f"{text[:60]!r} is neither an address nor a subnet") from None
        if version not in (None, net.version):
            raise Wrong((*at, index), f"{text} is not of IPv{version}, as ipVersion says")
        found[str(net)] = None
    return tuple(found)


def _selector(at: Path, text: str, *, of_networks: bool = False) -> None:
    try:
        found = selectors.parse(text)
    except InvalidArgument as error:
        raise Wrong(at, str(error)) from None
    if not of_networks and any(isinstance(part, selectors.Global) for part in selectors.parts_of(found)):
        raise Wrong(at, "global() goes into the namespaceSelector of a rule")


def _order(at: Path, order: float | None) -> None:
    if order is not None and not -1e18 < order < 1e18:
        raise Wrong(at, f"{order} is not a number that policies can be put in order by")


def tier(spec: TierSpec, tier_name: str) -> TierSpec:
    if "." in tier_name or len(tier_name) > 63:  # policies' names have it in front, up to a point
        raise Wrong(("metadata", "name"), f"{tier_name[:60]!r}: a tier's name has no point, and 63 characters at most")
    _order(("spec", "order"), spec.order)
    if spec.default_action not in (DENY, PASS):
        raise Wrong(("spec", "defaultAction"), f"{spec.default_action!r}: Deny or Pass")
    if tier_name == DEFAULT_TIER and spec not in (THE_DEFAULT_TIER.spec, TierSpec()):
        raise Wrong(("spec",), "the tier default has the order 1000000 and the defaultAction Deny")
    return spec


# -- sets, interfaces of hosts, pools ---------------------------------------------------------------------------------


def network_set(spec: NetworkSetSpec, metadata: Metadata) -> NetworkSetSpec:
    if selectors.NAMESPACE in metadata.labels:
        raise Wrong(("metadata", "labels", selectors.NAMESPACE), "only what is on a network has this label, by itself")
    return msgspec.structs.replace(spec, nets=_nets(("spec", "nets"), spec.nets))


def host_endpoint(spec: HostEndpointSpec) -> HostEndpointSpec:
    if not spec.node:
        raise Wrong(("spec", "node"), "the name of a host is needed")
    if not spec.interface_name and not spec.expected_ips:
        raise Wrong(("spec", "interfaceName"), "an interface is needed, * for all, or expectedIPs")
    if spec.interface_name and not _INTERFACE.fullmatch(spec.interface_name):
        raise Wrong(("spec", "interfaceName"), f"{spec.interface_name[:60]!r} is not the name of an interface")
    for index, profile in enumerate(spec.profiles):
        if profile != ALLOW_PROFILE:
            raise Wrong(("spec", "profiles", index), f"the one profile that there is here is {ALLOW_PROFILE}")
    ips = tuple(_address(("spec", "expectedIPs", index), text) for index, text in enumerate(spec.expected_ips))
    return msgspec.structs.replace(spec, expected_ips=ips)


def _address(at: Path, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Wrong(at, f"{text[:60]!r} is not an address") from None


def pool(spec: IpPoolSpec) -> IpPoolSpec:
    cidr = _nets(("spec", "cidr"), (spec.cidr,))[0] if "/" in spec.cidr else ""
    if not cidr:
        raise Wrong(("spec", "cidr"), f"{spec.cidr[:60]!r} is not a subnet")
    found = ipaddress.ip_network(cidr)
    if ipaddress.ip_address(spec.cidr.partition("/")[0]) != found.network_address:
        raise Wrong(("spec", "cidr"), f"{spec.cidr} is an address in a subnet: the subnet is {cidr}")
    if found.is_link_local:
        raise Wrong(("spec", "cidr"), f"{cidr} is of the addresses that are valid on one link alone")
    for field, mode in (("vxlanMode", spec.vxlan_mode), ("ipipMode", spec.ipip_mode)):
        if mode not in MODES:
            raise Wrong(("spec", field), f"{mode!r}: one of {', '.join(MODES)}")
    if NEVER not in (spec.vxlan_mode, spec.ipip_mode):
        raise Wrong(("spec", "ipipMode"), f"vxlanMode is {spec.vxlan_mode}: a pool has one of the two")
    if spec.ipip_mode != NEVER and found.version == 6:
        raise Wrong(("spec", "ipipMode"), f"IPIP is of IPv4: use vxlanMode, {CROSS_SUBNET} or Always")
    least, most = (20, 32) if found.version == 4 else (116, 128)
    if spec.block_size and not max(least, found.prefixlen) <= spec.block_size <= most:
        raise Wrong(("spec", "blockSize"), f"{spec.block_size}: from {max(least, found.prefixlen)} to {most} in {cidr}")
    if spec.assignment_mode not in (AUTOMATIC, MANUAL):
        raise Wrong(("spec", "assignmentMode"), f"{spec.assignment_mode!r}: {AUTOMATIC} or {MANUAL}")
    _selector(("spec", "nodeSelector"), spec.node_selector)
    if not isinstance(selectors.parse(spec.node_selector), selectors.All):
        raise Wrong(("spec", "nodeSelector"), "every host takes addresses from a network's pools: all(), or nothing")
    for index, use in enumerate(spec.allowed_uses):
        if use not in (WORKLOAD, TUNNEL):
            raise Wrong(("spec", "allowedUses", index), f"{use!r}: {WORKLOAD} or {TUNNEL}")
    if spec.allowed_uses and WORKLOAD not in spec.allowed_uses:
        raise Wrong(("spec", "allowedUses"), f"a pool is for containers here: {WORKLOAD} is needed")
    return msgspec.structs.replace(spec, cidr=cidr)


def reservation(spec: IpReservationSpec) -> IpReservationSpec:
    return msgspec.structs.replace(spec, reserved_cidrs=_nets(("spec", "reservedCIDRs"), spec.reserved_cidrs))


# -- BGP --------------------------------------------------------------------------------------------------------------


def bgp_configuration(spec: BgpConfigurationSpec, metadata: Metadata) -> BgpConfigurationSpec:
    bgp.check_configuration(metadata.name, spec)
    return spec


def bgp_peer(spec: BgpPeerSpec) -> BgpPeerSpec:
    bgp.check_peer(spec)
    _selector(("spec", "nodeSelector"), spec.node_selector)
    _selector(("spec", "peerSelector"), spec.peer_selector)
    return spec


def bgp_filter(spec: BgpFilterSpec) -> BgpFilterSpec:
    bgp.check_filter(spec)
    return spec
