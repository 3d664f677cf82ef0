"""Links and addresses: each function one packet of messages to the kernel, or one dump parsed.

A socket argument decides the namespace. Everything raises OSError; who calls says what it was about. Formats:
linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import ipaddress
import os
import socket
import struct
from collections.abc import Mapping

from linkspan.kernel.contract import Interface, Statistics
from linkspan.kernel.devices import device_data, ipip_refused, vxlan_data
from linkspan.kernel.netlink import (
    ACK,
    CREATE,
    EXCL,
    NetlinkSocket,
    attribute,
    attributes,
    nested,
    number,
    string,
    text,
    u8,
    u32,
)
from linkspan.model.network import LEAST_MTU6
from linkspan.state.objects import Address, Bridge, Device, Joint, Veth, Vxlan

PROTOCOL = 76  # "L"; free in iproute2's rt_protos. Marks our routes, and (since Linux 5.18) our addresses
ALIAS = "linkspan:"
FAR_END = ":far"  # of the alias, at the other end of a veth pair that has both ends on the host

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22

_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDR = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index

_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("=16si20x")  # name, index

_UP, _LOOPBACK, _NOARP, _LOWER_UP = 0x1, 0x8, 0x80, 0x10000
_OPERSTATE, _OPERATING = 16, b"\6"
_INFINIBAND = 32  # ARPHRD_INFINIBAND
_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_NODAD, _PERMANENT = 0x2, 0x80

# IFLA_…
_ADDRESS, _IFNAME, _MTU, _PEER_INDEX, _MASTER, _LINKINFO, _IFALIAS = 1, 3, 4, 5, 10, 18, 20
_STATS64, _AF_SPEC, _GROUP, _NET_NS_FD = 23, 26, 27, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_GOING = 0x6C73676F  # the link group of what is about to be deleted together
_BRPORT_HAIRPIN, _BRPORT_ISOLATED = 4, 33
# What a port does with frames that the bridge sends to all, whether it learns from what it hears, and whether ARP and
# neighbour discovery for whom is behind it are answered by the bridge: that of a tunnel.
_BRPORT_LEARNING, _BRPORT_FLOOD, _BRPORT_MCAST_FLOOD, _BRPORT_BCAST_FLOOD, _BRPORT_SUPPRESS = 8, 9, 27, 30, 32
_SENT_TO_ALL = (_BRPORT_FLOOD, _BRPORT_MCAST_FLOOD, _BRPORT_BCAST_FLOOD)
# Of two addresses in one subnet the second is secondary, and goes with the first unless told otherwise: a new address
# can only be added before the old one goes if it is.
_PROMOTE_SECONDARIES = nested(_AF_SPEC, nested(socket.AF_INET, nested(1, u32(20, 1))))
# An IPv4 network's ends have no IPv6 address: each would announce itself to every port of the bridge (25 ms of CPU on
# one with 1,000 ports). Said in a message of its own before the link goes up, as an address is made at that moment.
_NO_LINK_LOCAL = nested(_AF_SPEC, nested(socket.AF_INET6, u8(8, 1)))  # IFLA_INET6_ADDR_GEN_MODE: none


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """An interface with what only a bridge's ports and veth ends have."""

    interface: Interface
    peer_index: int  # of a veth's other end, in its own namespace; of what a macvlan stands on
    master_index: int
    hairpin: bool
    isolated: bool
    quiet: bool  # a tunnel's port, as ours are
    floods: bool  # the same, of one that takes what is sent to all
    statistics: bytes
    data: bytes = b""  # what only this kind of link has


# --- links


def links(inside: NetlinkSocket) -> list[Link]:
    """All links of a namespace, without addresses, in index order."""
    found = [_parse_link(body) for body in inside.dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0))]
    names = {item.interface.index: item.interface.name for item in found}
    return sorted(
        (
            dataclasses.replace(
                item, interface=dataclasses.replace(item.interface, master=names.get(item.master_index, ""))
            )
            if item.master_index
            else item
            for item in found
        ),
        key=lambda item: item.interface.index,
    )


