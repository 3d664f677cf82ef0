"""`ovs add-port` and its kin: interfaces of containers on bridges of Open vSwitch's, in ovs-docker's words."""

from __future__ import annotations

from linkspan.cli.client import Client, quote
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, integer


def add_port(call: Invocation) -> int:
    bridge, interface, container = call.arguments
    line = call.line
    body = {
        "HostInterface": bridge,
        "Interface": interface,
        "Address": line.text("ipaddress"),
        "MacAddress": line.text("macaddress"),
        "Gateway": line.text("gateway"),
        "Mtu": line.number("mtu"),
        "Vlan": line.text("vlan"),
        "Switch": True,
    }
    call.client.post(f"/containers/{quote(container)}/interfaces", None, {k: v for k, v in body.items() if v})
    return 0


def del_port(call: Invocation) -> int:
    bridge, interface, container = call.arguments
    if interface not in _on(call.client, bridge, container):
        raise Failure(f"container {container} has no interface {interface} on bridge {bridge}")
    call.client.call("DELETE", f"/containers/{quote(container)}/interfaces/{quote(interface)}")
    return 0


def del_ports(call: Invocation) -> int:
    bridge, container = call.arguments
    for interface in _on(call.client, bridge, container):
        call.client.call("DELETE", f"/containers/{quote(container)}/interfaces/{quote(interface)}")
    return 0


def set_vlan(call: Invocation) -> int:
    bridge, interface, container, vlan = call.arguments
    path = f"/containers/{quote(container)}/interfaces/{quote(interface)}/vlan"
    call.client.post(path, None, {"HostInterface": bridge, "Vlan": "" if vlan == "0" else vlan})
    return 0


def _on(client: Client, bridge: str, container: str) -> list[str]:
    """The container's interfaces on a bridge."""
    found = client.get(f"/containers/{quote(container)}/json")["NetworkSettings"].get("Interfaces") or ()
    return [one["Name"] for one in found if (one["Kind"], one["HostInterface"]) == ("ovs", bridge)]


ADD_PORT = Verb(
    "BRIDGE INTERFACE CONTAINER",
    "Give a container an interface that is a port of a bridge of Open vSwitch's (only in linkspan).",
    add_port,
    (
        Flag("ipaddress", "", "address/len", "The interface's address"),
        Flag("macaddress", "", "address", "The interface's MAC address"),
        Flag("gateway", "", "address", "The container's default route leads there"),
        Flag("mtu", "", "bytes", "The interface's MTU (default the bridge's)", check=integer),
        Flag("vlan", "", "number", "The port's VLAN"),
    ),
    least=3,
    most=3,
    detail=(
        "A bridge that is not there is made. The interface is recorded: it comes back when the container starts\n"
        "again, and is put back when another hand removes it."
    ),
)
DEL_PORT = Verb(
    "BRIDGE INTERFACE CONTAINER", "Take an interface away again (only in linkspan).", del_port, least=3, most=3
)
DEL_PORTS = Verb(
    "BRIDGE CONTAINER", "Take away all that a container has on a bridge (only in linkspan).", del_ports, least=2, most=2
)
SET_VLAN = Verb(
    "BRIDGE INTERFACE CONTAINER VLAN",
    "Put an interface into a VLAN; 0 is none (only in linkspan).",
    set_vlan,
    least=4,
    most=4,
)
