"""The effective address translation, as rows in the columns of `iptables -t nat -nL`.

The kernel holds no such rules: it holds one rule and a map. The rows say what the map's elements mean, in the form
that everybody reads fluently, and whose each one is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from linkspan.model.endpoint import Binding, Endpoint
from linkspan.model.port import ANY_IPV4, ANY_IPV6, each_family, version_of, with_port
from linkspan.model.snapshot import Snapshot

ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclasses.dataclass(frozen=True, slots=True)
class NatRow:
    chain: str
    target: str
    prot: str
    source: str
    destination: str
    extra: str = ""
    container: str = ""
    network: str = ""
    opt: str = "--"


def nat_rows(snapshot: Snapshot) -> list[NatRow]:
    """Chain by chain; in each, networks and endpoints in the order of their addresses."""
    used = {pool.version for network in snapshot.networks.values() for pool in network.pools}
    used |= {version_of(address) for e in snapshot.endpoints.values() for _, address in _translated(e)}
    versions = sorted(used | {4})
    return [*_entries(versions), *_leaving(snapshot), *_hairpins(snapshot), *_published(snapshot)]


def _entries(versions: Iterable[int]) -> Iterator[NatRow]:
    """Published ports are looked up for what arrives at an address of the host, from elsewhere and from the host."""
    for chain in ("PREROUTING", "OUTPUT"):
        for version in versions:
            everywhere = ANYWHERE[version]
            yield NatRow(chain, "DOCKER", "all", everywhere, everywhere, "ADDRTYPE match dst-type LOCAL")


def _leaving(snapshot: Snapshot) -> Iterator[NatRow]:
    for network in sorted(snapshot.networks.values(), key=lambda n: (not n.predefined, n.name)):
        for pool in network.pools if network.masquerade and not network.internal else ():
            version = pool.version
            if network.gateway_mode_of(version) != "routed":
                source = network.host_ipv6 if version == 6 else network.host_ipv4
                within = "not to calico networks" if network.encapsulation else ""
                target, extra = ("SNAT", f"to:{source}") if source else ("MASQUERADE", within)
                yield NatRow("POSTROUTING", target, "all", pool.subnet, ANYWHERE[version], extra, network=network.name)


def _hairpins(snapshot: Snapshot) -> Iterator[NatRow]:
    for endpoint in _in_order(snapshot):
        targets = (
            (own, b.protocol, b.container_port)
            for b, address in _translated(endpoint)
            if (own := _own_address(endpoint, address))
        )
        for own, protocol, port in dict.fromkeys(targets):
            whose = _whose(snapshot, endpoint.container_id, endpoint.network_id)
            yield NatRow("POSTROUTING", "MASQUERADE", protocol, own, own, f"{protocol} dpt:{port}", *whose)


def _published(snapshot: Snapshot) -> Iterator[NatRow]:
    for endpoint in _in_order(snapshot):
        for b, address in _translated(endpoint):
            everywhere = ANYWHERE[version_of(address)]
            own = _own_address(endpoint, address)
            # An IPv6 port of a container that has IPv4 only is sent on by a process.
            target = "DNAT" if own else "RELAY"
            yield NatRow(
                "DOCKER",
                target,
                b.protocol,
                everywhere,
                everywhere if address in (ANY_IPV4, ANY_IPV6) else address,
                f"{b.protocol} dpt:{b.port} to:{with_port(own or endpoint.address, b.container_port)}",
                *_whose(snapshot, endpoint.container_id, endpoint.network_id),
            )


def _translated(endpoint: Endpoint) -> list[tuple[Binding, str]]:
    """Each binding that is translated, with each host address that it is at."""
    return [(b, address) for b in endpoint.bindings if b.port for address in each_family(b.address)]


def _own_address(endpoint: Endpoint, host_address: str) -> str:
    """The endpoint's address of the host address's IP version."""
    return endpoint.address6 if version_of(host_address) == 6 else endpoint.address


def _in_order(snapshot: Snapshot) -> Iterator[Endpoint]:
    ids = [snapshot.address_holders[key] for key in sorted(snapshot.address_holders, key=lambda k: k[1])]
    return (snapshot.endpoints[id_] for id_ in dict.fromkeys(ids))


def _whose(snapshot: Snapshot, container_id: str, network_id: str) -> tuple[str, str]:
    return snapshot.containers[container_id].name, snapshot.networks[network_id].name
