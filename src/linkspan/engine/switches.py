"""ovs networks: what their options mean, and what they need of the host."""

from __future__ import annotations

import msgspec

from linkspan.engine import bridges
from linkspan.engine.attachment import IFACE_PREFIX
from linkspan.engine.scope import free_vni
from linkspan.engine.vlans import VLAN, parse_vlan
from linkspan.errors import InvalidArgument, Unavailable, Unsupported
from linkspan.model.cluster import GLOBAL
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

TUNNEL = "tunnel"
_BRIDGE = "com.docker.network.bridge."
OPTIONS = frozenset(
    {
        TUNNEL,
        VLAN,
        *(_BRIDGE + name for name in ("name", "enable_ip_masquerade", "host_binding_ipv4", "trusted_host_interfaces")),
        *(_BRIDGE + name for name in ("gateway_mode_ipv4", "gateway_mode_ipv6")),
        *(f"com.docker.network.{name}" for name in ("host_ipv4", "host_ipv6", "enable_ipv4", "enable_ipv6")),
        *(bridges.INTERNAL, bridges.MTU, IFACE_PREFIX),
    }
)
# What a tunnel adds to a packet: IPv4, its own header, the frame's header and a VLAN's; IPv6 is 20 bytes more.
_OVERHEAD = {"gre": 20 + 8 + 14 + 4, "vxlan": 20 + 8 + 8 + 14 + 4}


def on_switch(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    """The network with what its options say.

    Raises InvalidArgument naming the option, Unavailable where the host's Open vSwitch does not run, Unsupported where
    it could not reach the other hosts.
    """
    if host.switch.problem:
        raise Unavailable(host.switch.problem)
    tunnel = network.options.get(TUNNEL, "gre")
    if tunnel not in _OVERHEAD:
        raise InvalidArgument(f"invalid value for {TUNNEL}: {tunnel!r}: use gre or vxlan")
    shared = network.scope == GLOBAL
    network = bridges.with_options(network)
    if any(n.bridge == network.bridge for n in snapshot.networks.values()):
        raise InvalidArgument(f"invalid bridge name {network.bridge!r}: it is another network's")
    if shared:
        _check_underlay(host)
    return msgspec.structs.replace(
        network,
        mode=tunnel if shared else "",
        vlan=parse_vlan(network.options.get(VLAN, "")),
        vni=free_vni(snapshot) if shared else 0,
        mtu=network.mtu if bridges.MTU in network.options or not shared else _mtu(tunnel, host),
    )


def _check_underlay(host: HostFacts) -> None:
    under = host.underlay
    if host.switch.datapath == "netdev" and (under is None or not under.address):
        raise Unsupported(
            "Open vSwitch in user space finds other hosts by IPv4 alone: give linkspand an IPv4 address with "
            "--advertise, or load the kernel's openvswitch module"
        )


def _mtu(tunnel: str, host: HostFacts) -> int:
    under = host.underlay
    if under is None:
        return 1500 - _OVERHEAD[tunnel]
    return under.mtu - _OVERHEAD[tunnel] - (0 if under.address else 20)
