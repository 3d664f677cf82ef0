"""Who is meant by what users call one end of a connection: a container, an address, or a host at one of its interfaces.

Of this host it is known which interface leads to whom. Of others only their addresses in the cluster are, and the
names of interfaces that HostEndpoints tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

from linkspan.engine.join import sandbox_owner
from linkspan.errors import NotFound
from linkspan.model.cluster import Host
from linkspan.model.policy import HostEndpoint
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

A_HOST = "host:"  # what the name of a host begins with
_LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """An endpoint, here or on another host; or a `host`, by name; or an address that is nobody's."""

    name: str
    member: str = ""  # an endpoint's id
    network: str = ""  # its network's
    addresses: tuple[str, ...] = ()  # none of this host: which one it has depends on whom it talks to
    host: str = ""
    interface: str = ""  # of the host, where it was said


class Sides:
    """At one moment, as seen from this host."""

    def __init__(self, snapshot: Snapshot, facts: HostFacts) -> None:
        self._snapshot, self._facts = snapshot, facts
        self._hosts = {host.name: host for host in snapshot.hosts.values()}
        self._own = {
            str(ip_interface(address).ip): interface.name
            for interface in facts.interfaces
            if not interface.loopback
            for address in interface.addresses
        }

    def named(self, named: str) -> list[Side]:
        """A container has a side on each of its networks. Raises NotFound."""
        if named.startswith(A_HOST):
            return [self._host(named)]
        try:
            address = str(ip_address(named))
        except ValueError:
            return list(self._of_container(named))
        return list(self._of_address(named, address))

    def _host(self, named: str) -> Side:
        name, _, interface = named.removeprefix(A_HOST).partition("/")
        if name == self._facts.name:
            if interface and interface not in {one.name for one in self._facts.interfaces}:
                raise NotFound(f"host {name} has no interface {interface}")
            return Side(named, host=name, interface=interface)
        if host := self._hosts.get(name):
            addresses = tuple(filter(None, (host.address, host.address6)))
            return Side(named, host=name, interface=interface, addresses=addresses)
        raise NotFound(f"No such host: {name}")

    def _of_address(self, named: str, address: str) -> Iterator[Side]:
        if address in self._own or address in self._gateways():
            yield Side(named, host=self._facts.name, addresses=(address,))
            return
        for host in self._hosts.values():
            if address in (host.address, host.address6):
                yield Side(named, host=host.name, addresses=(address,))
                return
        holders = [
            *((e.id, e.network_id, e.address, e.address6) for e in self._snapshot.endpoints.values()),
            *((r.id, r.network_id, r.address, r.address6) for r in self._snapshot.remotes.values()),
        ]
        found = [(id_, network) for id_, network, *addresses in holders if address in addresses]
        if not found:
            yield Side(named, addresses=(address,))
        for id_, network in found:
            yield Side(named, id_, network, (address,))

    def _gateways(self) -> Iterator[str]:
        """Addresses of this host on networks that have come since it was looked at."""
        for endpoint in self._snapshot.endpoints.values():
            network = self._snapshot.networks[endpoint.network_id]
            if network.bridge and not network.path:
                yield from filter(None, (endpoint.gateway, endpoint.gateway6))

    def _of_container(self, named: str) -> Iterator[Side]:
        name = named.lstrip("/")
        elsewhere = [r for r in self._snapshot.remotes.values() if name in (r.name, r.container_id)]
        try:
            container = self._snapshot.container(name)
        except NotFound:
            if not elsewhere:
                raise
            for remote in elsewhere:
                yield Side(name, remote.id, remote.network_id, tuple(filter(None, (remote.address, remote.address6))))
            return
        endpoints = self._snapshot.endpoints_in(sandbox_owner(self._snapshot, container))
        if not endpoints:
            raise NotFound(f"container {name} is on no network: it may not be running")
        for one in endpoints:
            yield Side(name, one.id, one.network_id, tuple(filter(None, (one.address, one.address6))))

    # -- addresses

    def ends(self, one: Side, other: Side) -> Iterator[tuple[str, str]]:
        """The pairs of their addresses of one IP version."""
        if self.same_host(one, other):
            yield _LOOPBACK, _LOOPBACK
            return
        for source in one.addresses or filter(None, (self._address_towards(one, other, to) for to in other.addresses)):
            for to in other.addresses or (self._address_towards(other, one, source),):
                if to and (":" in to) == (":" in source):
                    yield source, to

    def seen_as(self, one: Side, source: str, other: Side, to: str) -> str:
        """The source's address as another host sees it: containers may leave theirs under its own."""
        network = self._snapshot.networks.get(one.network)
        if not (network and other.host and network.masquerade and not network.internal):
            return source
        if self._host_of(one) == other.host:
            return source
        if one.member in self._snapshot.endpoints:
            return self._address_towards(Side("", host=self._facts.name), other, to) or source
        host = self._hosts.get(self._host_of(one))
        return (host.address6 if ":" in to else host.address) or source if host else source

    def _address_towards(self, host: Side, other: Side, to: str) -> str:
        """This host's own where it leads to an address; "" where it has none of that version."""
        version = ip_address(to).version
        if endpoint := self._snapshot.endpoints.get(other.member):
            network = self._snapshot.networks[endpoint.network_id]
            if network.bridge and not network.path:  # where it is a flat network's, the gateway is a router's
                return endpoint.gateway6 if version == 6 else endpoint.gateway
        interface = self.interface(host, other, to)
        known = [name for name in (interface, *sorted(self._facts.leading_out)) if name]
        for name in known:
            for address, at in self._own.items():
                if at == name and ip_address(address).version == version and not ip_address(address).is_link_local:
                    return address
        underlay = self._facts.underlay
        return (underlay.address6 if version == 6 else underlay.address) if underlay else ""

    # -- interfaces

    def same_host(self, one: Side, other: Side) -> bool:
        return one.host == other.host != ""

    def is_own(self, host: Side) -> bool:
        return host.host == self._facts.name

    def at_home(self, host: Side, other: Side) -> bool:
        """Whether the other is a container on that host."""
        return other.member != "" and self._host_of(other) == host.host

    def interface(self, host: Side, other: Side, peer: str) -> str:
        """The interface of this host that leads to the other; "" where nobody knows."""
        if host.interface:
            return host.interface
        if endpoint := self._snapshot.endpoints.get(other.member):
            network = self._snapshot.networks[endpoint.network_id]
            alone = network.encapsulation or network.path == "routed"  # on an interface of its own
            if at := network.bridge or (endpoint.host_interface if alone else ""):
                return at
        elif remote := self._snapshot.remotes.get(other.member):
            network = self._snapshot.networks[remote.network_id]
            if network.vni and network.encapsulation in ("", "vxlan"):
                return f"vx-{network.vni}"
            if there := self._snapshot.hosts.get(remote.host_id):
                peer = there.address or there.address6 if network.encapsulation else peer
        address = ip_address(peer)
        subnets = [
            (subnet.prefixlen, interface.name)
            for interface in self._facts.interfaces
            for subnet in (ip_interface(text).network for text in interface.addresses)
            if not interface.loopback and address in subnet
        ]
        return max(subnets)[1] if subnets else min(self._facts.leading_out, default="")

    def guarding(self, host: Side, address: str) -> list[HostEndpoint]:
        """Of another host: which may be about the interface where it has the address; one, where it was said."""
        there = [one for one in self._snapshot.host_endpoints.values() if one.spec.node == host.host]
        there.sort(key=lambda one: (one.spec.interface_name == "*", one.id))
        by_address = [one for one in there if not one.spec.interface_name and address in one.spec.expected_ips]
        by_name = [one for one in there if one.spec.interface_name]
        if host.interface:
            by_name = [one for one in by_name if one.spec.interface_name in (host.interface, "*")]
            return [*by_name, *by_address][:1]
        return by_address[:1] or by_name

    def published(self, host: Side, protocol: str, port: int, address: str) -> str:
        """`container:port`, where that port of this host leads into a container; else ""."""
        every = ("*", "::" if ":" in address else "0.0.0.0", address)
        for endpoint in self._snapshot.endpoints.values() if self.is_own(host) else ():
            for one in endpoint.bindings:
                if (one.protocol, one.port) == (protocol, port) and one.address in every:
                    return f"{self._snapshot.containers[endpoint.container_id].name}:{one.container_port}"
        return ""

    def _host_of(self, side: Side) -> str:
        """The name of the host that an endpoint is on."""
        if side.member in self._snapshot.endpoints:
            return self._facts.name
        remote = self._snapshot.remotes.get(side.member)
        host: Host | None = self._snapshot.hosts.get(remote.host_id) if remote else None
        return host.name if host else ""
