"""Interfaces given by hand: what a plug stands on, what may be given, and taking it away again."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from linkspan.engine.change import Change
from linkspan.engine.plug_request import PlugRequest, parse_vlan
from linkspan.errors import Conflict, Forbidden, InvalidArgument, NotFound, Unavailable
from linkspan.ipam.names import veth_name
from linkspan.model.cluster import GLOBAL
from linkspan.model.container import Container
from linkspan.model.network import Network
from linkspan.model.plug import BRIDGE, DIRECT, DUMMY, IPOIB, MACVLAN, OVS, WIRELESS, Lease, Plug
from linkspan.model.snapshot import Snapshot, put
from linkspan.state.host import HostFacts, HostInterface

_USUAL, _USUAL_IPOIB = "eth1", "ib0"  # pipework's names


def plug(snapshot: Snapshot, container: Container, asked: PlugRequest, host: HostFacts, id_: str) -> Change:
    """One more interface, at once where the container runs; `id_` is fresh.

    Raises InvalidArgument (what cannot be), NotFound (no such interface on the host), Conflict (a name, address or card
    that is taken), Forbidden, Unsupported.
    """
    if container.shares_sandbox or container.host_config.network_mode == "host":
        raise InvalidArgument(f"container {container.name} has no network of its own: it uses the host's")
    made = _standing(snapshot, asked, host, id_)
    _check_name(snapshot, container, made)
    made = _addressed(snapshot, container, asked, made, host)
    return Change((put(msgspec.structs.replace(container, plugs=(*container.plugs, made))),))


def unplug(container: Container, interface: str) -> Change:
    """Takes an interface away. Raises NotFound."""
    if not any(plug.interface == interface for plug in container.plugs):
        raise NotFound(f"container {container.name} was given no interface {interface}")
    left = tuple(plug for plug in container.plugs if plug.interface != interface)
    return Change((put(msgspec.structs.replace(container, plugs=left)),))


def set_vlan(container: Container, bridge: str, interface: str, vlan: str) -> Change:
    """The VLAN of a port of Open vSwitch's; "" is none. Raises NotFound, InvalidArgument."""
    found = next((p for p in container.plugs if (p.kind, p.parent, p.interface) == (OVS, bridge, interface)), None)
    if found is None:
        raise NotFound(
            f"container {container.name} was given no interface {interface} on a bridge {bridge} of Open vSwitch's"
        )
    tagged = msgspec.structs.replace(found, vlan=str(parse_vlan(vlan)) if vlan else "")
    plugs = tuple(tagged if plug is found else plug for plug in container.plugs)
    return Change((put(msgspec.structs.replace(container, plugs=plugs)),)) if tagged != found else Change()


def leased(container: Container, plug_id: str, lease: Lease | None) -> Change:
    """What DHCP has given, or taken back. A plug that is gone meanwhile changes nothing."""
    plugs = tuple(msgspec.structs.replace(p, lease=lease) if p.id == plug_id else p for p in container.plugs)
    return Change((put(msgspec.structs.replace(container, plugs=plugs)),)) if plugs != container.plugs else Change()


# -- what it stands on ------------------------------------------------------------------------------------------------


def _standing(snapshot: Snapshot, asked: PlugRequest, host: HostFacts, id_: str) -> Plug:
    there = _find(asked, host)
    name = there.name if there else asked.host_interface
    kind = _kind_of(asked, name, there, host)
    bare = Plug(
        id=id_,
        interface=asked.interface or (_USUAL_IPOIB if kind == IPOIB else _USUAL),
        kind=kind,
        parent=name,
        vlan=asked.vlan,
        mac=asked.mac or _mac(id_),
        mtu=asked.mtu or (there.mtu if there else 1500),
        dhcp=asked.dhcp,
    )
    if asked.direct and kind != MACVLAN:
        raise InvalidArgument(f"--direct-phys moves a network card, and {name} is none")
    if asked.host_end and kind not in (BRIDGE, OVS):
        raise InvalidArgument(f"-l names the end on a bridge, and {name} is none")
    if kind == BRIDGE:
        return _on_bridge(snapshot, asked, bare, there, host)
    if kind == OVS:
        return _on_switch(snapshot, asked, bare, there, host)
    if kind == IPOIB:
        if asked.mac:
            raise InvalidArgument(f"{name} is InfiniBand: its interfaces take no MAC address")
        return msgspec.structs.replace(bare, mac="", vlan=asked.vlan.zfill(4) if asked.vlan else "")
    if kind == DUMMY:
        _refuse_vlan(asked, "a dummy interface")
        return msgspec.structs.replace(bare, parent="")
    assert there is not None
    if there.loopback:
        raise InvalidArgument(f"{name} is the loopback interface: nothing can stand on it")
    if asked.vlan:
        parse_vlan(asked.vlan)
    if kind == WIRELESS or (asked.direct and not asked.vlan):
        _refuse_vlan(asked, "a wireless card")
        _check_movable(snapshot, there, host)
        kind = WIRELESS if kind == WIRELESS else DIRECT
        return msgspec.structs.replace(bare, kind=kind, mac=asked.mac, parent_mac=there.mac)
    if asked.direct:
        return msgspec.structs.replace(bare, kind=DIRECT)
    if there.master and not asked.vlan:
        raise Conflict(f"{name} is a port of bridge {there.master}: use the bridge")
    return _on_card(snapshot, bare, host)


