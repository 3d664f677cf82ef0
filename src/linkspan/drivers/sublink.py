"""macvlan and ipvlan: containers with interfaces of their own on an interface of the host, its parent.

There is no NAT, no bridge, and nothing of the host's between a container and the parent's wire; nor can the host reach
its own containers: what it sends goes out at the parent, and does not turn round. `host_access` gives it a way: a
macvlan of its own on the same parent, with an address of the network, and a route to each container over it. Who asks
on the wire for the host's other addresses must not be answered from there, or two interfaces would claim one address:
so it answers for its own alone, and containers are told to go to the others through it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from linkspan.drivers.inside import render_inside
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import HOST_ADDRESS, Network
from linkspan.state.objects import HOST, Address, Device, KernelObject, Route, Shaper, Sysctl

_SHARED = "linkspan:parent"


class MacvlanDriver:
    name = "macvlan"
    allocates = True
    spans = False
    needs_cluster = False

    def render_network(self, network: Network) -> Iterator[KernelObject]:
        """The parent, where it is ours. A VLAN may be the parent of several networks, which render the same."""
        if not network.parent_made:
            return
        if network.parent == f"dm-{network.id[:12]}":
            yield Device(HOST, network.parent, "dummy", f"linkspan:{network.id}")
        else:
            base, _, number = network.parent.rpartition(".")
            yield Device(HOST, network.parent, "vlan", _SHARED, base, number)

    def render_occupied(self, network: Network, segments: Collection[int]) -> Iterator[KernelObject]:
        if not network.host_access:
            return
        name = host_link(network)
        mac = "02:42:" + ":".join(network.id[i : i + 2] for i in range(0, 8, 2))
        yield Device(HOST, name, "macvlan", f"linkspan:{network.id}", network.parent, network.mode, mac, network.mtu)
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/arp_ignore", "1")
        yield Sysctl(HOST, f"net/ipv4/conf/{name}/arp_announce", "2")
        if network.pools_of(6):
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/disable_ipv6", "0")
            yield Sysctl(HOST, f"net/ipv6/conf/{name}/accept_ra", "0")
        for pool in network.pools:
            yield Address(HOST, name, f"{pool.auxiliary[HOST_ADDRESS]}/{_whole(pool.version)}")

    def render_endpoint(self, network: Network, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[KernelObject]:
        inside, interface = sandbox.path, endpoint.interface
        yield Device(
            inside,
            interface,
            self.name,
            f"linkspan:{endpoint.id}",
            network.parent,
            network.mode,
            mac=endpoint.mac,
            mtu=network.mtu,
        )
        if not endpoint.address6:
            # Else the routers of the parent's wire would give it IPv6 addresses, which nobody asked for.
            yield Sysctl(inside, f"net/ipv6/conf/{interface}/disable_ipv6", "1")
        yield from render_inside(network, endpoint, sandbox)
        if limit := endpoint.bandwidth:
            for inward in (False, True):
                yield Shaper(inside, interface, inward, limit.rate, limit.burst)
        if not network.host_access:
            return
        for address in filter(None, (endpoint.address, endpoint.address6)):
            yield Route(HOST, f"{address}/{_whole(6 if ':' in address else 4)}", host_link(network))
        for pool in network.pools:
            for name, address in pool.auxiliary.items():
                if name.startswith(f"{HOST_ADDRESS}-"):
                    yield Route(inside, f"{address}/{_whole(pool.version)}", interface, pool.auxiliary[HOST_ADDRESS])


class IpvlanDriver(MacvlanDriver):
    """The containers share the parent's MAC address; in the modes l3 and l3s the host routes between them."""

    name = "ipvlan"


def host_link(network: Network) -> str:
    """The host's way to the containers of a network."""
    return f"mv-{network.id[:12]}"


def _whole(version: int) -> int:
    return 128 if version == 6 else 32
