"""flat networks: what their options mean, what they may stand on, and which addresses of the segment are not theirs."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from linkspan.engine import bridges
from linkspan.errors import Conflict, InvalidArgument
from linkspan.model.duration import parse_span
from linkspan.model.network import HOST_ADDRESS, Network, Pool, Range
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts, HostInterface

OPTIONS = frozenset({"parent", "mode", "exclude", "identity", "rest", "detect", "host_access"})
PATHS = ("bridge", "macvlan", "routed")
_IDENTITY = re.compile(r"none|name|label:[^\s,]+(,[^\s,]+)*")
_REST = "10m"


def on_segment(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    """The network with what its options say.

    Raises InvalidArgument (an option or parent that there is not), Conflict (the parent is in use otherwise, or
    down).
    """
    options = network.options
    path, parent = options.get("mode") or "bridge", options.get("parent", "")
    if path not in PATHS:
        raise InvalidArgument(f"requested flat mode '{path}' is not valid: use {', '.join(PATHS)}")
    if not parent:
        raise InvalidArgument("a flat network needs -o parent=INTERFACE: the interface that is on the segment")
    card = _card(parent, host)
    if options.get("host_access") and path != "macvlan":
        raise InvalidArgument(f"host_access is for mode=macvlan: in mode={path} the host reaches its containers anyway")
    identity = options.get("identity") or "name"
    if not _IDENTITY.fullmatch(identity):
        raise InvalidArgument(f"invalid value for identity: {identity!r}: use name, label:KEY[,KEY…] or none")
    mtu = options.get(bridges.MTU)
    placed = msgspec.structs.replace(
        network,
        path=path,
        parent=parent,
        mtu=bridges.parse_mtu(mtu) if mtu else 0 if path == "macvlan" else card.mtu,
        mode="bridge" if path == "macvlan" else "",
        masquerade=False,
        publishes=False,
        bridge=(parent if card.kind == "bridge" else flat_bridge(parent)) if path == "bridge" else "",
        managed=card.kind != "bridge",
        heeds_routers=card.heeds_routers,
        identity="" if identity == "none" else identity,
        rest=_span(options.get("rest") or _REST),
        detects=bridges.flag(options, "detect", default=True),
        excluded=tuple(_ranges(options.get("exclude", ""))),
    )
    _check_room(snapshot, placed, card)
    return placed


def check_subnets(network: Network, pools: Sequence[Pool], versions: Sequence[int]) -> None:
    """Raises InvalidArgument: the segment's subnets are not ours to choose."""
    for version in versions:
        if not any(pool.subnet and pool.version == version for pool in pools):
            raise InvalidArgument(
                f"a flat network needs --subnet: the IPv{version} subnet of the segment that {network.parent} is on"
            )


def with_segment(network: Network, host: HostFacts) -> Network:
    """With the router that the host itself uses, where none is named, and without the addresses that the host has."""
    places = (network.parent, network.bridge, flat_bridge(network.parent))
    routers = [address for interface, address in host.gateways if interface in places]
    return msgspec.structs.replace(network, pools=tuple(_known(pool, routers, host) for pool in network.pools))


def flat_bridge(parent: str) -> str:
    """The bridge that an interface of the host is a port of: fl-eth0, as far as Linux's 15 characters go."""
    name = f"fl-{parent}"
    return name if len(name) <= 15 else f"fl-{hashlib.sha256(parent.encode()).hexdigest()[:12]}"


def _known(pool: Pool, routers: Sequence[str], host: HostFacts) -> Pool:
    subnet = ipaddress.ip_network(pool.subnet)
    gateway = pool.gateway or next((text for text in routers if ipaddress.ip_address(text) in subnet), "")
    auxiliary = dict(pool.auxiliary)
    for interface in host.interfaces:
        for text in interface.addresses:
            address = str(ipaddress.ip_interface(text).ip)
            if address == gateway:
                raise InvalidArgument(
                    f"gateway {gateway} is an address of this host ({interface.name}): "
                    "a flat network's gateway is the segment's router"
                )
            if ipaddress.ip_address(address) in subnet and address not in auxiliary.values():
                auxiliary[_free_name(f"{HOST_ADDRESS}-{interface.name}", auxiliary)] = address
    return msgspec.structs.replace(pool, gateway=gateway, auxiliary=auxiliary)


def _free_name(name: str, taken: Mapping[str, str]) -> str:
    return next(
        text for number in range(len(taken) + 1) if (text := f"{name}-{number}" if number else name) not in taken
    )


def _card(parent: str, host: HostFacts) -> HostInterface:
    card = next((interface for interface in host.interfaces if interface.name == parent), None)
    if card is None:
        raise InvalidArgument(f"-o parent interface was not found on the host: {parent}")
    if card.loopback:
        raise InvalidArgument("loopback interface is not a valid flat parent link")
    if not card.up:
        raise Conflict(f"parent interface {parent} is down: ip link set {parent} up")
    return card


def _check_room(snapshot: Snapshot, network: Network, card: HostInterface) -> None:
    if card.master and card.master != network.bridge:
        why = "its containers' network has it" if card.master == flat_bridge(network.parent) else "use that as parent"
        raise Conflict(f"parent interface {network.parent} is a port of bridge {card.master}: {why}")
    for other in snapshot.networks.values():
        shared = other.parent == network.parent or (network.bridge and other.bridge == network.bridge)
        if shared and "bridge" in (network.path, other.path) and network.path != other.path:
            kind = f"{other.driver} network {other.name}"
            raise Conflict(
                f"parent interface {network.parent} is in use otherwise: {kind} has it"
                + (f" in mode={other.path}" if other.path else "")
            )


def _span(text: str) -> float:
    seconds = 0.0 if text == "0" else parse_span(text)
    if seconds is None:
        raise InvalidArgument(f"invalid value for rest: {text!r}: use a span of time as 10m or 90s, or 0")
    return seconds


def _ranges(text: str) -> Iterator[Range]:
    """`10.0.0.1-10.0.0.50,10.0.0.99,10.0.1.0/26`. Raises InvalidArgument."""
    for part in filter(None, text.split(",")):
        try:
            if "/" in part:
                subnet = ipaddress.ip_network(part)
                low, high = subnet[0], subnet[-1]
            else:
                first, dash, last = part.partition("-")
                low, high = ipaddress.ip_address(first), ipaddress.ip_address(last if dash else first)
            if low.version != high.version or int(low) > int(high):
                raise ValueError
        except ValueError:
            raise InvalidArgument(f"invalid value for exclude: {part!r}: use ADDRESS, FIRST-LAST or a subnet") from None
        yield Range(first=str(low), last=str(high))
