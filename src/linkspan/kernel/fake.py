"""A kernel in memory, with the same contract: what a plan means, and how it fails, without root.

Like the real one it knows nothing of networks: it holds objects. What exists beside ours (the host's interfaces, ports
that other processes hold) is put in by the test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from linkspan.errors import Conflict, LinkspanError, NotFound, PortInUse, PortUnavailable, Unavailable, Unsupported
from linkspan.kernel.contract import EphemeralPorts, Interface, RouteEntry, Statistics
from linkspan.kernel.devices import FEATURES, device_data
from linkspan.model.port import ANY, ANY_IPV4, ANY_IPV6, clash, with_port
from linkspan.state.guard import Guard, Seal
from linkspan.state.neighbours import Neighbours
from linkspan.state.objects import (
    HOST,
    Address,
    BoundPort,
    Bridge,
    Device,
    Enslaved,
    FdbEntry,
    ForwardAccept,
    Joint,
    KernelObject,
    Key,
    Neighbour,
    NftElement,
    Nic,
    Proxied,
    Route,
    Shaper,
    State,
    Sysctl,
    Veth,
    Vxlan,
)
from linkspan.state.plan import Create, Delete, Plan, Step, apply, take, undo
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink, SwitchFacts


class NoLosses:
    """Nobody else is in this kernel."""

    descriptors: tuple[int, ...] = ()

    def lost(self) -> bool:
        return False

    def stirred(self) -> bool:
        return False


class FakeKernel:
    """`host` is what the host has of its own, `taken` ports that others hold, `lacking` kinds of link that it lacks."""

    def __init__(
        self,
        *,
        host: Sequence[Interface] = (),
        routes: Sequence[RouteEntry] = (),
        taken: Iterable[BoundPort] = (),
        ephemeral: EphemeralPorts | None = None,
        lacking: Iterable[str] = (),
    ) -> None:
        self.state: dict[Key, KernelObject] = {}
        self.applied: list[Plan] = []  # what was asked for, in order
        self.host = list(host)
        self.host_routes = list(routes)
        self.taken = set(taken)
        self.announced: list[tuple[str, str, tuple[str, ...]]] = []
        self.expected: tuple[str, ...] = ()
        self.lacking = frozenset(lacking)
        self.others = Neighbours()
        self.switch_facts = SwitchFacts("")
        self.kept_by_others: dict[tuple[int, int], list[str]] = {}  # by protocol number and metric
        self.closed = False
        self._ephemeral = ephemeral or EphemeralPorts(32768, 60999)

    def hold(self, processes: Mapping[str, int]) -> None:
        """There are no files that could go."""

    def apply(self, plan: Plan) -> None:
        self.applied.append(plan)
        done: list[Step] = []
        self.state = dict(self.state)
        for step in plan:
            try:
                self._check(step)
            except LinkspanError:
                self.state = apply(undo(done), self.state)
                raise
            take(step, self.state)
            done.append(step)

    def _check(self, step: Step) -> None:
        """Raises what the real kernel would."""
        if isinstance(step, Delete):
            return
        item = step.after
        match item:
            case BoundPort() if isinstance(step, Create) and item.key not in self.state:
                self._check_port(item)
            case Bridge(name=name) | Enslaved(name=name):
                if any(other.name == name for other in self.host):
                    raise _foreign(name)
            case Joint(bridge=bridge, peer_bridge=other):
                if not (self._has_link(HOST, bridge) and self._has_link(HOST, other)):
                    raise NotFound(f"cannot create joint of bridge {bridge} and bridge {other}: no such device")
            case Veth(name=name, bridge=bridge):
                if any(other.name == name for other in self.host):
                    raise _foreign(name)
                self._need_namespace(item.namespace, item)
                if bridge and not self._has_link(HOST, bridge):
                    raise NotFound(f"cannot create veth {name} on bridge {bridge}: no such device")
                if any(
                    isinstance(other, Veth)
                    and (other.namespace, other.peer) == (item.namespace, item.peer)
                    and other.name != name
                    for other in self.state.values()
                ):
                    raise Conflict(f"interface {item.peer} exists already in {item.namespace or 'the host'}")
            case Device():
                self._check_device(item)
            case Vxlan():
                self._check_vxlan(item)
            case Neighbour(interface=interface) | FdbEntry(interface=interface):
                if not self._has_link(HOST, interface):
                    raise NotFound(f"cannot create {item}: no such device")
            case Route(kind="blackhole" | "unreachable", namespace=namespace):
                self._need_namespace(namespace, item)
            case Nic(namespace=namespace, origin=origin):
                self._need_namespace(namespace, item)
                if item.key not in self.state and not self._has_link(HOST, origin):
                    raise NotFound(f"cannot create network card {origin} as {item.name}: no such device")
            case OvsBridge() | OvsUplink() | OvsPort():
                self._check_switch(item)
            case (
                Address(namespace=namespace, interface=interface)
                | Route(namespace=namespace, interface=interface)
                | Shaper(namespace=namespace, interface=interface)
                | Seal(namespace=namespace, interface=interface)
            ):
                self._need_namespace(namespace, item)
                if not self._has_link(namespace, interface):
                    raise NotFound(f"cannot create {item}: no such device")
            case Proxied(interface=interface):
                if not self._has_link(HOST, interface):
                    raise NotFound(f"cannot create {item}: no such device")
            case Sysctl(namespace=namespace) | Guard(namespace=namespace):
                self._need_namespace(namespace, item)

    def _check_device(self, device: Device) -> None:
        what = f"cannot create {device.kind} {device.name}" + (f" on {device.parent}" if device.parent else "")
        if device.namespace == HOST and any(other.name == device.name for other in self.host):
            raise _foreign(device.name)
        self._need_namespace(device.namespace, device)
        if device.parent and not self._has_link(HOST, device.parent):
            raise NotFound(f"{what}: no such device")
        device_data(device.kind, device.mode)
        if device.kind in self.lacking:
            raise Unsupported(f"{what}: the running kernel lacks {FEATURES[device.kind]}")

    def _check_vxlan(self, vxlan: Vxlan) -> None:
        if any(other.name == vxlan.name for other in self.host):
            raise _foreign(vxlan.name)
        what = f"cannot create vxlan {vxlan.name}"
        if vxlan.bridge and not self._has_link(HOST, vxlan.bridge):
            raise NotFound(f"{what} on bridge {vxlan.bridge}: no such device")
        if "vxlan" in self.lacking:
            raise Unsupported(f"{what}: the running kernel lacks VXLAN links (module vxlan)")
        for other in self.state.values():
            same = isinstance(other, Vxlan) and (other.vni, other.port) == (vxlan.vni, vxlan.port)
            if same and other.key != vxlan.key:
                number, port = f"VXLAN network identifier {vxlan.vni}", f"UDP port {vxlan.port}"
                raise Conflict(f"{what}: another interface has {number} on {port}")

    def _check_switch(self, item: OvsBridge | OvsUplink | OvsPort) -> None:
        if self.switch_facts.problem:
            raise Unavailable(self.switch_facts.problem)
        if isinstance(item, OvsPort):
            if not self._has_link(HOST, item.bridge):
                raise Conflict(f"there is no bridge {item.bridge} in Open vSwitch")
        elif any(other.name == item.name for other in self.host):
            raise _foreign(item.name)

    def _check_port(self, port: BoundPort) -> None:
        what = f"failed to bind host port {with_port(port.address, port.port)}/{port.protocol}"
        named: _Named = {"protocol": port.protocol, "address": port.address, "port": port.port}
        held = [other for other in self.state.values() if isinstance(other, BoundPort)]
        for other in (*self.taken, *held):
            if (other.protocol, other.port) == (port.protocol, port.port) and clash(other.address, port.address):
                raise PortInUse(f"{what}: address already in use", **named)
        own = {address.partition("/")[0] for item in self.interfaces() for address in item.addresses}
        everybodys = (ANY, ANY_IPV4, ANY_IPV6, "::1")
        if port.address not in everybodys and not port.address.startswith("127.") and port.address not in own:
            raise PortUnavailable(f"{what}: cannot assign requested address", **named)

    def _need_namespace(self, namespace: str, item: KernelObject) -> None:
        if namespace != HOST and ("namespace", namespace) not in self.state:
            raise NotFound(f"cannot create {item}: no such file or directory")

    def _has_link(self, namespace: str, name: str) -> bool:
        return (
            name == "lo"
            or ("link", namespace, name) in self.state
            or any(item.name == name for item in self.interfaces(namespace))
        )

    def read(self, sysctls: Iterable[tuple[str, str]] = ()) -> State:
        wanted = {("sysctl", *name) for name in sysctls}
        away = bool(self.switch_facts.problem)
        return {
            key: item
            for key, item in self.state.items()
            if (not isinstance(item, Sysctl) or key in wanted)
            and not (away and isinstance(item, (OvsBridge, OvsUplink, OvsPort)))
        }

    def interfaces(self, namespace: str = HOST) -> tuple[Interface, ...]:
        if namespace != HOST and ("namespace", namespace) not in self.state:
            raise NotFound(f"cannot read the interfaces of {namespace}: no network namespace at {namespace}")
        found = [Interface(1, "lo", "", "00:00:00:00:00:00", 65536, True, True, addresses=("127.0.0.1/8",))]
        if namespace == HOST:
            away = {item.origin for item in self.state.values() if isinstance(item, Nic)}
            found.extend(item for item in self.host if item.name not in away)
        for item in self.state.values():
            match item:
                case Bridge() if namespace == HOST:
                    found.append(_interface(item.name, "bridge", item.mac, item.mtu, alias=item.alias))
                case Enslaved() if namespace == HOST:
                    found.append(_interface(item.name, "bridge", "", 1500, alias=item.alias))
                case OvsBridge() if namespace == HOST:
                    found.append(_interface(item.name, "openvswitch", item.mac, item.mtu, alias=item.alias))
                case OvsUplink() if namespace == HOST:
                    found.append(_interface(item.name, "openvswitch", "", 1500))
                case Joint() if namespace == HOST:
                    found.append(_interface(item.name, "veth", "", item.mtu, item.bridge, item.alias))
                    found.append(_interface(item.peer, "veth", "", item.mtu, item.peer_bridge, f"{item.alias}:far"))
                case Veth():
                    if namespace == HOST:
                        found.append(_interface(item.name, "veth", "", item.mtu, item.bridge, item.alias))
                    if namespace == item.namespace:
                        found.append(_interface(item.peer, "veth", item.mac, item.mtu))
                case Vxlan() if namespace == HOST:
                    found.append(_interface(item.name, "vxlan", item.mac, item.mtu, item.bridge, item.alias))
                case Nic() if namespace == item.namespace:
                    found.append(_interface(item.name, "", item.mac or item.origin_mac, 1500))
                case Device() if namespace == item.namespace:
                    found.append(_interface(item.name, item.kind, item.mac, item.mtu, alias=item.alias))
        held: dict[str, list[str]] = {}
        for item in self.state.values():
            if isinstance(item, Address) and item.namespace == namespace:
                held.setdefault(item.interface, []).append(item.address)
        return tuple(
            dataclasses.replace(entry, index=index, addresses=(*entry.addresses, *held.get(entry.name, ())))
            for index, entry in enumerate(found, 1)
        )

    def interface(self, name: str, namespace: str = HOST) -> Interface:
        for item in self.interfaces(namespace):
            if item.name == name:
                return item
        raise NotFound(f"interface {name} not found")

    def routes(self, namespace: str = HOST) -> tuple[RouteEntry, ...]:
        own = [
            RouteEntry(item.destination, item.interface, item.gateway)
            for item in self.state.values()
            if isinstance(item, Route) and item.namespace == namespace and item.kind == "unicast"
        ]
        return (*(self.host_routes if namespace == HOST else ()), *own)

    def learned(self, protocol: int, metric: int) -> tuple[str, ...]:
        return tuple(self.kept_by_others.get((protocol, metric), ()))

    def forget(self, protocol: int, metric: int) -> None:
        self.kept_by_others.pop((protocol, metric), None)

    def ephemeral_ports(self) -> EphemeralPorts:
        return self._ephemeral

    def sysctl(self, name: str, namespace: str = HOST) -> str | None:
        item = self.state.get(("sysctl", namespace, name))
        return item.value if isinstance(item, Sysctl) else None

    def statistics(self, interface: str, namespace: str = HOST) -> Statistics:
        if not self._has_link(namespace, interface):
            raise NotFound(f"cannot read the counters of interface {interface}: no such device")
        return Statistics(0, 0, 0, 0, 0, 0, 0, 0)

    def ruleset(self) -> str:
        elements = (item for item in self.state.values() if isinstance(item, NftElement))
        lines = sorted(f"\t{item.set}: {item.element} : {item.data}".removesuffix(" : ") for item in elements)
        return "\n".join(["table inet linkspan {", *lines, "}", ""])

    def announce(self, namespace: str, interface: str, addresses: tuple[str, ...]) -> None:
        if not any(item.name == interface for item in self.interfaces(namespace)):
            raise NotFound(f"cannot announce {', '.join(addresses)} on {interface}: no such device")
        self.announced.append((namespace, interface, addresses))

    def expect(self, interfaces: Iterable[str], *, switch: bool = False) -> None:
        self.expected = tuple(interfaces)

    def has_ipip(self) -> bool:
        return "ipip" not in self.lacking

    def switch(self) -> SwitchFacts:
        return self.switch_facts

    def neighbours(self) -> Neighbours:
        return dataclasses.replace(
            self.others, accepting=frozenset(o for o in self.state.values() if isinstance(o, ForwardAccept))
        )

    def watch(self) -> NoLosses:
        return NoLosses()

    def close(self) -> None:
        self.closed = True
        for key in [key for key, item in self.state.items() if isinstance(item, BoundPort)]:
            del self.state[key]


class _Named(TypedDict):
    protocol: str
    address: str
    port: int


def _interface(name: str, kind: str, mac: str, mtu: int, master: str = "", alias: str = "") -> Interface:
    return Interface(0, name, kind, mac, mtu, True, False, master, alias)


def _foreign(name: str) -> Conflict:
    return Conflict(f"interface {name} exists already and was not made by linkspan: remove it, or choose another name")
