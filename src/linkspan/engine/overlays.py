"""Networks of the drivers overlay and weave: their options, their number in the tunnels, and how much fits there."""

from __future__ import annotations

import msgspec

from linkspan.engine import bridges
from linkspan.engine.scope import LAST_VNI, free_vni
from linkspan.errors import Conflict, InvalidArgument, Unsupported
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

VNI = "com.docker.network.driver.overlay.vxlanid_list"
ENCRYPTED = "encrypted"
_BRIDGE = "com.docker.network.bridge."
OPTIONS = frozenset(
    {
        VNI,
        ENCRYPTED,
        _BRIDGE + "enable_icc",
        _BRIDGE + "enable_ip_masquerade",
        _BRIDGE + "host_binding_ipv4",
        "com.docker.network.enable_ipv4",
        "com.docker.network.enable_ipv6",
        bridges.INTERNAL,
    }
)
# What a tunnel puts around a frame's contents: its Ethernet header, VXLAN's 8 bytes, UDP's 8, and those of IP.
_AROUND = {4: 14 + 8 + 8 + 20, 6: 14 + 8 + 8 + 40}


def on_tunnels(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    """The network with what its options say.

    Raises InvalidArgument, Unsupported (encryption), Conflict (another network has the number).
    """
    options = network.options
    if ENCRYPTED in options and not (host.fabric and host.fabric.kind):
        raise Unsupported(
            f"network {network.name}: option encrypted: linkspan does not encrypt what goes between hosts, which needs "
            "IPsec; leave the option out, and where the wire is not to be trusted make the hosts a mesh (--mesh), or "
            "advertise an address that is reached through a tunnel that encrypts (--advertise)"
        )
    vni = _vni(snapshot, network)
    mtu = options.get(bridges.MTU) or str(tunnel_mtu(snapshot, host))
    resolved = bridges.with_options(msgspec.structs.replace(network, options={**options, bridges.MTU: mtu}))
    return msgspec.structs.replace(resolved, vni=vni, options={**options, VNI: str(vni)})


def tunnel_mtu(snapshot: Snapshot, host: HostFacts) -> int:
    """What fits into a packet between any two hosts that are in the cluster now."""
    if host.underlay is None:
        return 1500 - _AROUND[4]
    least = min((host.underlay.mtu, *(other.mtu for other in snapshot.hosts.values())))
    return least - _AROUND[4 if host.underlay.address else 6]


def _vni(snapshot: Snapshot, network: Network) -> int:
    text = network.options.get(VNI, "")
    if not text:
        return free_vni(snapshot)
    if not text.isdecimal() or not 1 <= int(text) <= LAST_VNI:
        raise InvalidArgument(f"invalid value for {VNI}: {text!r}: a number between 1 and {LAST_VNI} is needed")
    for other in snapshot.networks.values():
        if other.vni == int(text):
            raise Conflict(f"network {network.name}: {VNI}={text} is the number of network {other.name} already")
    return int(text)
