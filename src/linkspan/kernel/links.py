"""Links of ours: bridges and what joins them, veth pairs, devices on other links, tunnels; made, found again, and read
back."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TypeAlias

from linkspan.errors import Conflict, Unsupported
from linkspan.kernel import offload, rtnetlink, shaping
from linkspan.kernel.devices import FEATURES, device_mode, vxlan_ends
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.netlink import NetlinkSocket
from linkspan.kernel.tun import create_tun
from linkspan.state.fabric import ALIAS as MESH
from linkspan.state.objects import FLAT, HOST, Bridge, Device, Joint, KernelObject, Veth, Vxlan

LinkObject: TypeAlias = Bridge | Joint | Veth | Device | Vxlan


class Links:
    """`inside` is the connection into a namespace. Everything raises OSError, or an error of ours that says more."""

    def __init__(self, namespaces: Namespaces, inside: Callable[[str], NetlinkSocket]) -> None:
        self._namespaces, self._inside, self._host = namespaces, inside, inside(HOST)
        # What devices stand on, of the host's own, and its index; 0 where it is not there.
        self.parents: dict[str, int] = {}

    def create(self, item: LinkObject) -> None:
        match item:
            case Bridge():
                self._create_bridge(item)
            case Joint():
                self._create_joint(item)
            case Veth():
                self._create_veth(item)
            case Device():
                self._create_device(item)
            case Vxlan():
                self._create_vxlan(item)

    def change(self, item: LinkObject) -> None:
        match item:
            case Bridge():
                rtnetlink.change_bridge(self._host, item)
            case Joint():
                rtnetlink.change_joint(self._host, item)
            case Veth():
                rtnetlink.change_veth(self._host, self._inside(item.namespace), item)
                if not item.bridge:
                    self._let_go(item)
            case Device():
                rtnetlink.change_device(self._inside(item.namespace), item)
            case Vxlan():
                rtnetlink.change_vxlan(self._host, item)

    def delete(self, item: LinkObject) -> None:
        if isinstance(item, Device):
            with contextlib.suppress(FileNotFoundError):  # gone with its namespace
                inside = self._inside(item.namespace)
                rtnetlink.delete_link(inside, item.name)
                rtnetlink.delete_link(inside, shaping.beside(item.name))  # what its shaper has made
        else:
            rtnetlink.delete_link(self._host, item.name)

    def expect(self, interfaces: Iterable[str]) -> None:
        self.parents.clear()
        self.parents.update((name, self._index(name)) for name in interfaces)

    def stands_on(self, name: str) -> None:
        """Something of ours does, from now on."""
        self.parents[name] = self._index(name)

    def lead_over(self, interfaces: Iterable[str]) -> None:
        """Routes of ours do: with one of the host's own they come and go, without a word."""
        for name in interfaces:
            if name not in self.parents:
                with contextlib.suppress(OSError):
                    found = rtnetlink.link(self._host, name).interface
                    if not found.alias.startswith(rtnetlink.ALIAS):
                        self.parents[name] = found.index

    def _index(self, name: str) -> int:
        """Of an interface of the host; 0 where there is none."""
        try:
            return rtnetlink.link(self._host, name).interface.index
        except OSError:
            return 0

    def _create_bridge(self, bridge: Bridge) -> None:
        host = self._host
        try:
            rtnetlink.create_bridge(host, bridge)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            there = rtnetlink.link(host, bridge.name).interface
            if there.kind != "bridge" or not there.alias.startswith(rtnetlink.ALIAS):
                raise _foreign(bridge.name) from None
            rtnetlink.change_bridge(host, bridge)

    def _create_veth(self, veth: Veth) -> None:
        host, inside = self._host, self._inside(veth.namespace)
        namespace = self._namespaces.open(veth.namespace) if veth.namespace else None
        try:
            rtnetlink.create_veth(host, veth, namespace)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            self._adopt_veth(veth)
            return
        finally:
            if namespace is not None:
                os.close(namespace)
        try:
            rtnetlink.up_peer(inside, veth)
            if not veth.offload:
                self._let_go(veth)
        except OSError:
            rtnetlink.delete_link(host, veth.name)
            raise

    def _let_go(self, veth: Veth) -> None:
        """To a switch in user space, where it is one's; the setting that is read back comes last."""
        if not veth.offload:
            rtnetlink.deaf(self._host, veth.name)
        offload.set_offload(self._inside(veth.namespace), veth.peer, on=veth.offload)

    def _adopt_veth(self, veth: Veth) -> None:
        """One of the two names is taken: by this very veth, left from before, or by something else."""
        host, inside = self._host, self._inside(veth.namespace)
        with contextlib.suppress(OSError):
            here = rtnetlink.link(host, veth.name)
            there = rtnetlink.link(inside, veth.peer)
            if here.interface.alias.startswith(rtnetlink.ALIAS) and here.peer_index == there.interface.index:
                self.change(veth)
                return
        if any(item.interface.name == veth.name for item in rtnetlink.links(host)):
            raise _foreign(veth.name)
        raise Conflict(f"interface {veth.peer} exists already in {veth.namespace or 'the host'}")

    def _create_device(self, device: Device) -> None:
        host, inside = self._host, self._inside(device.namespace)
        if device.parent:
            self.stands_on(device.parent)
        namespace = self._namespaces.open(device.namespace) if device.namespace else None
        try:
            if device.kind == "tun":
                self._create_tun(device)
                return
            rtnetlink.create_device(host, inside, device, namespace)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and device.kind in FEATURES:
                on = f" on {device.parent}" if device.parent else ""
                raise Unsupported(
                    f"cannot create {device.kind} {device.name}{on}: the running kernel lacks {FEATURES[device.kind]}"
                ) from None
            if error.errno != errno.EEXIST:
                raise
            there = rtnetlink.link(inside, device.name)
            if not there.interface.alias.startswith(rtnetlink.ALIAS):
                raise _foreign(device.name) from None
            found = device_of(there, device.namespace, {there.peer_index: device.parent})
            if (found.kind, found.mode) != (device.kind, device.mode):
                raise Conflict(f"interface {device.name} exists already as another link of linkspan's") from None
            rtnetlink.change_device(inside, device)
        finally:
            if namespace is not None:
                os.close(namespace)

    def _create_tun(self, device: Device) -> None:
        if self._index(device.name):
            raise FileExistsError(errno.EEXIST, "it is there")
        try:
            create_tun(device.name)
        except FileNotFoundError:
            raise OSError(errno.EOPNOTSUPP, "no /dev/net/tun") from None
        try:
            rtnetlink.change_device(self._host, device)
        except OSError:
            rtnetlink.delete_link(self._host, device.name)
            raise

    def _create_vxlan(self, vxlan: Vxlan) -> None:
        number, port = f"VXLAN network identifier {vxlan.vni}", f"UDP port {vxlan.port}"
        try:
            rtnetlink.create_vxlan(self._host, vxlan)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise Unsupported(
                    f"cannot create vxlan {vxlan.name}: the running kernel lacks VXLAN links (module vxlan)"
                ) from None
            if error.errno == errno.EADDRINUSE:
                raise Conflict(f"cannot create vxlan {vxlan.name}: another program has {port}") from None
            if error.errno != errno.EEXIST:
                raise
            if not self._index(vxlan.name):
                raise Conflict(f"cannot create vxlan {vxlan.name}: another interface has {number} on {port}") from None
            there = rtnetlink.link(self._host, vxlan.name)
            if there.interface.kind != "vxlan" or not there.interface.alias.startswith(rtnetlink.ALIAS):
                raise _foreign(vxlan.name) from None
            link = self._index(vxlan.link) if vxlan.link else 0
            if vxlan_ends(there.data) != (vxlan.vni, vxlan.local, vxlan.port, vxlan.checksum, link):
                raise Conflict(f"interface {vxlan.name} exists already as another link of linkspan's") from None
            rtnetlink.change_vxlan(self._host, vxlan)

    def _create_joint(self, joint: Joint) -> None:
        try:
            rtnetlink.create_joint(self._host, joint)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            there = rtnetlink.link(self._host, joint.name)
            if there.interface.alias != joint.alias or there.interface.kind != "veth":
                raise _foreign(joint.name) from None
            rtnetlink.change_joint(self._host, joint)