def link(inside: NetlinkSocket, name: str) -> Link:
    """One link; its master's name is not filled in. OSError(ENODEV) if there is none."""
    return _parse_link(inside.request([(_GETLINK, ACK, _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name))])[0][0])


def index_of(inside: NetlinkSocket, name: str) -> int:
    """The index of a link that is there; OSError(ENODEV) if it is not.

    By ioctl, which a netlink socket answers for its namespace too, in a tenth of the time that a whole link takes to be
    told. For one that may well be missing, `link` is better: the ioctl asks for a kernel module of that name first.
    """
    encoded = name.encode()
    if len(encoded) > 15 or ":" in name:  # no link has such a name, and the kernel would cut it short
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    answer = fcntl.ioctl(inside.fileno(), _SIOCGIFINDEX, _IFREQ.pack(encoded, 0))
    return int(_IFREQ.unpack(answer)[1])


def interfaces(inside: NetlinkSocket) -> tuple[Interface, ...]:
    held: dict[int, list[str]] = {}
    for entry in addresses(inside):
        held.setdefault(entry.index, []).append(entry.address)
    return tuple(
        dataclasses.replace(item.interface, addresses=tuple(held.get(item.interface.index, ())))
        for item in links(inside)
    )


def statistics(inside: NetlinkSocket, name: str) -> Statistics:
    # struct rtnl_link_stats64: rx, tx packets; rx, tx bytes; rx, tx errors; rx, tx dropped; …
    counters = struct.unpack_from("=8Q", link(inside, name).statistics)
    return Statistics(
        rx_bytes=counters[2],
        rx_packets=counters[0],
        rx_errors=counters[4],
        rx_dropped=counters[6],
        tx_bytes=counters[3],
        tx_packets=counters[1],
        tx_errors=counters[5],
        tx_dropped=counters[7],
    )


def up(inside: NetlinkSocket, name: str) -> None:
    inside.request([(_NEWLINK, ACK, _LINK.pack(0, 0, 0, _UP, _UP) + text(_IFNAME, name))])


def adopt(host: NetlinkSocket, name: str, alias: str, mtu: int) -> None:
    """An interface that another program made for us: up, with our alias, and an MTU where one is given."""
    settings = text(_IFNAME, name) + text(_IFALIAS, alias) + (u32(_MTU, mtu) if mtu else b"")
    _put_up(host, *_no_link_local(text(_IFNAME, name), mtu), settings + _PROMOTE_SECONDARIES)


def create_bridge(host: NetlinkSocket, bridge: Bridge) -> None:
    """OSError(EEXIST) where the name is taken; a failure leaves nothing."""
    mac = bridge.mac or _stable_mac(bridge.alias)
    _create(
        host,
        bridge.name,
        # A bridge follows the lowest mtu of its ports until its own is *changed*: so it is made with another one.
        text(_IFNAME, bridge.name)
        + _mac(mac)
        + u32(_MTU, bridge.mtu - 1)
        + nested(_LINKINFO, text(_INFO_KIND, "bridge")),
        text(_IFNAME, bridge.name) + text(_IFALIAS, bridge.alias) + u32(_MTU, bridge.mtu) + _PROMOTE_SECONDARIES,
    )


def change_bridge(host: NetlinkSocket, bridge: Bridge) -> None:
    settings = text(_IFNAME, bridge.name) + text(_IFALIAS, bridge.alias) + u32(_MTU, bridge.mtu)
    if bridge.mac:
        settings += _mac(bridge.mac)
    _put_up(host, settings + _PROMOTE_SECONDARIES)


