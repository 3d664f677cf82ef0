"""Policies about the hosts' own interfaces: what they say of a packet, and whether they cut a host off.

At an interface that has a HostEndpoint passes what some policy allows, and what no policy decides only where the
endpoint has the profile that allows it: a HostEndpoint by itself closes the interface. The failsafe ports stay open
whatever is said, as Calico's do: a host can be reached by ssh, gets its own address, and reaches etcd.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from linkspan.engine.policy.verdict import Packet, Say, say
from linkspan.model.cluster import Host
from linkspan.model.policy import ALLOW_PROFILE, EGRESS, FAILSAFE, INGRESS, HostEndpoint
from linkspan.model.selections import Held
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

TCP, UDP, IPIP = 6, 17, 4
_VXLAN, _FLANNEL_VXLAN = 4789, 8472
_MOST_PAIRS = 200  # of an interface and another host, each of which takes some milliseconds where sets are large
_STRANGERS = {4: "198.51.100.77", 6: "2001:db8:5163::77"}  # addresses that no rule means in particular


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """This host, its interfaces that are not ours with their addresses, and its API's TCP ports."""

    host: Host
    interfaces: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    api_ports: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """A way between two hosts, without which they lose each other: each of these is one, and one is enough."""

    what: str
    protocol: int
    ways: tuple[tuple[str, int, str, int], ...]  # address and port here and there


def host_say(snapshot: Snapshot, endpoint: HostEndpoint, direction: str, packet: Packet) -> Say:
    """What becomes of the first packet of a connection that a host receives, or sends, at the interface."""
    if (packet.protocol, packet.port) in FAILSAFE[direction]:
        return Say(True, "a failsafe port")
    found = say(snapshot, about(snapshot, endpoint), direction, packet)
    if found.policy or not found.allowed or ALLOW_PROFILE in endpoint.spec.profiles:
        return found
    return dataclasses.replace(
        found, allowed=False, rule=f"{found.rule}, and HostEndpoint {endpoint.name} has not the profile {ALLOW_PROFILE}"
    )


def host_endpoints(snapshot: Snapshot, host: HostFacts) -> dict[str, HostEndpoint]:
    """Of this host, by interface: one that names it goes before one of all."""
    by_interface: dict[str, HostEndpoint] = {}
    own = (one for one in snapshot.host_endpoints.values() if one.spec.node == host.name)
    for endpoint in sorted(own, key=lambda one: (one.spec.interface_name == "*", one.id)):
        for name in _interfaces(endpoint, host):
            by_interface.setdefault(name, endpoint)
    return by_interface


def _interfaces(endpoint: HostEndpoint, host: HostFacts) -> Iterator[str]:
    """By name, whether it is there or not; or all that are neither ours nor loopback; or by address."""
    spec = endpoint.spec
    if spec.interface_name not in ("", "*"):
        yield spec.interface_name
        return
    for interface in host.interfaces:
        had = {address.partition("/")[0] for address in interface.addresses}
        if not (interface.loopback or interface.ours) and (spec.interface_name or had & set(spec.expected_ips)):
            yield interface.name


def about(snapshot: Snapshot, endpoint: HostEndpoint) -> list[Held]:
    """The policies that are about it, in no order."""
    labels = endpoint.metadata.labels
    return [held for held in snapshot.selections.policies.values() if held.subject.matches(labels)]


def cut_off(snapshot: Snapshot, own: Own) -> Iterator[str]:
    """What hosts lose by what is said of their interfaces: the ways between them, and the API.

    Of a large cluster not every pair of hosts is looked at: each interface with some of the others.
    """
    hosts = sorted((*snapshot.hosts.values(), own.host), key=lambda host: host.name)
    by_name = {host.name: host for host in hosts}
    endpoints = sorted(snapshot.host_endpoints.values(), key=lambda one: (one.spec.node != own.host.name, one.name))
    named = [(endpoint, by_name[endpoint.spec.node]) for endpoint in endpoints if endpoint.spec.node in by_name]
    pairs = ((endpoint, host, other) for other in hosts for endpoint, host in named if host is not other)
    for endpoint, host, other in itertools.islice(pairs, _MOST_PAIRS):
        for need in _needs(snapshot, host, other):
            yield from _cut(snapshot, endpoint, need, (host, other), own)
    for endpoint, host in named:
        if host is own.host:
            yield from _api_cut(snapshot, endpoint, own)


