"""overlay: one segment over many hosts, in VXLAN tunnels between them.

On each host that has a container on the network there is a bridge, as the bridge driver has it: with the same gateway
addresses and the same MAC everywhere, so that each host leads its own containers out, and publishes their ports. A
tunnel's end is one more port of that bridge. What is where is never learned: for each container elsewhere there are
rows, written from its record. Its neighbour answers ARP and neighbour discovery here, so that no question leaves the
host; two forwarding entries send its MAC's frames to the tunnel, and from there to its host. What is for nobody in
particular stays on the host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.publish import Host as HostSettings
from linkspan.model.cluster import Host, Remote
from linkspan.model.network import Network
from linkspan.state.host import Underlay
from linkspan.state.objects import FdbEntry, KernelObject, Neighbour, NftElement, Vxlan


class OverlayDriver(BridgeDriver):
    name = "overlay"
    spans = True
    needs_cluster = True
    floods = False
    """What is for nobody in particular goes to the other hosts, too."""

    def __init__(self, host: HostSettings | None = None, underlay: Underlay | None = None) -> None:
        super().__init__(host)
        self.underlay = underlay

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        """Nothing: most of a cluster's networks have nobody on this host."""
        yield from ()

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterator[KernelObject]:
        yield from super().render_network(network)
        yield from super().render_occupied(network, segments)
        if self.underlay:
            if self._version in self.host.rules:
                yield NftElement("tunnels", str(network.vni), comment=network.id[:12])
            yield Vxlan(
                tunnel(network),
                alias=f"linkspan:{network.id}",
                vni=network.vni,
                local=self.underlay.address or self.underlay.address6,
                mtu=network.mtu,
                mac=tunnel_mac(network.id),
                bridge=network.bridge,
                isolated=not network.icc,
                floods=self.floods,
            )

    def render_host(self, network: Network, host: Host) -> Iterator[KernelObject]:
        """Its packets are taken."""
        place = self.place(host)
        if place and self._version in self.host.rules:
            suffix = "6" if self._version == 6 else ""
            yield NftElement(f"tunnel_ends{suffix}", f"{network.vni} . {place}", comment=network.id[:12])

    def render_remote(self, network: Network, remote: Remote, host: Host) -> Iterator[KernelObject]:
        """Nothing for one whose host is not reached by the IP version of this host's tunnels."""
        place = self.place(host)
        if not place or not remote.mac:
            return
        for address in filter(None, (remote.address, remote.address6)):
            yield Neighbour(network.bridge, address, remote.mac)
        yield FdbEntry(tunnel(network), remote.mac)
        yield FdbEntry(tunnel(network), remote.mac, place)

    @property
    def _version(self) -> int:
        """Of the packets between the hosts."""
        return 4 if self.underlay and self.underlay.address else 6

    def place(self, host: Host) -> str:
        """Where the other host's end is; "" where this one cannot reach it."""
        if self.underlay is None:
            return ""
        return host.address if self.underlay.address else host.address6


def tunnel(network: Network) -> str:
    """The interface that is this host's end of the network's tunnels."""
    return f"vx-{network.vni}"


def tunnel_mac(network_id: str) -> str:
    """Nobody's address: frames go through a tunnel, never to it."""
    return "02:44:" + ":".join(network_id[i : i + 2] for i in range(0, 8, 2))