def create_veth(host: NetlinkSocket, veth: Veth, namespace: int | None) -> None:
    """`namespace` is a descriptor of the peer's; None is the host's own. OSError(EEXIST) where either name is taken."""
    peer = text(_IFNAME, veth.peer) + _mac(veth.mac) + u32(_MTU, veth.mtu)
    if namespace is not None:
        peer += u32(_NET_NS_FD, namespace)
    creation = (
        text(_IFNAME, veth.name)
        + u32(_MTU, veth.mtu)
        + nested(
            _LINKINFO,
            text(_INFO_KIND, "veth"),
            nested(_INFO_DATA, nested(_VETH_PEER, _LINK.pack(0, 0, 0, 0, 0) + peer)),
        )
    )
    if veth.bridge:
        creation += u32(_MASTER, index_of(host, veth.bridge))
    _create(host, veth.name, creation, *_no_link_local(text(_IFNAME, veth.name), veth.mtu), _port(veth))


def change_veth(host: NetlinkSocket, inside: NetlinkSocket, veth: Veth) -> None:
    """Everything but names and place."""
    master = index_of(host, veth.bridge) if veth.bridge else 0
    _put_up(host, text(_IFNAME, veth.name) + u32(_MTU, veth.mtu) + u32(_MASTER, master), _port(veth))
    up_peer(inside, veth)


def up_peer(inside: NetlinkSocket, veth: Veth) -> None:
    name = text(_IFNAME, veth.peer)
    settings = name + _mac(veth.mac) + u32(_MTU, veth.mtu) + _PROMOTE_SECONDARIES
    _put_up(inside, settings, *_no_link_local(name, veth.mtu), name)  # with a larger MTU it may have IPv6 only now


def deaf(host: NetlinkSocket, name: str) -> None:
    """The kernel takes no part in ARP at this interface: another program has it."""
    host.request([(_NEWLINK, ACK, _LINK.pack(0, 0, 0, _NOARP, _NOARP) + text(_IFNAME, name))])


def create_joint(host: NetlinkSocket, joint: Joint) -> None:
    """OSError(EEXIST) where either name is taken."""
    peer = text(_IFNAME, joint.peer) + u32(_MTU, joint.mtu)
    pair = nested(_INFO_DATA, nested(_VETH_PEER, _LINK.pack(0, 0, 0, 0, 0) + peer))
    creation = text(_IFNAME, joint.name) + u32(_MTU, joint.mtu) + nested(_LINKINFO, text(_INFO_KIND, "veth"), pair)
    host.request([(_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + creation)])
    try:
        change_joint(host, joint)
    except OSError:
        delete_link(host, joint.name)
        raise


def change_joint(host: NetlinkSocket, joint: Joint) -> None:
    """Everything but the names. What comes over it does not go back over it: there hairpin would be a loop."""
    for name, alias, bridge, isolated in (
        (joint.name, joint.alias, joint.bridge, False),
        (joint.peer, joint.alias + FAR_END, joint.peer_bridge, joint.isolated),
    ):
        master = u32(_MASTER, index_of(host, bridge))
        port = _bridge_port(hairpin=False, isolated=isolated)
        named = text(_IFNAME, name)
        settings = named + u32(_MTU, joint.mtu) + master
        _put_up(host, settings, *_no_link_local(named, joint.mtu), named + text(_IFALIAS, alias) + port)


def delete_link(host: NetlinkSocket, name: str) -> None:
    _tolerate(host, _DELLINK, _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name), errno.ENODEV)


def delete_links(host: NetlinkSocket, names: list[str]) -> None:
    """Several at once: the kernel waits some 20 ms for every CPU to let go of a link, or of a whole group of them."""
    for name in names:
        body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name) + u32(_GROUP, _GOING)
        _tolerate(host, _NEWLINK, body, errno.ENODEV)
    _tolerate(host, _DELLINK, _LINK.pack(0, 0, 0, 0, 0) + u32(_GROUP, _GOING), errno.ENODEV)