def _find(asked: PlugRequest, host: HostFacts) -> HostInterface | None:
    if not asked.host_mac:
        return next((i for i in host.interfaces if i.name == asked.host_interface), None)
    # A VLAN has the MAC of the card that it stands on, and a bridge often that of one of its ports: the card is meant.
    found = [i for i in host.interfaces if i.mac == asked.host_mac]
    if not found:
        raise NotFound(f"no interface of the host has the MAC address {asked.host_mac}")
    return min(found, key=lambda i: bool(i.kind))


def _kind_of(asked: PlugRequest, name: str, there: HostInterface | None, host: HostFacts) -> str:
    if asked.switch or name in dict(host.switch.bridges):
        return OVS
    return _kind(there) if there else _kind_by_name(name)


def _kind(there: HostInterface) -> str:
    if there.kind == "bridge":
        return BRIDGE
    if there.infiniband:
        return IPOIB
    return WIRELESS if there.wireless else MACVLAN


def _kind_by_name(name: str) -> str:
    """Of an interface that is not there: by its name it is told what is to be made."""
    for prefix, kind in (("br", BRIDGE), ("ovs", OVS), ("dummy", DUMMY)):
        if name.startswith(prefix):
            return kind
    raise NotFound(f"there is no interface {name} on this host; one named br… would be made, as a bridge")


def _on_bridge(
    snapshot: Snapshot, asked: PlugRequest, bare: Plug, there: HostInterface | None, host: HostFacts
) -> Plug:
    _refuse_vlan(asked, "a Linux bridge")
    end = _host_end(snapshot, asked, bare, host)
    made = next((p for _, p in _plugs(snapshot) if p.made and p.kind == BRIDGE and p.parent == bare.parent), None)
    if made or there is None:
        mac, mtu = (made.bridge_mac, made.mtu) if made else ("02:42:" + _mac(bare.id)[6:], 1500)
        bare = msgspec.structs.replace(bare, made=True, bridge_mac=mac, mtu=mtu)
    return msgspec.structs.replace(bare, host_interface=end)


def _on_switch(
    snapshot: Snapshot, asked: PlugRequest, bare: Plug, there: HostInterface | None, host: HostFacts
) -> Plug:
    """A bridge that there is not is made, in the data path that this host has."""
    switch = host.switch
    if switch.problem:
        raise Unavailable(switch.problem)
    if asked.vlan:
        parse_vlan(asked.vlan)
    made = next((p for _, p in _plugs(snapshot) if p.made and p.kind == OVS and p.parent == bare.parent), None)
    datapath = dict(switch.bridges).get(bare.parent, "")
    if there and not datapath:
        raise Conflict(f"interface {bare.parent} exists already, and is no bridge of Open vSwitch's")
    bare = msgspec.structs.replace(
        bare,
        host_interface=_host_end(snapshot, asked, bare, host),
        offload=(datapath or switch.datapath) != "netdev",
    )
    if made is None and datapath:
        return bare
    mac = made.bridge_mac if made else "02:42:" + _mac(bare.id)[6:]
    return msgspec.structs.replace(bare, made=True, bridge_mac=mac)


def _host_end(snapshot: Snapshot, asked: PlugRequest, bare: Plug, host: HostFacts) -> str:
    """Of a veth pair. Raises Conflict where the name asked for is taken."""
    end = asked.host_end or veth_name(bare.id)
    if any(i.name == end for i in host.interfaces) or any(p.host_interface == end for _, p in _plugs(snapshot)):
        raise Conflict(f"interface {end} exists already on the host: choose another name with -l")
    return end


