"""calico: every container is a route.

There is no bridge and no gateway: each container hangs on its host by a veth pair of its own (`point_to_point`), and
whoever has a route may reach it; who may is the business of policies. A host has blocks of the network's addresses. To
the other hosts it is one route for each of their blocks, and one for each address that is elsewhere than its block
(borrowed, moved). What is for an address of its own block that nobody has ends in a blackhole, and not at the host's
default route, from where it would come back.

What lies between the hosts is the network's `encapsulation`:

vxlan, ipip      the packets travel in tunnels
…-cross-subnet   in tunnels to hosts behind a router, else plainly
never            plainly; the routes are then a routing protocol's to make, which the fabric takes part in
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator

from linkspan.drivers.bridge import leaving
from linkspan.drivers.inside import link_local
from linkspan.drivers.point_to_point import NEXT_HOP, render_point_to_point
from linkspan.drivers.publish import Host as HostSettings
from linkspan.drivers.publish import render_bindings
from linkspan.model.cluster import Block, Host, Remote
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.port import version_of
from linkspan.state.host import Underlay
from linkspan.state.objects import (
    HOST,
    Address,
    Device,
    FdbEntry,
    KernelObject,
    Neighbour,
    NftElement,
    Route,
    Shaper,
    Sysctl,
    Veth,
    Vxlan,
)

IPIP = "ls-ipip"  # the host's end of all tunnels without a number


class CalicoDriver:
    name = "calico"
    allocates = True
    spans = True
    needs_cluster = True

    def __init__(self, host: HostSettings | None = None, underlay: Underlay | None = None, host_id: str = "") -> None:
        self.host, self.underlay, self.host_id = host or HostSettings(), underlay, host_id

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        """On every host of the cluster, as each leads to all of its containers."""
        for version in self.host.rules & set(network.versions):
            for pool in network.pools_of(version):
                yield NftElement(f"pools{_mark(version)}", pool.subnet, comment=network.id[:12])
                for name in self._fabric(network):
                    yield NftElement(f"fabric{_mark(version)}", f'"{name}" . {pool.subnet}', comment=network.id[:12])
            yield from leaving(network, version)
        if network.pools_of(6) and self.host.forward:
            yield Sysctl(HOST, "net/ipv6/conf/all/forwarding", "1")
        if self.underlay and network.encapsulation != "never":
            yield from self._tunnel(network, self.underlay)

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        outside = endpoint.host_interface
        yield Veth(
            outside,
            alias=f"linkspan:{endpoint.id}",
            namespace=sandbox.path,
            peer=endpoint.interface,
            mac=endpoint.mac,
            bridge="",
            mtu=network.mtu,
            hairpin=False,
        )
        yield from render_point_to_point(network, endpoint, sandbox)
        if limit := endpoint.bandwidth:
            for namespace, end in ((HOST, outside), (sandbox.path, endpoint.interface)):
                yield Shaper(namespace, end, False, limit.rate, limit.burst)
        yield from render_bindings(network, endpoint, self.host)
        # A port published on 127.0.0.1: the host's own packets to it leave here with that source until they are
        # masqueraded.
        yield Sysctl(HOST, f"net/ipv4/conf/{outside}/route_localnet", "1" if endpoint.bindings else "0")
        if 4 not in self.host.rules:  # else the firewall sees to that
            yield Sysctl(HOST, f"net/ipv4/conf/{outside}/rp_filter", "1")
        for address in filter(None, (endpoint.address, endpoint.address6)):
            if version_of(address) in self.host.rules:
                yield from _filtering(network, endpoint, address)

    def render_host(self, network: Network, host: Host) -> Iterator[KernelObject]:
        """Where its end of the tunnels is, from which packets are taken."""
        place = self._place(host)
        if not place or network.encapsulation == "never":
            return
        if tunnel(network) == IPIP:
            if 4 in self.host.rules:
                yield NftElement("ipip_ends", place)
            return
        mac = tunnel_mac(place)
        if (version := version_of(place)) in self.host.rules:
            yield NftElement(f"tunnel_ends{_mark(version)}", f"{network.vni} . {place}", comment=network.id[:12])
        yield FdbEntry(tunnel(network), mac, place)
        for number in network.versions:
            yield Neighbour(tunnel(network), _gateway(place, number), mac)

    def render_block(self, network: Network, block: Block, host: Host | None) -> Iterator[KernelObject]:
        if block.host_id == self.host_id:
            yield Route(HOST, block.subnet, "", kind="blackhole")
            if block.subnet_version in self.host.rules:
                place = f"own_blocks{_mark(block.subnet_version)}"
                yield NftElement(place, block.subnet, comment=network.id[:12])
        elif host:
            yield from self._way(network, block.subnet, host)

    def render_remote(self, network: Network, remote: Remote, host: Host) -> Iterator[KernelObject]:
        """Nothing: it is in a block of its host's, or a single."""
        yield from ()

    def render_single(self, network: Network, address: str, host: Host) -> Iterator[KernelObject]:
        yield from self._way(network, f"{address}/{128 if ':' in address else 32}", host)

    def _way(self, network: Network, destination: str, host: Host) -> Iterator[Route]:
        """The route to addresses on another host."""
        under, version = self.underlay, version_of(destination)
        if under is None or network.encapsulation == "never":
            return
        # Else the kernel would take an address of whichever interface it sees first.
        source = under.address6 if version == 6 else under.address
        direct = host.address6 if version == 6 else host.address
        if network.encapsulation.endswith("cross-subnet") and _on_link(under, direct):
            yield Route(HOST, destination, under.interface, direct, source=source)
        elif place := self._place(host):
            yield Route(HOST, destination, tunnel(network), _gateway(place, version), onlink=True, source=source)

    def _fabric(self, network: Network) -> tuple[str, ...]:
        """The interfaces over which other hosts send packets for the network, and nothing that is to be passed on.

        In a mesh a host passes on what comes plainly for others. What circles there while an address moves, for
        milliseconds, ends by its TTL.
        """
        if self.underlay is None:
            return ()
        plainly = () if self.underlay.meshed else (self.underlay.interface,)
        if network.encapsulation == "never":
            return plainly
        return (*(plainly if network.encapsulation.endswith("cross-subnet") else ()), tunnel(network))

    def _tunnel(self, network: Network, under: Underlay) -> Iterator[KernelObject]:
        name, place = tunnel(network), under.address or under.address6
        mtu = under.mtu - around(network.encapsulation, place)
        if name == IPIP:
            if 4 in self.host.rules:
                yield NftElement("ipip_here", place)
            yield Device(HOST, IPIP, "ipip", "linkspan:ipip", mode=place, mtu=mtu)
        else:
            if version_of(place) in self.host.rules:
                yield NftElement("tunnels", str(network.vni), comment=network.id[:12])
            yield Vxlan(name, f"linkspan:{network.id}", network.vni, place, mtu=mtu, mac=tunnel_mac(place))
        # What a host itself or another network's containers send comes by this tunnel, and is answered by another way:
        # the kernel is loose about that only on an interface that has an address. (This one is never a source.)
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/rp_filter", "2")
        yield Address(HOST, name, f"{NEXT_HOP}/32", own=True)
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/forwarding", "1")
        if network.pools_of(6):
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/disable_ipv6", "0")
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/accept_ra", "0")

    def _place(self, host: Host) -> str:
        """Where the other host's end of tunnels is; "" where this one cannot reach it."""
        if self.underlay is None:
            return ""
        return host.address if self.underlay.address else host.address6