def create_device(host: NetlinkSocket, inside: NetlinkSocket, device: Device, namespace: int | None) -> None:
    """`namespace` is a descriptor of the device's; None is the host's own. OSError(EEXIST) where its name is taken."""
    creation = text(_IFNAME, device.name) + _mac(device.mac)
    if device.mtu:
        creation += u32(_MTU, device.mtu)
    if device.parent:
        creation += u32(_PEER_INDEX, index_of(host, device.parent))
    if namespace is not None:
        creation += u32(_NET_NS_FD, namespace)
    data = device_data(device.kind, device.mode)
    creation += nested(_LINKINFO, text(_INFO_KIND, device.kind), nested(_INFO_DATA, data) if data else b"")
    host.request([(_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + creation)])
    try:
        # In passthru the MAC is the parent's at first: whoever asks for another one gives it to both.
        change_device(inside, device)
    except OSError:
        delete_link(inside, device.name)
        raise


def has_ipip(host: NetlinkSocket) -> bool:
    """Whether the kernel knows such links, found out without one."""
    body = text(_IFNAME, "ls-ipip") + nested(_LINKINFO, text(_INFO_KIND, "ipip"), nested(_INFO_DATA, ipip_refused()))
    try:
        host.request([(_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + body)])
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    delete_link(host, "ls-ipip")
    return True


def change_device(inside: NetlinkSocket, device: Device) -> None:
    """Everything but name, kind, parent and mode."""
    name = text(_IFNAME, device.name)
    settings = name + text(_IFALIAS, device.alias) + _mac(device.mac) + _PROMOTE_SECONDARIES
    if device.mtu:
        settings += u32(_MTU, device.mtu)
    _put_up(inside, *_no_link_local(name, device.mtu), settings)


def create_vxlan(host: NetlinkSocket, vxlan: Vxlan) -> None:
    """OSError(EEXIST) where its name is taken, or its number on its port; EADDRINUSE where the port is."""
    creation = text(_IFNAME, vxlan.name) + _mac(vxlan.mac) + u32(_MTU, vxlan.mtu)
    data = vxlan_data(vxlan, index_of(host, vxlan.link) if vxlan.link else 0)
    creation += nested(_LINKINFO, text(_INFO_KIND, "vxlan"), nested(_INFO_DATA, data))
    host.request([(_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + creation)])
    try:
        change_vxlan(host, vxlan)
    except OSError:
        delete_link(host, vxlan.name)
        raise


def change_vxlan(host: NetlinkSocket, vxlan: Vxlan) -> None:
    """Everything but its name and what it is a tunnel for."""
    name = text(_IFNAME, vxlan.name)
    settings = name + text(_IFALIAS, vxlan.alias) + _mac(vxlan.mac) + u32(_MTU, vxlan.mtu)
    settings += u32(_MASTER, index_of(host, vxlan.bridge) if vxlan.bridge else 0)
    kinds = _port_of_tunnel(floods=vxlan.floods)
    port = b"".join(u8(kind, value) for kind, value in kinds.items()) + u8(_BRPORT_ISOLATED, vxlan.isolated)
    slave = nested(_LINKINFO, text(_INFO_SLAVE_KIND, "bridge"), nested(_INFO_SLAVE_DATA, port))
    _put_up(host, *_no_link_local(name, vxlan.mtu), settings, name + (slave if vxlan.bridge else b""))


def _port_of_tunnel(*, floods: bool) -> dict[int, bool]:
    return {_BRPORT_LEARNING: False, **dict.fromkeys(_SENT_TO_ALL, floods), _BRPORT_SUPPRESS: not floods}


def _is_tunnels(port: Mapping[int, bytes], *, floods: bool) -> bool:
    return all(port.get(kind) == bytes((value,)) for kind, value in _port_of_tunnel(floods=floods).items())


def move(inside: NetlinkSocket, index: int, namespace: int, name: str, alias: str, mac: str = "") -> None:
    """A link into the namespace of a descriptor, with another name and alias: all of it or nothing. It is down then."""
    settings = text(_IFNAME, name) + text(_IFALIAS, alias) + u32(_NET_NS_FD, namespace) + _mac(mac)
    inside.request([(_NEWLINK, ACK, _LINK.pack(0, 0, index, 0, 0) + settings)])


def change_nic(inside: NetlinkSocket, name: str, mac: str) -> None:
    _put_up(inside, text(_IFNAME, name) + _mac(mac))