def _on_card(snapshot: Snapshot, bare: Plug, host: HostFacts) -> Plug:
    for network in snapshot.networks.values():
        if network.parent == bare.ground and network.mode == "passthru":
            raise Conflict(f"{bare.ground} is network {network.name}'s alone, in mode passthru")
    for container, other in _plugs(snapshot):
        if other.kind in (DIRECT, WIRELESS) and other.parent == bare.parent and not other.vlan:
            raise Conflict(f"network card {bare.parent} was given to container {container.name}")
    if not bare.vlan:
        return bare
    there = next((i for i in host.interfaces if i.name == bare.ground), None)
    if there and there.kind != "vlan":
        raise Conflict(f"interface {bare.ground} exists already, and is no VLAN")
    ours = any(p.made and p.ground == bare.ground for _, p in _plugs(snapshot)) or any(
        network.parent == bare.ground and network.parent_made for network in snapshot.networks.values()
    )
    return msgspec.structs.replace(bare, made=ours or there is None)


def _check_movable(snapshot: Snapshot, card: HostInterface, host: HostFacts) -> None:
    """A card that moves is gone from the host: nothing of it may be in use there."""
    if card.name in host.leading_out:
        raise Forbidden(f"the host's default route leads over {card.name}: moving it would cut the host off")
    if host.underlay and host.underlay.interface == card.name:
        raise Forbidden(f"the other hosts of the cluster reach this one over {card.name}")
    if card.master:
        raise Conflict(f"{card.name} is a port of bridge {card.master}: take it out first")
    for network in snapshot.networks.values():
        if network.parent == card.name or network.parent.startswith(f"{card.name}."):
            raise Conflict(f"network {network.name} stands on {card.name}")
    for container, other in _plugs(snapshot):
        if other.kind != BRIDGE and other.parent == card.name:
            raise Conflict(f"interface {other.interface} of container {container.name} stands on {card.name}")


def _refuse_vlan(asked: PlugRequest, what: str) -> None:
    if asked.vlan:
        raise InvalidArgument(f"@{asked.vlan}: {what} has no VLANs here; name the network card, or Open vSwitch")


# -- what it is called, and its address -------------------------------------------------------------------------------


def _check_name(snapshot: Snapshot, container: Container, made: Plug) -> None:
    taken = {p.interface for p in container.plugs} | {e.interface for e in snapshot.endpoints_in(container)}
    if made.interface in taken:
        raise Conflict(
            f"interface {made.interface} exists already in container {container.name}: choose another name with -i"
        )


def _addressed(snapshot: Snapshot, container: Container, asked: PlugRequest, made: Plug, host: HostFacts) -> Plug:
    if not asked.address:
        return made
    own = ipaddress.ip_interface(asked.address)
    for interface in host.interfaces:
        if interface.name == made.ground and any(str(own.ip) == a.partition("/")[0] for a in interface.addresses):
            raise Conflict(f"{own.ip} is the host's own address on {interface.name}")
    for other, theirs in _plugs(snapshot):
        if theirs.parent and (theirs.ground, theirs.address) == (made.ground, str(own.ip)):
            raise Conflict(f"Address already in use: {own.ip} on {made.ground} was given to container {other.name}")
    network = _network_of(snapshot, made, own.ip)
    if network:
        _check_address(snapshot, container, network, own.ip)
    return msgspec.structs.replace(
        made,
        address=str(own.ip),
        prefix_length=own.network.prefixlen,
        gateway=asked.gateway,
        network_id=network.id if network else "",
    )


def _network_of(
    snapshot: Snapshot, made: Plug, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> Network | None:
    """The network on the same wire that gives out such addresses too."""
    return next(
        (
            network
            for network in snapshot.networks.values()
            if made.ground in (network.bridge, network.parent) and made.ground
            if any(address in ipaddress.ip_network(pool.subnet) for pool in network.pools)
        ),
        None,
    )


def _check_address(
    snapshot: Snapshot,
    container: Container,
    network: Network,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if network.scope == GLOBAL:  # what its hosts know of each other's addresses are those of endpoints
        raise Conflict(
            f"{address} is of network {network.name}, whose addresses the cluster gives out: "
            f"connect the container to it, with --ip {address}"
        )
    holder = snapshot.endpoints.get(snapshot.address_holders.get((network.id, int(address)), ""))
    owner = holder.container_id if holder else snapshot.claims.address_owner(network.id, int(address))
    if owner:
        name = snapshot.containers[owner].name
        raise Conflict(f"Address already in use: {address} on network {network.name} is that of container {name}")
    if any(str(address) in (pool.gateway, *pool.auxiliary.values()) for pool in network.pools):
        raise Conflict(f"Address already in use: {address} is set aside on network {network.name}")


def _plugs(snapshot: Snapshot) -> Iterator[tuple[Container, Plug]]:
    return ((container, plug) for container in snapshot.containers.values() for plug in container.plugs)


def _mac(id_: str) -> str:
    """A local address that follows from the plug: the same at each start."""
    return "02:" + ":".join(id_[i : i + 2] for i in range(0, 10, 2))
