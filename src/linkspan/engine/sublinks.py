"""macvlan and ipvlan networks: what their options mean, and what they may stand on."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

import msgspec

from linkspan.errors import Conflict, Forbidden, InvalidArgument
from linkspan.model.cluster import GLOBAL
from linkspan.model.network import HOST_ADDRESS, Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

OPTIONS = {
    "macvlan": frozenset({"parent", "macvlan_mode", "host_access"}),
    "ipvlan": frozenset({"parent", "ipvlan_mode", "ipvlan_flag"}),
}
_MACVLAN_MODES = ("bridge", "private", "vepa", "passthru")
_IPVLAN_MODES = ("l2", "l3", "l3s")
_IPVLAN_FLAGS = ("bridge", "private", "vepa")


def on_parent(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    """The network with what its options say. `mtu` 0 is the parent's.

    Raises InvalidArgument (a mode or parent that there is not), Forbidden (the parent has no room).
    """
    options = network.options
    mode = _macvlan_mode(options) if network.driver == "macvlan" else _ipvlan_mode(options)
    parent = options.get("parent", "")
    if parent == "lo":
        raise InvalidArgument(f"loopback interface is not a valid {network.driver} parent link")
    made = not parent or _is_made(snapshot, parent, host)
    if made and network.scope == GLOBAL:
        what = f"{parent} is none on this one" if parent else "it names none"
        raise InvalidArgument(
            f"network {network.name}: a {network.driver} network of the cluster needs a parent (-o parent=…) that "
            f"every host has: {what}"
        )
    placed = msgspec.structs.replace(
        network,
        parent=parent or f"dm-{network.id[:12]}",
        parent_made=made,
        mode=mode,
        # Without a parent it leads nowhere.
        internal=network.internal or not parent,
        masquerade=False,
        publishes=False,
    )
    _check_room(snapshot, placed)
    return placed


def with_host_access(network: Network, host: HostFacts) -> Network:
    """`-o host_access=true`: with an address for the host, and what else it has there. Raises InvalidArgument, and
    Conflict where no address is left.
    """
    if not _flag(network.options.get("host_access", "false")):
        return network
    if network.scope == GLOBAL:
        raise InvalidArgument("host_access is for networks of one host: each host would need an address of its own")
    if network.mode != "bridge":
        raise InvalidArgument(f"host_access needs macvlan_mode=bridge: mode {network.mode} does not let the host in")
    pools = tuple(_with_host(pool, host) for pool in network.pools)
    return msgspec.structs.replace(network, host_access=True, pools=pools)


def vlan(parent: str) -> tuple[str, int]:
    """`eth0.10` → the interface and the number. Raises InvalidArgument, with Docker's words."""
    base, dot, number = parent.rpartition(".")
    if not dot or not base:
        raise InvalidArgument(f"invalid subinterface vlan name {parent}, example formatting is eth0.10")
    if not number.isdecimal():
        raise InvalidArgument(f"unable to parse a valid vlan id from: {parent} (ex. eth0.10 for vlan 10)")
    if not 1 <= int(number) <= 4094:
        raise InvalidArgument(f"vlan id must be between 1-4094, received: {number}")
    return base, int(number)


def _macvlan_mode(options: Mapping[str, str]) -> str:
    mode = options.get("macvlan_mode") or "bridge"
    if mode not in _MACVLAN_MODES:
        raise InvalidArgument(
            f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"
        )
    return mode


def _ipvlan_mode(options: Mapping[str, str]) -> str:
    mode, flag = options.get("ipvlan_mode") or "l2", options.get("ipvlan_flag") or "bridge"
    if mode not in _IPVLAN_MODES:
        raise InvalidArgument(f"requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver default")
    if flag not in _IPVLAN_FLAGS:
        raise InvalidArgument(
            f"requested ipvlan flag '{flag}' is not valid, 'bridge' flag is the ipvlan driver default"
        )
    return mode if flag == "bridge" else f"{mode}.{flag}"


def _is_made(snapshot: Snapshot, parent: str, host: HostFacts) -> bool:
    """Whether we make the parent: one that another network or a plug had us make, or a VLAN that is not there."""
    if any(other.parent == parent and other.parent_made for other in snapshot.networks.values()):
        return True
    if any(plug.made and plug.ground == parent for c in snapshot.containers.values() for plug in c.plugs):
        return True
    there = {interface.name for interface in host.interfaces}
    if parent in there:
        return False
    base, _ = vlan(parent)
    if base not in there:
        raise InvalidArgument(f"-o parent interface was not found on the host: {base}")
    return True


def _check_room(snapshot: Snapshot, network: Network) -> None:
    for other in snapshot.networks.values():
        if other.parent != network.parent:
            continue
        if other.path == "bridge":
            raise Forbidden(
                f"flat network {other.name} has parent interface {network.parent} in a bridge: use mode=macvlan there"
            )
        if network.mode == "passthru":
            raise Forbidden(
                f"cannot use mode passthru, {other.driver} network {other.id} is already using parent interface "
                f"{network.parent}"
            )
        if other.mode == "passthru":
            raise Forbidden(
                f"macvlan network {other.id} is already using parent interface {network.parent} in mode passthru"
            )


def _with_host(pool: Pool, host: HostFacts) -> Pool:
    """The pool with an address for the host's own way in, unless the user gave one; and what the host has there."""
    subnet = ipaddress.ip_network(pool.subnet)
    auxiliary = dict(pool.auxiliary)
    for interface in host.interfaces:
        for text in interface.addresses:
            address = ipaddress.ip_interface(text).ip
            if address in subnet and str(address) not in auxiliary.values():
                auxiliary.setdefault(f"{HOST_ADDRESS}-{interface.name}", str(address))
    if HOST_ADDRESS not in auxiliary:
        taken = {pool.gateway, *auxiliary.values()}
        free = next((address for address in _from_the_end(pool) if address not in taken), "")
        if not free:
            raise Conflict(f"no address of {pool.ip_range or pool.subnet} is left for the host: use a larger range")
        auxiliary[HOST_ADDRESS] = free
    return msgspec.structs.replace(pool, auxiliary=auxiliary)


def _from_the_end(pool: Pool) -> Iterator[str]:
    window = ipaddress.ip_network(pool.ip_range or pool.subnet)
    subnet = ipaddress.ip_network(pool.subnet)
    for number in range(window.num_addresses - 1, -1, -1):
        address = window[number]
        if address not in (subnet.network_address, subnet.broadcast_address):
            yield str(address)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", ""):
        raise InvalidArgument(f"invalid value for host_access: {text!r}: use true or false")
    return text.lower() in ("true", "1")
