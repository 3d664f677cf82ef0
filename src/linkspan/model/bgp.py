"""BGP as users configure it: Calico's resources BGPConfiguration, BGPPeer and BGPFilter (v3), with its field names.

What a user does not say is None, or empty; what then holds is said with the field, and is the engine's to apply.
The checks raise InvalidArgument, with the path of the field in front.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.resource import Part, Resource

DEFAULT = "default"  # the name of the configuration of all hosts
OF_HOST = "node."  # in front of a host's name: the name of a configuration of that host alone
DEFAULT_AS = 64512
DEFAULT_PORT = 179
_LONGEST_PASSWORD = 80  # bytes that the kernel takes as a TCP MD5 key
_COMMUNITY = re.compile(r"\d{1,10}:\d{1,10}(:\d{1,10})?")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class Community(Part, frozen=True, kw_only=True):
    """A name for a community: `64512:100`, or `64512:100:1` of the large kind."""

    name: str
    value: str


class PrefixAdvertisement(Part, frozen=True, kw_only=True):
    """Communities, by name or value, that what is announced of `cidr` carries."""

    cidr: str
    communities: tuple[str, ...] = ()


class SecretKey(Part, frozen=True, kw_only=True):
    """A secret that lies on the hosts, in a file `<name>/<key>` in their folder of secrets."""

    name: str
    key: str


class Password(Part, frozen=True, kw_only=True):
    """A TCP MD5 password: said here, where whoever may read the resource reads it too, or lying on the hosts."""

    value: str = ""
    secret_key_ref: SecretKey | None = None


class BgpConfigurationSpec(Part, frozen=True, kw_only=True):
    """`default` is for all hosts; `node.<name>` is for one, and goes before it field by field."""

    as_number: int | None = None  # 64512
    node_to_node_mesh_enabled: bool | None = None  # True: every host is every other's peer. Of `default` alone
    listen_port: int | None = None  # 179
    communities: tuple[Community, ...] = ()
    prefix_advertisements: tuple[PrefixAdvertisement, ...] = ()
    node_mesh_password: Password | None = None
    node_mesh_max_restart_time: str = ""  # `120s`: how long the routes of a host whose BGP restarts are kept
    log_severity_screen: Literal["Trace", "Debug", "Info", "Warning", "Error", "Fatal"] | None = None  # Info


class BgpPeerSpec(Part, frozen=True, kw_only=True):
    """Whose peer is who: of the hosts `node`, or `node_selector` over their labels, or all; either the router
    `peer_ip` with `as_number`, or the hosts that `peer_selector` takes."""

    node: str = ""  # a host's name
    node_selector: str = ""
    peer_ip: str = msgspec.field(default="", name="peerIP")  # `192.0.2.1`, `192.0.2.1:1790`, `[2001:db8::1]:1790`
    as_number: int | None = None
    peer_selector: str = ""
    password: Password | None = None
    max_restart_time: str = ""  # 120s
    keep_original_next_hop: bool = False
    source_address: Literal["UseNodeIP", "None"] = "UseNodeIP"
    num_allowed_local_as_numbers: int | None = msgspec.field(default=None, name="numAllowedLocalASNumbers")
    ttl_security: int | None = None  # hops to the peer, counted: what comes from further away is not its
    filters: tuple[str, ...] = ()  # names of BGPFilters, in order


class PrefixLengths(Part, frozen=True, kw_only=True):
    min: int | None = None
    max: int | None = None


class FilterRule(Part, frozen=True, kw_only=True):
    """`In` and `NotIn` take what lies within `cidr`, itself included, with a length that `prefix_length` allows."""

    action: Literal["Accept", "Reject"]
    cidr: str = ""  # any
    match_operator: Literal["Equal", "NotEqual", "In", "NotIn"] | None = None
    prefix_length: PrefixLengths | None = None


class BgpFilterSpec(Part, frozen=True, kw_only=True):
    """The first rule that matches decides; where none does, what holds without a filter."""

    export_v4: tuple[FilterRule, ...] = msgspec.field(default=(), name="exportV4")
    import_v4: tuple[FilterRule, ...] = msgspec.field(default=(), name="importV4")
    export_v6: tuple[FilterRule, ...] = msgspec.field(default=(), name="exportV6")
    import_v6: tuple[FilterRule, ...] = msgspec.field(default=(), name="importV6")


class BgpConfiguration(Resource, frozen=True, kw_only=True):
    spec: BgpConfigurationSpec = BgpConfigurationSpec()


class BgpPeer(Resource, frozen=True, kw_only=True):
    spec: BgpPeerSpec = BgpPeerSpec()


class BgpFilter(Resource, frozen=True, kw_only=True):
    spec: BgpFilterSpec = BgpFilterSpec()


# -- checks -----------------------------------------------------------------------------------------------------------


def check_configuration(name: str, spec: BgpConfigurationSpec) -> None:
    if name != DEFAULT and not (name.startswith(OF_HOST) and name != OF_HOST):
        raise InvalidArgument(f"metadata.name: {name}: a BGPConfiguration is named default, or node.HOST for one host")
    if name != DEFAULT:
        for field, value in (
            ("nodeToNodeMeshEnabled", spec.node_to_node_mesh_enabled),
            ("nodeMeshPassword", spec.node_mesh_password),
            ("nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time or None),
        ):
            if value is not None:
                raise InvalidArgument(f"spec.{field}: it is for all hosts alike: say it in the configuration default")
    elif spec.node_to_node_mesh_enabled is False:
        for field, there in (
            ("nodeMeshPassword", spec.node_mesh_password is not None),
            ("nodeMeshMaxRestartTime", bool(spec.node_mesh_max_restart_time)),
        ):
            if there:
                raise InvalidArgument(f"spec.{field}: nodeToNodeMeshEnabled is false: there are no such sessions")
    _check_number("spec.asNumber", spec.as_number, 1, (1 << 32) - 1)
    _check_number("spec.listenPort", spec.listen_port, 1, 65535)
    names = set[str]()
    for index, community in enumerate(spec.communities):
        path = f"spec.communities[{index}]"
        if not community.name or community.name in names:
            raise InvalidArgument(f"{path}.name: {community.name!r}: every community has a name of its own")
        names.add(community.name)
        community_numbers(f"{path}.value", community.value)
    for index, advertised in enumerate(spec.prefix_advertisements):
        path = f"spec.prefixAdvertisements[{index}]"
        _check_cidr(f"{path}.cidr", advertised.cidr)
        if not advertised.communities:
            raise InvalidArgument(f"{path}.communities: at least one is needed")
        for at, value in enumerate(advertised.communities):
            if value not in names and not _COMMUNITY.fullmatch(value):
                raise InvalidArgument(f"{path}.communities[{at}]: {value}: no community of that name, and no value")
            if value not in names:
                community_numbers(f"{path}.communities[{at}]", value)
    check_password("spec.nodeMeshPassword", spec.node_mesh_password)
    seconds("spec.nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time, 120)


def check_peer(spec: BgpPeerSpec) -> None:
    """Without the selectors, whose grammar is another's to know."""
    if spec.node and spec.node_selector:
        raise InvalidArgument("spec.nodeSelector: say either node or nodeSelector")
    if bool(spec.peer_ip) == bool(spec.peer_selector):
        raise InvalidArgument("spec.peerIP: say either peerIP, with asNumber, or peerSelector")
    if spec.peer_selector and spec.as_number is not None:
        raise InvalidArgument("spec.asNumber: hosts that peerSelector takes have their own")
    if spec.peer_ip:
        split_peer("spec.peerIP", spec.peer_ip)
        if spec.as_number is None:
            raise InvalidArgument("spec.asNumber: it goes with peerIP")
    _check_number("spec.asNumber", spec.as_number, 1, (1 << 32) - 1)
    _check_number("spec.numAllowedLocalASNumbers", spec.num_allowed_local_as_numbers, 0, 255)
    _check_number("spec.ttlSecurity", spec.ttl_security, 1, 254)
    check_password("spec.password", spec.password)
    seconds("spec.maxRestartTime", spec.max_restart_time, 120)


