"""The Container Network Model's sandbox and endpoint, and the binding that publishes a port.

They exist while a container runs (or is being started); what a container *asked* for stays in its own record.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.model.bandwidth import Bandwidth
from linkspan.model.wire import Wire


class Sandbox(Wire, frozen=True, kw_only=True):
    """A network namespace. `kind` is "own", "host" or "none"; who joins another container's has none of its own."""

    id: str
    container_id: str
    kind: str
    path: str  # of the namespace file; "" is the host's own namespace

    @property
    def key(self) -> str:
        return self.path


class Endpoint(Wire, frozen=True, kw_only=True):
    """One sandbox's place on one network."""

    id: str
    network_id: str
    sandbox_id: str
    container_id: str
    interface: str = ""  # inside the sandbox: eth0
    segment: int = 0  # which of the network's bridges it is on
    host_interface: str = ""  # on the host: veth1a2b3c4
    vlan: int = 0  # of its port on a switch that has VLANs; 0 is none
    mac: str = ""
    address: str = ""  # IPv4 without prefix length, "" where there is none
    prefix_length: int = 0
    gateway: str = ""
    address6: str = ""
    prefix_length6: int = 0
    gateway6: str = ""
    default_route: bool = True
    default_route6: bool = False
    aliases: tuple[str, ...] = ()
    driver_options: Mapping[str, str] = msgspec.field(default_factory=dict)
    link_local: tuple[str, ...] = ()  # further addresses of the interface, with prefix lengths
    sysctls: tuple[tuple[str, str], ...] = ()  # settings of the interface: net/ipv4/conf/eth0/forwarding, 1
    linked: tuple[LinkedPort, ...] = ()  # what `--link` opens to it, where a network's containers may not talk freely
    bandwidth: Bandwidth | None = None
    bindings: tuple[Binding, ...] = ()
    exposed: tuple[str, ...] = ()  # container ports listed without a binding: "33060/tcp"


class LinkedPort(Wire, frozen=True, kw_only=True):
    """A port of another endpoint on the same network, which this one was linked to."""

    protocol: str
    address: str  # of the other endpoint, IPv4 or IPv6
    port: int


class Binding(Wire, frozen=True, kw_only=True, gc=False):  # there may be thousands, and none is part of a cycle
    """A container port published at a host address and port."""

    protocol: str
    address: str  # of the host; 0.0.0.0 and :: are any, * is any of both families
    port: int  # 0 where nothing is translated: on a routed network the container's own port is open
    container_port: int

    @property
    def container(self) -> str:
        """Docker's form: `80/tcp`."""
        return f"{self.container_port}/{self.protocol}"