def put_flat_bridge(host: NetlinkSocket, name: str, alias: str, mac: str, mtu: int, *, new: bool) -> None:
    """A bridge for an interface of the host's own, with its MAC address and MTU as far as given; not up by this.

    Made and marked in one packet, so that there is none without its mark: whoever calls has looked for that name.
    """
    settings = text(_IFNAME, name) + text(_IFALIAS, alias) + _mac(mac) + (u32(_MTU, mtu) if mtu else b"")
    steps = [(_NEWLINK, ACK, _LINK.pack(0, 0, 0, 0, 0) + settings + _PROMOTE_SECONDARIES)]
    if new:
        # A bridge follows the lowest mtu of its ports until its own is *changed*.
        made = text(_IFNAME, name) + _mac(mac) + (u32(_MTU, mtu - 1) if mtu else b"")
        made += nested(_LINKINFO, text(_INFO_KIND, "bridge"))
        steps.insert(0, (_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + made))
    host.request(steps)


def set_master(host: NetlinkSocket, index: int, master: int) -> None:
    """The bridge that a link is a port of; 0 is none."""
    host.request([(_NEWLINK, ACK, _LINK.pack(0, 0, index, 0, 0) + u32(_MASTER, master))])


def sends(host: NetlinkSocket, name: str) -> bool:
    """Whether what is sent over a link leaves it. (A carrier alone does not say so: the kernel follows it a moment
    later. Some hardware tells no state beside its carrier; a bridge whose state is not known yet does not send.)"""
    body = host.request([(_GETLINK, ACK, _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name))])[0][0]
    found, carrier = attributes(body, _LINK.size), bool(_LINK.unpack_from(body)[3] & _LOWER_UP)
    unknown = found.get(_OPERSTATE) == b"\0" and _LINKINFO not in found
    return carrier and (unknown or found.get(_OPERSTATE) == _OPERATING)


def create_ifb(inside: NetlinkSocket, name: str) -> None:
    creation = text(_IFNAME, name) + nested(_LINKINFO, text(_INFO_KIND, "ifb"))
    inside.request([(_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, _UP, _UP) + creation)])


def _port(veth: Veth) -> bytes:
    settings = text(_IFNAME, veth.name) + text(_IFALIAS, veth.alias)
    if veth.bridge:
        settings += _bridge_port(hairpin=veth.hairpin, isolated=veth.isolated)
    return settings


def _bridge_port(*, hairpin: bool, isolated: bool) -> bytes:
    return nested(
        _LINKINFO,
        text(_INFO_SLAVE_KIND, "bridge"),
        nested(_INFO_SLAVE_DATA, u8(_BRPORT_HAIRPIN, hairpin), u8(_BRPORT_ISOLATED, isolated)),
    )


def _create(host: NetlinkSocket, name: str, creation: bytes, *settings: bytes) -> None:
    # Two packets: in one, the kernel would go on and give our settings to somebody else's link of that name.
    host.request([(_NEWLINK, ACK | CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + creation)])
    try:
        _put_up(host, *settings)
    except OSError:
        delete_link(host, name)
        raise


def _no_link_local(name: bytes, mtu: int) -> tuple[bytes, ...]:
    """The message that keeps a link from giving itself an IPv6 address; none where its MTU is too small for IPv6."""
    return () if 0 < mtu < LEAST_MTU6 else (name + _NO_LINK_LOCAL,)


def _put_up(inside: NetlinkSocket, *settings: bytes) -> None:
    """Each of the settings in a message of its own, one packet; the last puts its link up."""
    last = len(settings) - 1
    inside.request(
        [
            (_NEWLINK, ACK, _LINK.pack(0, 0, 0, _UP if i == last else 0, _UP if i == last else 0) + body)
            for i, body in enumerate(settings)
        ]
    )


def _tolerate(inside: NetlinkSocket, kind: int, body: bytes, *accepted: int, flags: int = 0) -> None:
    try:
        inside.request([(kind, ACK | flags, body)])
    except OSError as error:
        if error.errno not in accepted:
            raise