def tunnel(network: Network) -> str:
    """The interface that is this host's end of the network's tunnels."""
    return IPIP if network.encapsulation.startswith("ipip") else f"vx-{network.vni}"


def tunnel_mac(place: str) -> str:
    """Of the tunnels' end at a place, on every network: all others know it by the place."""
    return "0a:" + hashlib.sha256(place.encode()).digest()[:5].hex(":")


def around(encapsulation: str, place: str) -> int:
    """Bytes that may be put around a packet to such a place: of Ethernet, VXLAN and UDP, and those of IP."""
    if encapsulation == "never":
        return 0
    return (40 if ":" in place else 20) + (0 if encapsulation.startswith("ipip") else 14 + 8 + 8)


def _gateway(place: str, version: int) -> str:
    """Who is at the tunnels' end at a place, to whom packets of an IP version are given: only its neighbour's entry
    counts."""
    return place if version == 4 else link_local(tunnel_mac(place))


def _filtering(network: Network, endpoint: Endpoint, address: str) -> Iterator[NftElement]:
    version, owner, outside = version_of(address), endpoint.id[:12], f'"{endpoint.host_interface}"'
    place, pair = f"ipv{version} . {outside}", f"ipv{version} . {outside} . {outside}"
    yield NftElement("bridges", place, comment=owner)
    # Nothing is closed; what the administrator has to allow first (--publish-policy) are published ports.
    yield NftElement("shared", place, comment=owner)
    # A container that reaches itself through its published port.
    yield NftElement("same_bridge", pair, comment=owner)
    yield NftElement("icc", pair, comment=owner)
    yield NftElement("ends", outside, comment=owner)
    yield NftElement(f"sources{_mark(version)}", f"{outside} . {address}", comment=owner)
    if network.internal:
        yield NftElement("internal", place, comment=owner)
        for pool in network.pools_of(version):
            yield NftElement(f"inward{_mark(version)}", f"{outside} . {pool.subnet}", comment=owner)


def _on_link(under: Underlay, address: str) -> bool:
    if not address:
        return False
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(prefix, strict=False) for prefix in under.on_link)


def _mark(version: int) -> str:
    """Of the firewall's sets."""
    return "6" if version == 6 else ""
