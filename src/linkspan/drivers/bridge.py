"""bridge: Docker's default network.

A Linux bridge on the host stands for the network. Each endpoint is a veth pair: one end, with the addresses, in the
container's namespace, the other enslaved to the bridge, which holds the gateways' addresses. What leaves the host is
masqueraded; what comes in to a published port is sent on by an element of one map (`kernel/ruleset.nft` explains how
the sets and maps are used). IPv4 and IPv6 are alike, each with a gateway mode of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from linkspan.drivers.inside import render_inside
from linkspan.drivers.publish import Host, render_bindings
from linkspan.model.endpoint import Endpoint, LinkedPort, Sandbox
from linkspan.model.network import LEAST_MTU6, Network
from linkspan.model.port import version_of
from linkspan.state.objects import HOST, Address, Bridge, Joint, KernelObject, NftElement, Proxied, Shaper, Sysctl, Veth

ROUTER_LINK_LOCAL = "fe80::1/64"  # of every bridge with IPv6: the same everywhere, as a link knows only itself


class BridgeDriver:
    name = "bridge"
    allocates = True
    spans = False
    needs_cluster = False

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or Host()

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        name = network.bridge
        if network.managed:
            yield Bridge(name, alias=f"linkspan:{network.id}", mtu=network.mtu, mac=bridge_mac(network.id))
            yield from gateway_addresses(network)
            if self.host.ipv6 and network.mtu >= LEAST_MTU6:
                # A router that somebody plays in a container must not be the host's.
                yield Sysctl(HOST, f"net/ipv6/conf/{name}/accept_ra", "0")
        # Published ports answer on 127.0.0.1 too: such a packet is routed out of the bridge with a loopback source
        # until it is masqueraded, which the kernel does not do unless told.
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/route_localnet", "1")
        if self.host.forward:
            yield Sysctl(HOST, f"net/ipv4/conf/{name}/forwarding", "1")  # as a new bridge has it, unless one is told
        # Without icc, ports of the bridge are isolated from each other. Where a link lets two containers talk they do
        # so through the host, which answers for the other one's address (of IPv6, for each that it is told).
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/proxy_arp_pvlan", "0" if network.icc else "1")
        if not network.icc:
            yield Sysctl(HOST, f"net/ipv4/neigh/{name}/proxy_delay", "0")
        if network.pools_of(6):
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/disable_ipv6", "0")
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/proxy_ndp", "0" if network.icc else "1")
            if not network.icc:
                yield Sysctl(HOST, f"net/ipv6/neigh/{name}/proxy_delay", "0")
            if self.host.forward:
                yield Sysctl(HOST, "net/ipv6/conf/all/forwarding", "1")
        for version in self.host.rules & set(network.versions):
            yield from filtering(network, version)
            yield from leaving(network, version)

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterator[KernelObject]:
        """Further bridges, for more endpoints than one has ports, each joined to the one before: all are one wire.

        The host knows of the first alone: that has the addresses, and is what the firewall sees.
        """
        for number in range(1, max(segments) + 1):
            name, alias = segment_bridge(network, number), f"linkspan:{network.id}"
            yield Bridge(name, alias, network.mtu, segment_mac(network.id, number))
            # Who asks here for the gateway's address must hear the first bridge alone.
            yield Sysctl(HOST, f"net/ipv4/conf/{name}/arp_ignore", "8")
            if self.host.ipv6 and network.mtu >= LEAST_MTU6:
                yield Sysctl(HOST, f"net/ipv6/conf/{name}/disable_ipv6", "1")
            if self.host.rules:
                yield NftElement("segments", f'"{name}"', comment=network.id[:12])
            # Containers that may not talk to each other may still talk to what is beyond the joint: the host. On the
            # bridge before the joint is as isolated as any of its ports.
            near, far = (f"{end}{number}-{network.id}"[:15] for end in ("jn", "jf"))
            before = segment_bridge(network, number - 1)
            yield Joint(near, alias, name, far, before, network.mtu, not network.icc)

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        inside, interface = sandbox.path, endpoint.interface
        yield Veth(
            endpoint.host_interface,
            alias=f"linkspan:{endpoint.id}",
            namespace=inside,
            peer=interface,
            mac=endpoint.mac,
            bridge=segment_bridge(network, endpoint.segment),
            mtu=network.mtu,
            isolated=not network.icc,
        )
        yield from render_inside(network, endpoint, sandbox)
        if limit := endpoint.bandwidth:
            for namespace, end in ((HOST, endpoint.host_interface), (inside, interface)):
                yield Shaper(namespace, end, False, limit.rate, limit.burst)
        yield from render_bindings(network, endpoint, self.host)
        if not network.icc:
            if endpoint.address6:
                yield Proxied(network.bridge, endpoint.address6)
            for port in endpoint.linked:
                yield from _linked(endpoint, port, self.host.rules)


def _linked(endpoint: Endpoint, port: LinkedPort, rules: Collection[int]) -> Iterator[NftElement]:
    version = version_of(port.address)
    own = endpoint.address6 if version == 6 else endpoint.address
    if own and version in rules:
        pair = f"{own} . {port.address} . {port.protocol} . {port.port}"
        yield NftElement("linked6" if version == 6 else "linked", pair, comment=endpoint.id[:12])


def gateway_addresses(network: Network) -> Iterator[Address]:
    for pool in network.pools:
        unused = network.gateway_mode_of(pool.version) == "isolated" or (network.inhibit_ipv4 and pool.version == 4)
        if pool.gateway and not unused:
            yield Address(HOST, network.bridge, f"{pool.gateway}/{pool.prefix_length}")
    if network.pools_of(6) and network.gateway_mode6 != "isolated":
        yield Address(HOST, network.bridge, ROUTER_LINK_LOCAL)


def filtering(network: Network, version: int) -> Iterator[NftElement]:
    """What may reach the network's containers, and whom they may reach."""
    owner, bridge = network.id[:12], f'ipv{version} . "{network.bridge}"'
    pair = f'{bridge} . "{network.bridge}"'
    yield NftElement("bridges", bridge, comment=owner)
    yield NftElement("same_bridge", pair, comment=owner)
    if network.icc:
        yield NftElement("icc", pair, comment=owner)
    if network.internal:
        yield NftElement("internal", bridge, comment=owner)
    # Behind a bridge that the administrator gave us there may be more than containers: nothing is closed there.
    if network.managed and network.gateway_mode_of(version) != "nat-unprotected":
        yield NftElement("closed", bridge, comment=owner)
    if network.gateway_mode_of(version) == "routed":
        yield NftElement("routed", bridge, comment=owner)
    if not network.managed:
        yield NftElement("shared", bridge, comment=owner)


def leaving(network: Network, version: int) -> Iterator[NftElement]:
    """Under which address the network's containers leave the host: their own where the network is routed."""
    if not network.masquerade or network.internal or network.gateway_mode_of(version) == "routed":
        return
    suffix, source = ("6", network.host_ipv6) if version == 6 else ("", network.host_ipv4)
    for pool in network.pools_of(version):
        if source:
            yield NftElement(f"leaving_as{suffix}", pool.subnet, source, network.id[:12])
        else:
            yield NftElement(f"masqueraded{suffix}", pool.subnet, comment=network.id[:12])


def segment_bridge(network: Network, number: int) -> str:
    """One of the network's bridges; the first is the network's own."""
    return f"br{number}-{network.id}"[:15] if number else network.bridge


def segment_mac(network_id: str, number: int) -> str:
    """Another one than the first bridge's, which is the gateway's."""
    return f"02:43:{number & 255:02x}:" + ":".join(network_id[i : i + 2] for i in range(0, 6, 2))


def bridge_mac(network_id: str) -> str:
    """A locally administered address of the bridge's own: left alone, a bridge takes its lowest port's, and changes."""
    return "02:42:" + ":".join(network_id[i : i + 2] for i in range(0, 8, 2))
