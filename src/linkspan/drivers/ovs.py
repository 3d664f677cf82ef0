"""ovs: a bridge of Open vSwitch on each host, joined by GRE or VXLAN tunnels between all of them.

Each endpoint is a veth pair whose host's end is a port of the bridge, in a VLAN of its own where that was asked for.
The tunnels are a full mesh: what came over one never leaves over another, which the switch sees to, as all of them are
`apart`. So is the bridge's own port: each host is the gateway of its own containers, by the same addresses everywhere,
and a container that moves finds it where it was. Which MAC address is behind which port the switch learns, and hears
from a container that comes (engine/announce).

Where the kernel has no data path of Open vSwitch's, the switch does all of it in user space. Then containers must not
leave checksums to hardware, and tunnels go over a card that the switch knows (OvsUplink), unless their address is on a
bridge of the administrator's already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

from linkspan.drivers.bridge import bridge_mac, filtering, gateway_addresses, leaving
from linkspan.drivers.inside import render_inside
from linkspan.drivers.publish import Host as BridgeHost
from linkspan.drivers.publish import render_bindings
from linkspan.model.cluster import GLOBAL, Host, Remote
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import LEAST_MTU6, Network
from linkspan.state.host import Underlay
from linkspan.state.objects import HOST, Address, KernelObject, NftElement, Shaper, Sysctl, Veth
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink, SwitchFacts

UPLINK_BRIDGE = "ovs-uplink"
_ANY_ADDRESS = "169.254.76.83/32"


class OvsDriver:
    name = "ovs"
    allocates = True
    spans = True
    needs_cluster = False

    def __init__(self, underlay: Underlay | None = None, switch: SwitchFacts | None = None) -> None:
        self.host, self.underlay, self.switch = BridgeHost(), underlay, switch or SwitchFacts()

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        """A network of the cluster's needs nothing on hosts where nobody is on it, not even the switch."""
        yield from ()

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterator[KernelObject]:
        name = network.bridge
        alias, mac = f"linkspan:{network.id}", bridge_mac(network.id)
        yield OvsBridge(name, alias, self.switch.datapath, network.mtu, mac, network.vlan)
        if network.scope == GLOBAL:
            yield from self._uplink()
        yield from gateway_addresses(network)
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/route_localnet", "1")
        if self.host.ipv6 and network.mtu >= LEAST_MTU6:
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/accept_ra", "0")
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/disable_ipv6", "0" if network.pools_of(6) else "1")
        if self.host.forward:
            yield Sysctl(HOST, f"net/ipv4/conf/{name}/forwarding", "1")
            if network.pools_of(6):
                yield Sysctl(HOST, "net/ipv6/conf/all/forwarding", "1")
        for version in self.host.rules & set(network.versions):
            yield from filtering(network, version)
            yield from leaving(network, version)

    def _uplink(self) -> Iterator[KernelObject]:
        """The same for every network."""
        under = self.underlay
        if self.switch.datapath != "netdev" or not under or not under.address:
            return
        if under.interface not in self.switch.interfaces:
            yield OvsUplink(UPLINK_BRIDGE, under.address)
            # The switch looks for the ends of tunnels only at interfaces that have an address, whichever it is.
            yield Address(HOST, UPLINK_BRIDGE, _ANY_ADDRESS)
        if 4 in self.host.rules:
            # The kernel gets a copy, and would answer that nobody is there.
            yield NftElement("switched", under.address)

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        name = endpoint.host_interface
        yield Veth(
            name,
            alias=f"linkspan:{endpoint.id}",
            namespace=sandbox.path,
            peer=endpoint.interface,
            mac=endpoint.mac,
            bridge="",
            mtu=network.mtu,
            hairpin=False,
            offload=self.switch.datapath != "netdev",
        )
        said = (("container_id", endpoint.container_id), ("container_iface", endpoint.interface))
        yield OvsPort(network.bridge, name, f"linkspan:{endpoint.id}", tag=endpoint.vlan, said=said)
        if self.switch.datapath == "netdev":
            yield NftElement("switch_ports", f'"{name}"', comment=endpoint.id[:12])
        yield from render_inside(network, endpoint, sandbox)
        if limit := endpoint.bandwidth:
            for namespace, end in ((HOST, name), (sandbox.path, endpoint.interface)):
                yield Shaper(namespace, end, False, limit.rate, limit.burst)
        yield from render_bindings(network, endpoint, self.host)

    def render_host(self, network: Network, host: Host) -> Iterator[KernelObject]:
        under = self.underlay
        if under is None:
            return
        ends = [(under.address, host.address)]
        if self.switch.datapath != "netdev":  # in user space the switch finds neighbours by IPv4 alone
            ends.append((under.address6, host.address6))
        for local, remote in ends:
            if local and remote:
                yield OvsPort(
                    network.bridge,
                    tunnel_name(network.id, host.id),
                    f"linkspan:{network.id}",
                    kind=network.mode,
                    local=local,
                    remote=remote,
                    number=network.vni,
                    apart=True,
                    said=(("host", host.name),),
                )
                return

    def render_remote(self, network: Network, remote: Remote, host: Host) -> Iterator[KernelObject]:
        """The switch learns where it is."""
        yield from ()


def tunnel_name(network_id: str, host_id: str) -> str:
    """Of the port: one for each pair of a network and a host, in the 15 characters that a port may have."""
    return "tun" + hashlib.sha256(f"{network_id}/{host_id}".encode()).hexdigest()[:12]
