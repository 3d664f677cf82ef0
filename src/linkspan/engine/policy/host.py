"""Policies about the hosts' own interfaces: what they say of a packet, and whether they cut a host off.

At an interface that has a HostEndpoint passes what some policy allows, and what no policy decides only where the
endpoint has the profile that allows it: a HostEndpoint by itself closes the interface. The failsafe ports stay open
whatever is said, as Calico's do: a host can be reached by ssh, gets its own address, and reaches etcd.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from linkspan.engine.policy.verdict import Packet, Say, say
from linkspan.model.cluster import Host
from linkspan.model.policy import ALLOW_PROFILE, EGRESS, FAILSAFE, INGRESS, HostEndpoint
from linkspan.model.selections import Held
from linkspan.model.snapshot import Snapshot

TCP, UDP, IPIP = 6, 17, 4
_VXLAN, _FLANNEL_VXLAN = 4789, 8472
_STRANGERS = {4: "198.51.100.77", 6: "2001:db8:5163::77"}  # addresses that no rule means in particular


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """This host: its name and addresses, the interface that the others reach it at, and its API's TCP ports."""

    host: Host
    interface: str = ""
    api_ports: tuple[int, ...] = ()


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


def about(snapshot: Snapshot, endpoint: HostEndpoint) -> list[Held]:
    """The policies that are about it, in no order."""
    labels = endpoint.metadata.labels
    return [held for held in snapshot.selections.policies.values() if held.subject.matches(labels)]


def cut_off(snapshot: Snapshot, own: Own) -> Iterator[str]:
    """What hosts lose by what is said of their interfaces: tunnels between them, and the API."""
    hosts = {host.name: host for host in (*snapshot.hosts.values(), own.host)}
    tunnels = sorted(_tunnels(snapshot))
    for endpoint in sorted(snapshot.host_endpoints.values(), key=lambda one: one.name):
        host = hosts.get(endpoint.spec.node)
        if host is None or not _leads_to_others(endpoint, host, own):
            continue
        for other in sorted(hosts.values(), key=lambda one: one.name):
            for what, protocol, port in tunnels if other is not host else ():
                yield from _tunnel_cut(snapshot, endpoint, (host, other), what, protocol, port)
        if host is own.host:
            yield from _api_cut(snapshot, endpoint, own)


def _tunnels(snapshot: Snapshot) -> set[tuple[str, int, int]]:
    """What goes from host to host for the networks that there are."""
    found = set[tuple[str, int, int]]()
    for network in snapshot.networks.values():
        if network.driver == "flannel":
            found.add((f"UDP {_FLANNEL_VXLAN}", UDP, _FLANNEL_VXLAN))
        elif network.encapsulation.startswith("ipip"):
            found.add(("IP in IP", IPIP, 0))
        elif network.vni:
            found.add((f"UDP {_VXLAN}", UDP, _VXLAN))
    for host in snapshot.hosts.values():
        ports = {int(where.rpartition(":")[2]) for where in host.endpoints}
        found.update((f"UDP {port}", UDP, port) for port in ports)
    return found


def _leads_to_others(endpoint: HostEndpoint, host: Host, own: Own) -> bool:
    """Whether the others reach the host at this interface. Of other hosts' interfaces only the names are known."""
    if endpoint.spec.interface_name == "*" or {host.address, host.address6} & set(endpoint.spec.expected_ips):
        return True
    name = endpoint.spec.interface_name
    return bool(name) and (host is not own.host or name == own.interface or not own.interface)


def _tunnel_cut(
    snapshot: Snapshot, endpoint: HostEndpoint, ends: tuple[Host, Host], what: str, protocol: int, port: int
) -> Iterator[str]:
    host, other = ends
    for here, there in ((host.address, other.address), (host.address6, other.address6)):
        if here and there:
            came = host_say(snapshot, endpoint, INGRESS, Packet(there, here, protocol, port=port))
            goes = host_say(snapshot, endpoint, EGRESS, Packet(here, there, protocol, port=port))
            for said, way in ((came, "from"), (goes, "to")):
                if not said.allowed:
                    yield f"{what} {way} {other.name} ({there}) at host {host.name}: {said.rule}"
            return  # where both have both, tunnels are of IPv4


def _api_cut(snapshot: Snapshot, endpoint: HostEndpoint, own: Own) -> Iterator[str]:
    """Only where no address that anybody has said something of may come in."""
    addresses = [address for address in (own.host.address, own.host.address6) if address]
    for port in own.api_ports:
        said = [
            host_say(snapshot, endpoint, INGRESS, Packet(client, address, TCP, port=port))
            for address in addresses or [_STRANGERS[4]]
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