def of_host(
    found: list[rtnetlink.Link], peers: Mapping[int, tuple[str, rtnetlink.Link]], whole: Container[int] = ()
) -> Iterator[KernelObject]:
    """What is ours of the host's links; `peers` are the other ends in sandboxes, by the index of the host's end, and
    `whole` those whose peer leaves nothing to hardware."""
    by_index = {item.interface.index: item for item in found}
    for item in found:
        alias = item.interface.alias
        if not alias.startswith(rtnetlink.ALIAS) or alias.endswith(rtnetlink.FAR_END) or alias.startswith(FLAT):
            continue
        far = by_index.get(item.peer_index)
        # Open vSwitch's bridges in user space are TUN devices, too.
        if item.interface.kind in FEATURES and (item.interface.kind != "tun" or alias == MESH):
            yield device_of(item, HOST, {index: other.interface.name for index, other in by_index.items()})
        elif item.interface.kind == "bridge":
            yield Bridge(item.interface.name, alias, item.interface.mtu if item.interface.up else 0, item.interface.mac)
        elif item.interface.kind == "vxlan":
            yield _vxlan(item, by_index)
        elif far and far.interface.alias == alias + rtnetlink.FAR_END:
            yield _joint(item, far)
        elif item.interface.kind == "veth":
            index = item.interface.index
            yield _veth(item, peers.get(index), offload=index not in whole)


