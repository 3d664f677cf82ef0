"""bridge: Docker's default network.

A Linux bridge on the host stands for the network. Each endpoint is a veth pair: one end, with the address, in the
container's namespace, the other enslaved to the bridge, which holds the gateway's address. What leaves the host is
masqueraded; what comes in to a published port is sent on by an element of one map (`kernel/ruleset.nft` explains how
the sets and maps are used).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from linkspan.drivers.inside import render_inside
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.port import ANY_IPV4
from linkspan.state.objects import HOST, Address, BoundPort, Bridge, KernelObject, NftElement, Sysctl, Veth


class BridgeDriver:
    name = "bridge"
    allocates = True

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        name, owner = network.bridge, network.id[:12]
        if network.managed:
            yield Bridge(name, alias=f"linkspan:{network.id}", mtu=network.mtu, mac=bridge_mac(network.id))
            for pool in network.pools:
                yield Address(HOST, name, f"{pool.gateway}/{pool.prefix_length}")
        # Published ports answer on 127.0.0.1 too: such a packet is routed out of the bridge with a loopback source
        # until it is masqueraded, which the kernel does not do unless told.
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/route_localnet", "1")
        # Behind a bridge that the administrator gave us there may be more than containers: nothing is closed there.
        yield NftElement("bridges" if network.managed else "open_bridges", f'"{name}"', comment=owner)
        if network.internal:
            yield NftElement("internal", f'"{name}"', comment=owner)
        yield NftElement("same_bridge", f'"{name}" . "{name}"', comment=owner)
        if network.icc:
            yield NftElement("icc", f'"{name}" . "{name}"', comment=owner)
        if network.masquerade and not network.internal:
            for pool in network.pools:
                yield NftElement("masqueraded", pool.subnet, comment=owner)

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        yield Veth(
            endpoint.host_interface,
            alias=f"linkspan:{endpoint.id}",
            namespace=sandbox.path,
            peer=endpoint.interface,
            mac=endpoint.mac,
            bridge=network.bridge,
            mtu=network.mtu,
            isolated=not network.icc,
        )
        yield from render_inside(network, endpoint, sandbox)
        yield from render_bindings(endpoint)


def render_bindings(endpoint: Endpoint) -> Iterable[KernelObject]:
    """A published port: reserved on the host, and one element that sends it on."""
    for binding in endpoint.bindings:
        yield BoundPort(binding.protocol, binding.address, binding.port)
        yield _published(endpoint, binding)


def _published(endpoint: Endpoint, binding: Binding) -> NftElement:
    target = f"{endpoint.address} . {binding.container_port}"
    port, owner = f"{binding.protocol} . {binding.port}", endpoint.id[:12]
    if binding.address == ANY_IPV4:
        return NftElement("published", port, target, owner)
    return NftElement("published_at", f"{binding.address} . {port}", target, owner)


def bridge_mac(network_id: str) -> str:
    """A locally administered address of the bridge's own: left alone, a bridge takes its lowest port's, and changes."""
    return "02:42:" + ":".join(network_id[i : i + 2] for i in range(0, 8, 2))
