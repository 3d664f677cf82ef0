"""flat networks: what their options mean, what they may stand on, and which addresses of the segment are not theirs."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

from linkspan.engine import bridges, keeping
from linkspan.errors import Conflict, InvalidArgument
from linkspan.model.network import HOST_ADDRESS, Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts, HostInterface

OPTIONS = frozenset({"parent", "mode", "detect", "host_access", *keeping.OPTIONS})
PATHS = ("bridge", "macvlan", "routed")


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
    mtu = options.get(bridges.MTU)
    placed = msgspec.structs.replace(
        keeping.with_identities(network),
        path=path,
        parent=parent,
        mtu=bridges.parse_mtu(mtu) if mtu else 0 if path == "macvlan" else card.mtu,
        mode="bridge" if path == "macvlan" else "",
        masquerade=False,
        publishes=False,
        bridge=(parent if card.kind == "bridge" else flat_bridge(parent)) if path == "bridge" else "",
        managed=card.kind != "bridge",
        heeds_routers=card.heeds_routers,
        detects=bridges.flag(options, "detect", default=True),
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
