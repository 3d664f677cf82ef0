"""Interfaces given by hand, as kernel objects. They are on no network, and so of no driver; but they render as drivers
do, and have no teardown either.

What a plug stands on, where it is ours, is there for as long as a container has the plug, whether it runs or not: an
administrator may have put addresses and cards on that bridge meanwhile. The rest comes and goes with the sandbox.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.drivers.inside import DEFAULT_ROUTES, link_local
from linkspan.model import plug as kinds
from linkspan.model.endpoint import Sandbox
from linkspan.model.plug import Plug
from linkspan.state.objects import HOST, Address, Bridge, Device, KernelObject, NftElement, Nic, Route, Veth
from linkspan.state.switch import OvsBridge, OvsPort

BRIDGE_ALIAS = "linkspan:plug"
_BRIDGE_MTU = 1500
_VLAN_ALIAS = "linkspan:parent"  # of a VLAN that a macvlan network may stand on as well


def render_ground(plug: Plug) -> Iterator[KernelObject]:
    """What it stands on, where we made that: every plug that shares it renders the same."""
    if not plug.made:
        return
    if plug.kind == kinds.BRIDGE:
        yield Bridge(plug.parent, BRIDGE_ALIAS, plug.mtu, plug.bridge_mac)
    elif plug.kind == kinds.OVS:
        # Where it is said that checksums are not to be left to hardware, the switch is in user space.
        datapath = "system" if plug.offload else "netdev"
        yield OvsBridge(plug.parent, BRIDGE_ALIAS, datapath, _BRIDGE_MTU, plug.bridge_mac)
    elif plug.kind == kinds.MACVLAN:
        yield Device(HOST, plug.ground, "vlan", _VLAN_ALIAS, plug.parent, plug.vlan)


def render_plugs(plugs: Iterable[Plug], sandbox: Sandbox) -> Iterator[KernelObject]:
    """The interfaces in a sandbox. Of those with a gateway the last one has the default route."""
    addressed = [plug.addressed(sandbox.id) for plug in plugs]
    leading = {_version(plug.gateway): plug.id for plug in addressed if plug.gateway}
    for plug in addressed:
        yield _link(plug, sandbox.path)
        if plug.kind == kinds.OVS:
            yield _port(plug, sandbox)
            if not plug.offload:
                yield NftElement("switch_ports", f'"{plug.host_interface}"', comment=plug.id[:12])
        yield from _inside(plug, sandbox.path, leads=plug.id in leading.values())


def leading_versions(plugs: Iterable[Plug], sandbox_id: str) -> frozenset[int]:
    """The IP versions whose default route plugs have, instead of the container's networks."""
    gateways = (plug.addressed(sandbox_id).gateway for plug in plugs)
    return frozenset(_version(gateway) for gateway in gateways if gateway)


def _link(plug: Plug, inside: str) -> KernelObject:
    alias = f"linkspan:{plug.id}"
    match plug.kind:
        case kinds.BRIDGE:
            return Veth(
                plug.host_interface, alias, inside, plug.interface, plug.mac, plug.parent, plug.mtu, hairpin=False
            )
        case kinds.OVS:
            name, inner = plug.host_interface, plug.interface
            return Veth(name, alias, inside, inner, plug.mac, "", plug.mtu, hairpin=False, offload=plug.offload)
        case kinds.MACVLAN:
            return Device(inside, plug.interface, "macvlan", alias, plug.ground, "bridge", plug.mac)
        case kinds.DIRECT if plug.vlan:
            return Device(inside, plug.interface, "vlan", alias, plug.parent, plug.vlan, plug.mac)
        case kinds.DIRECT | kinds.WIRELESS:
            wireless = plug.kind == kinds.WIRELESS
            return Nic(inside, plug.interface, plug.parent, plug.parent_mac, plug.mac, wireless)
        case kinds.IPOIB:
            return Device(inside, plug.interface, "ipoib", alias, plug.parent, plug.vlan)
        case kinds.DUMMY:
            return Device(inside, plug.interface, "dummy", alias, mac=plug.mac)
    raise ValueError(plug.kind)


def _port(plug: Plug, sandbox: Sandbox) -> OvsPort:
    """What the database says of it is what ovs-docker and pipework have it say."""
    said = {
        "container_id": sandbox.container_id,
        "container_iface": plug.interface,
        "pipework.bridge": plug.parent,
        "pipework.containerid": sandbox.container_id,
        "pipework.interface": plug.interface,
        **({"pipework.vlan": plug.vlan} if plug.vlan else {}),
    }
    alias = f"linkspan:{plug.id}"
    return OvsPort(plug.parent, plug.host_interface, alias, tag=int(plug.vlan or 0), said=tuple(sorted(said.items())))


def _inside(plug: Plug, inside: str, *, leads: bool) -> Iterator[KernelObject]:
    if not plug.address:
        return
    own = ipaddress.ip_interface(f"{plug.address}/{plug.prefix_length}")
    yield Address(inside, plug.interface, str(own))
    if own.version == 6 and plug.mac:
        yield Address(inside, plug.interface, f"{link_local(plug.mac)}/64")
    if not leads:
        return
    gateway = ipaddress.ip_address(plug.gateway)
    if gateway not in own.network and not gateway.is_link_local:
        yield Route(inside, f"{gateway}/{gateway.max_prefixlen}", plug.interface)
    yield Route(inside, DEFAULT_ROUTES[own.version], plug.interface, str(gateway))


def _version(address: str) -> int:
    return 6 if ":" in address else 4