def check_filter(spec: BgpFilterSpec) -> None:
    for field, rules, version in (
        ("exportV4", spec.export_v4, 4),
        ("importV4", spec.import_v4, 4),
        ("exportV6", spec.export_v6, 6),
        ("importV6", spec.import_v6, 6),
    ):
        for index, rule in enumerate(rules):
            path = f"spec.{field}[{index}]"
            if bool(rule.cidr) != (rule.match_operator is not None):
                raise InvalidArgument(f"{path}.matchOperator: it goes with cidr")
            if rule.prefix_length and rule.match_operator not in ("In", "NotIn"):
                raise InvalidArgument(f"{path}.prefixLength: it goes with matchOperator In or NotIn")
            if not rule.cidr:
                continue
            _check_cidr(f"{path}.cidr", rule.cidr)
            network = ipaddress.ip_network(rule.cidr)
            if network.version != version:
                raise InvalidArgument(f"{path}.cidr: {rule.cidr} is not IPv{version}")
            if lengths := rule.prefix_length:
                low, high = lengths.min or network.prefixlen, lengths.max or network.max_prefixlen
                if not network.prefixlen <= low <= high <= network.max_prefixlen:
                    raise InvalidArgument(f"{path}.prefixLength: {low} to {high} are no lengths within {rule.cidr}")


