"""flat: containers on the segment that the host itself is on, each with an address of the data centre's.

There is no NAT, and no address of ours but the containers'. There are three ways to the wire (a network's `path`):

bridge   the host's network card is a port of a bridge of ours, which has the card's addresses and routes meanwhile;
         each container is a port beside it
macvlan  each container has an interface of its own on the card (`sublink`); the host reaches them with host_access
routed   each container hangs on the host by a veth pair, and the host answers on the segment for their addresses, for
         those alone, with its own MAC address: for switches that allow one MAC address a port

A network that the hosts of a cluster share takes a host's card when the first container comes there; one of this host's
own has it from the beginning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from linkspan.drivers.bridge import BridgeDriver, segment_bridge
from linkspan.drivers.inside import render_inside
from linkspan.drivers.point_to_point import render_point_to_point
from linkspan.drivers.sublink import MacvlanDriver
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.state.objects import (
    HOST,
    Enslaved,
    KernelObject,
    NftElement,
    Proxied,
    Route,
    Shaper,
    Sysctl,
    Veth,
)

_LAST = 40_000  # metric of a route that any of the host's own goes before


class FlatDriver:
    name = "flat"
    allocates = True
    spans = True
    needs_cluster = False

    def __init__(self, bridges: BridgeDriver | None = None) -> None:
        """`bridges` knows what the daemon's flags and the kernel make of bridges."""
        self._bridges = bridges or BridgeDriver()
        self._sublinks = MacvlanDriver()

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        if network.path == "macvlan":
            yield from self._sublinks.render_network(network)
        elif network.scope == "local":
            yield from self._card(network)

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterator[KernelObject]:
        if network.path == "macvlan":
            yield from self._sublinks.render_occupied(network, segments)
            return
        if network.scope != "local":
            yield from self._card(network)
        if network.path == "bridge":
            yield from self._bridges.render_occupied(network, segments)

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        if network.path == "macvlan":
            yield from self._sublinks.render_endpoint(network, endpoint, sandbox)
            return
        bridged = network.path == "bridge"
        yield Veth(
            endpoint.host_interface,
            alias=f"linkspan:{endpoint.id}",
            namespace=sandbox.path,
            peer=endpoint.interface,
            mac=endpoint.mac,
            bridge=segment_bridge(network, endpoint.segment) if bridged else "",
            mtu=network.mtu,
            hairpin=False,
        )
        if not endpoint.address6:
            # Else the segment's routers would give it IPv6 addresses, which nobody asked for.
            yield Sysctl(sandbox.path, f"net/ipv6/conf/{endpoint.interface}/disable_ipv6", "1")
        if bridged:
            yield from render_inside(network, endpoint, sandbox)
        else:
            yield from self._routed(network, endpoint, sandbox)
        if limit := endpoint.bandwidth:
            for namespace, end in ((HOST, endpoint.host_interface), (sandbox.path, endpoint.interface)):
                yield Shaper(namespace, end, False, limit.rate, limit.burst)

    def _card(self, network: Network) -> Iterator[KernelObject]:
        """What becomes of the host's network card. Networks on the same one render the same."""
        if network.path == "bridge":
            if network.managed:
                yield Enslaved(network.bridge, network.parent)
            for version in self._bridges.host.rules & set(network.versions):
                # Where br_netfilter shows frames to firewalls: nobody's business but the segment's.
                pair = f'ipv{version} . "{network.bridge}" . "{network.bridge}"'
                yield NftElement("same_bridge", pair)
                yield NftElement("icc", pair)
            return
        parent = network.parent
        for pool in network.pools:  # the host may have no address of its own in it
            yield Route(HOST, pool.subnet, parent, metric=_LAST)
        if network.pools_of(4):
            yield Sysctl(HOST, f"net/ipv4/conf/{parent}/forwarding", "1")
            yield Sysctl(HOST, f"net/ipv4/neigh/{parent}/proxy_delay", "0")
        if network.pools_of(6):
            yield Sysctl(HOST, "net/ipv6/conf/all/forwarding", "1")
            yield Sysctl(HOST, f"net/ipv6/conf/{parent}/proxy_ndp", "1")
            yield Sysctl(HOST, f"net/ipv6/neigh/{parent}/proxy_delay", "0")
            if network.heeds_routers:
                yield Sysctl(HOST, f"net/ipv6/conf/{parent}/accept_ra", "2")  # 1 means: unless it forwards

    def _routed(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        yield from render_point_to_point(network, endpoint, sandbox)
        for address in filter(None, (endpoint.address, endpoint.address6)):
            yield Proxied(network.parent, address)
        for version in self._bridges.host.rules & set(network.versions):
            place = f'ipv{version} . "{endpoint.host_interface}"'
            yield NftElement("bridges", place, comment=endpoint.id[:12])
            yield NftElement("shared", place, comment=endpoint.id[:12])