def _mac(address: str) -> bytes:
    return attribute(_ADDRESS, bytes.fromhex(address.replace(":", ""))) if address else b""


def _stable_mac(alias: str) -> str:
    # Left alone, a bridge takes the lowest MAC of its ports, and changes with them.
    return "02:42:" + hashlib.sha256(alias.encode()).digest()[:4].hex(":")


def _parse_link(body: bytes) -> Link:
    _, hardware, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    info = attributes(found.get(_LINKINFO, b""))
    port = attributes(info.get(_INFO_SLAVE_DATA, b"")) if info.get(_INFO_SLAVE_KIND) == b"bridge\0" else {}
    return Link(
        interface=Interface(
            index=index,
            name=string(found[_IFNAME]),
            kind=string(info.get(_INFO_KIND, b"")),
            mac=found.get(_ADDRESS, b"").hex(":"),
            mtu=number(found.get(_MTU, b"")),
            up=bool(flags & _UP),
            loopback=bool(flags & _LOOPBACK),
            alias=string(found.get(_IFALIAS, b"")),
            infiniband=hardware == _INFINIBAND,
        ),
        peer_index=number(found.get(_PEER_INDEX, b"")),
        master_index=number(found.get(_MASTER, b"")),
        hairpin=port.get(_BRPORT_HAIRPIN) == b"\1",
        isolated=port.get(_BRPORT_ISOLATED) == b"\1",
        quiet=_is_tunnels(port, floods=False),
        floods=_is_tunnels(port, floods=True),
        statistics=found.get(_STATS64, b""),
        data=info.get(_INFO_DATA, b""),
    )


# --- addresses


@dataclasses.dataclass(frozen=True, slots=True)
class AddressEntry:
    index: int
    address: str  # with its prefix length
    ours: bool
    own: bool = False  # of the scope of a host


def addresses(inside: NetlinkSocket) -> list[AddressEntry]:
    """All addresses of a namespace, except those that IPv6 gives every interface by itself (link-local)."""
    found = []
    for body in inside.dump(_GETADDR, _ADDR.pack(0, 0, 0, 0, 0)):
        family, length, _, scope, index = _ADDR.unpack_from(body)
        values = attributes(body, _ADDR.size)
        ours = values.get(11) == bytes((PROTOCOL,))  # IFA_PROTO
        if family == socket.AF_INET6 and scope == _SCOPE_LINK and not ours:
            continue
        address = ipaddress.ip_address(values.get(2) or values[1])  # IFA_LOCAL, or IFA_ADDRESS
        found.append(AddressEntry(index, f"{address}/{length}", ours, scope == _SCOPE_HOST))
    return found


def add_address(inside: NetlinkSocket, address: Address) -> None:
    """There already is success."""
    _tolerate(inside, _NEWADDR, _address(inside, address), errno.EEXIST, flags=CREATE | EXCL)


def delete_address(inside: NetlinkSocket, address: Address) -> None:
    try:
        body = _address(inside, address)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return
        raise
    _tolerate(inside, _DELADDR, body, errno.EADDRNOTAVAIL, errno.ENODEV)


def _address(inside: NetlinkSocket, address: Address) -> bytes:
    local = ipaddress.ip_interface(address.address)
    index = index_of(inside, address.interface)
    family = socket.AF_INET6 if local.version == 6 else socket.AF_INET
    flags = _NODAD if local.version == 6 else 0  # nobody else hands out addresses on our bridges: nothing to detect
    scope = _SCOPE_HOST if address.own else _UNIVERSE
    body = _ADDR.pack(family, local.network.prefixlen, flags, scope, index)
    body += attribute(2, local.packed) + attribute(1, local.packed) + u8(11, PROTOCOL)
    if local.version == 4 and local.network.prefixlen < 31:  # programs ask the interface where everybody hears them
        body += attribute(4, local.network.broadcast_address.packed)
    return body