def _needs(snapshot: Snapshot, host: Host, other: Host) -> Iterator[Need]:
    """Tunnels of networks; in a mesh those between the hosts themselves, in which all others are."""
    if host.endpoints and other.endpoints:
        ends = [[_split(where) for where in one.endpoints] for one in (host, other)]
        pairs = [(*a, *b) for a in ends[0] for b in ends[1] if (":" in a[0]) == (":" in b[0])]
        yield Need("the mesh's UDP", UDP, tuple(pairs))
        return
    addresses = ((host.address, other.address), (host.address6, other.address6))
    here, there = next((pair for pair in addresses if all(pair)), ("", ""))  # of both versions, tunnels are of IPv4
    for what, protocol, port in sorted(_tunnels(snapshot)) if here else ():
        yield Need(what, protocol, ((here, port, there, port),))


def _split(where: str) -> tuple[str, int]:
    address, _, port = where.rpartition(":")
    return address.strip("[]"), int(port)


def _tunnels(snapshot: Snapshot) -> set[tuple[str, int, int]]:
    found = set[tuple[str, int, int]]()
    for network in snapshot.networks.values():
        if network.driver == "flannel":
            found.add((f"UDP {_FLANNEL_VXLAN}", UDP, _FLANNEL_VXLAN))
        elif network.encapsulation.startswith("ipip"):
            found.add(("IP in IP", IPIP, 0))
        elif network.vni:
            found.add((f"UDP {_VXLAN}", UDP, _VXLAN))
    return found


def _cut(snapshot: Snapshot, endpoint: HostEndpoint, need: Need, ends: tuple[Host, Host], own: Own) -> Iterator[str]:
    """Where the endpoint says something of every way, and lets none pass."""
    host, other = ends
    for direction, way in ((INGRESS, "from"), (EGRESS, "to")):
        said: list[tuple[str, Say]] = []
        for here, port, there, their_port in need.ways:
            if not _is_at(endpoint, here, host, own):
                return
            packet = Packet(there, here, need.protocol, port=port)
            if direction == EGRESS:
                packet = Packet(here, there, need.protocol, port=their_port)
            said.append((there, host_say(snapshot, endpoint, direction, packet)))
        if said and not any(one.allowed for _, one in said):
            yield f"{need.what} {way} {other.name} ({said[0][0]}) at host {host.name}: {said[0][1].rule}"


def _is_at(endpoint: HostEndpoint, address: str, host: Host, own: Own) -> bool:
    """Whether a host's address is at the interface. Of other hosts' interfaces only the names are known."""
    spec = endpoint.spec
    if not spec.interface_name:
        return address in spec.expected_ips
    if host is not own.host:
        return True
    named = own.interfaces.values() if spec.interface_name == "*" else [own.interfaces.get(spec.interface_name, ())]
    return any(address in addresses for addresses in named)


def _api_cut(snapshot: Snapshot, endpoint: HostEndpoint, own: Own) -> Iterator[str]:
    """Only where no address that anybody has said something of may come in."""
    addresses = {address for found in own.interfaces.values() for address in found if not address.startswith("fe80:")}
    reached = sorted(address for address in addresses if _is_at(endpoint, address, own.host, own))
    for port in own.api_ports if reached else ():
        said = [
            host_say(snapshot, endpoint, INGRESS, Packet(client, address, TCP, port=port))
            for address in reached
            for client in _clients(snapshot, about(snapshot, endpoint), 6 if ":" in address else 4)
        ]
        if not any(one.allowed for one in said):
            yield f"TCP {port} (the API) at host {own.host.name}: {said[0].rule}"


def _clients(snapshot: Snapshot, policies: Sequence[Held], version: int) -> Iterator[str]:
    yield _STRANGERS[version]
    yield from (a for host in snapshot.hosts.values() for a in (host.address, host.address6) if _is(a, version))
    for held in policies:
        for rule in held.policy.spec.ingress:
            yield from (str(ip_network(net)[0]) for net in rule.source.nets if _is(net, version))
    for found in snapshot.network_sets.values():
        yield from (str(ip_network(net)[0]) for net in found.spec.nets if _is(net, version))


def _is(address: str, version: int) -> bool:
    return bool(address) and (":" in address) == (version == 6)