def _veth(item: rtnetlink.Link, peer: tuple[str, rtnetlink.Link] | None, *, offload: bool) -> Veth:
    seen = item.interface
    up = seen.up and (peer is None or peer[1].interface.up)
    return Veth(
        name=seen.name,
        alias=seen.alias,
        namespace=peer[0] if peer else HOST,
        peer=peer[1].interface.name if peer else "",
        mac=peer[1].interface.mac if peer else "",
        bridge=seen.master,
        mtu=seen.mtu if up else 0,
        hairpin=item.hairpin,
        isolated=item.isolated,
        offload=offload,
    )


def _vxlan(item: rtnetlink.Link, by_index: Mapping[int, rtnetlink.Link]) -> Vxlan:
    seen = item.interface
    vni, local, port, checksum, index = vxlan_ends(item.data) or (0, "", 0, False, 0)
    as_wanted = seen.up and (item.quiet or item.floods or not seen.master)
    link = by_index[index].interface.name if index in by_index else ""
    return Vxlan(
        seen.name,
        seen.alias,
        vni,
        local,
        port,
        mtu=seen.mtu if as_wanted else 0,
        mac=seen.mac,
        bridge=seen.master,
        isolated=item.isolated,
        checksum=checksum,
        link=link,
        floods=item.floods,
    )


def _joint(near: rtnetlink.Link, far: rtnetlink.Link) -> Joint:
    return Joint(
        name=near.interface.name,
        alias=near.interface.alias,
        bridge=near.interface.master,
        peer=far.interface.name,
        peer_bridge=far.interface.master,
        mtu=near.interface.mtu if near.interface.up and far.interface.up else 0,
        isolated=far.isolated,
    )


def device_of(item: rtnetlink.Link, namespace: str, names: Mapping[int, str]) -> Device:
    """`names` of the host's interfaces, by index."""
    seen = item.interface
    return Device(
        namespace,
        seen.name,
        seen.kind,
        seen.alias,
        parent=names.get(item.peer_index, ""),
        mode=device_mode(seen.kind, item.data),
        mac=seen.mac,
        mtu=seen.mtu,
        up=seen.up,
    )


def _foreign(name: str) -> Conflict:
    return Conflict(f"interface {name} exists already and was not made by linkspan: remove it, or choose another name")
