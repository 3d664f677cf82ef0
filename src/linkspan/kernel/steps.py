"""The steps of a plan: which of them are taken together, and what they are called in errors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from linkspan.errors import LinkspanError
from linkspan.kernel.failure import explain
from linkspan.kernel.ovs.switch import SwitchObject
from linkspan.kernel.rows import Row
from linkspan.state.guard import Guard, Seal
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
    Namespace,
    Neighbour,
    NftElement,
    Nic,
    Proxied,
    Route,
    Shaper,
    Sysctl,
    Veth,
    Vxlan,
)
from linkspan.state.plan import Create, Delete, Plan, Replace, Step
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink


def grouped(plan: Plan) -> Iterator[list[Step]]:
    """The steps one by one, except what goes together: consecutive elements, rows, and links to be deleted."""
    for kind, steps in itertools.groupby(plan, key=_group):
        if kind is not None:
            yield list(steps)
        else:
            yield from ([step] for step in steps)


GOING_TOGETHER = (Bridge, Joint, Veth, Vxlan)


def _group(step: Step) -> tuple[object, ...] | None:
    item = subject(step)
    if isinstance(item, NftElement):
        return ("elements",)
    if isinstance(item, SwitchObject):
        return ("switch",)
    if isinstance(item, Row):
        return type(item), place(item), isinstance(step, Delete)
    return ("links",) if isinstance(step, Delete) and isinstance(item, GOING_TOGETHER) else None


def place(item: KernelObject) -> str:
    """The namespace of a row."""
    return item.namespace if isinstance(item, Route) else HOST


def explained(step: Step, error: OSError) -> LinkspanError:
    verb = {Create: "create", Replace: "change", Delete: "delete"}[type(step)]
    return explain(error, f"{verb} {_name(subject(step))}")


def udp_port(step: Step) -> int:
    item = subject(step)
    if isinstance(item, NftElement) and item.set.startswith("published"):
        *_, protocol, port = item.element.split(" . ")
        return int(port) if protocol == "udp" else 0
    return 0


def subject(step: Step) -> KernelObject:
    return step.before if isinstance(step, Delete) else step.after


def _name(item: KernelObject) -> str:
    """The object as a reader of an error knows it."""
    match item:
        case Namespace(path):
            return f"network namespace {path}"
        case Guard(namespace=path):
            return f"policy in network namespace {path}" if path else "policy of the host's own interfaces"
        case Seal(interface=interface):
            return f"seal of interface {interface}"
        case Bridge(name=name):
            return f"bridge {name}"
        case Enslaved(name=name, nic=nic):
            return f"bridge {name} of interface {nic}"
        case Joint(bridge=bridge, peer_bridge=other):
            return f"joint of bridge {bridge} and bridge {other}"
        case Veth(name=name, bridge=bridge):
            return f"veth {name} on bridge {bridge}"
        case OvsBridge(name=name) | OvsUplink(name=name):
            return f"bridge {name} of Open vSwitch's"
        case OvsPort(name=name, bridge=bridge):
            return f"port {name} on Open vSwitch's bridge {bridge}"
        case Device(kind=kind, name=name, parent=parent):
            return f"{kind} {name}" + (f" on {parent}" if parent else "")
        case Vxlan(name=name, bridge=bridge):
            return f"vxlan {name}" + (f" on bridge {bridge}" if bridge else "")
        case Neighbour(interface=interface, address=address, mac=mac):
            return f"neighbour {address} at {mac} on interface {interface}"
        case FdbEntry(interface=interface, mac=mac, destination=destination):
            return f"forwarding entry for {mac} on interface {interface}" + (
                f" to {destination}" if destination else ""
            )
        case Nic(name=name, origin=origin):
            return f"network card {origin} as {name}"
        case Shaper(interface=interface, rate=rate):
            return f"limit of {rate} bits a second on interface {interface}"
        case Address(interface=interface, address=address):
            return f"address {address} on interface {interface}"
        case Proxied(interface=interface, address=address):
            return f"answer for {address} on interface {interface}"
        case Route(destination=destination, gateway=gateway, kind=kind):
            return f"{'' if kind == 'unicast' else f'{kind} '}route to {destination}" + (
                f" via {gateway}" if gateway else ""
            )
        case Sysctl(name=name, value=value):
            return f"sysctl {name} = {value}"
        case BoundPort(protocol=protocol, address=address, port=port):
            return f"host port {address}:{port}/{protocol}"
        case ForwardAccept():
            return f"rule in chain {item}"
        case NftElement(set=set_, element=element):
            return f"element {{ {element} }} of {set_}"