def check_password(path: str, password: Password | None) -> None:
    if password is None:
        return
    if bool(password.value) == (password.secret_key_ref is not None):
        raise InvalidArgument(f"{path}: say either value or secretKeyRef")
    if password.value:
        check_secret(f"{path}.value", password.value)
    if secret := password.secret_key_ref:
        for field, text in (("name", secret.name), ("key", secret.key)):
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", text):
                raise InvalidArgument(f"{path}.secretKeyRef.{field}: {text!r} is no name of a file")


def check_secret(path: str, text: str) -> None:
    """A password, as every BGP that it is written for can read it. It is not part of what is said."""
    if len(text.encode()) > _LONGEST_PASSWORD:
        raise InvalidArgument(f"{path}: a TCP MD5 password has {_LONGEST_PASSWORD} bytes at most")
    if not text.isascii() or not text.isprintable() or any(character in "\"'\\ " for character in text):
        raise InvalidArgument(f"{path}: a password is of printable ASCII, without quotes, backslashes and spaces")


def community_numbers(path: str, text: str) -> tuple[int, ...]:
    """The two numbers of a community, or the three of a large one."""
    numbers = tuple(int(part) for part in text.split(":")) if _COMMUNITY.fullmatch(text) else ()
    most = (1 << 16) - 1 if len(numbers) == 2 else (1 << 32) - 1
    if not numbers or max(numbers) > most:
        raise InvalidArgument(f"{path}: {text!r}: a community is AS:N (16 bits each), or AS:N:N (32 bits each)")
    return numbers


def split_peer(path: str, text: str) -> tuple[str, int]:
    """A peer's address, and its port, 0 where none is said."""
    address, port = text, ""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") else rest and "?"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise InvalidArgument(f"{path}: {text!r} is no address, nor one with its port") from None
    if found.is_unspecified or found.is_multicast or found.is_loopback:
        raise InvalidArgument(f"{path}: {text!r} is no address of a router")
    if (port or text.endswith(":")) and not (port.isdigit() and 0 < int(port) < 65536):
        raise InvalidArgument(f"{path}: {text!r}: a port is a number from 1 to 65535")
    return str(found), int(port or 0)


def seconds(path: str, text: str, default: int) -> int:
    """`120s`, `2m`, `1h30m`."""
    if not text:
        return default
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        raise InvalidArgument(f"{path}: {text!r} is no duration: use 120s, or 2m")
    total = sum(int(part or 0) * size for part, size in zip(found.groups(), (3600, 60, 1), strict=True))
    _check_number(path, total, 1, 4095)
    return total


def _check_number(path: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidArgument(f"{path}: {value} is not from {least} to {most}")


def _check_cidr(path: str, text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise InvalidArgument(f"{path}: {text!r} is no subnet, such as 10.65.0.0/16") from None
