"""The effective address translation, as rows in the columns of `iptables -t nat -nL`.

The kernel holds no such rules: it holds one rule and a map. The rows say what the map's elements mean, in the form
that everybody reads fluently, and whose each one is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from linkspan.model.endpoint import Endpoint
from linkspan.model.port import ANY_IPV4
from linkspan.model.snapshot import Snapshot

ANYWHERE = "0.0.0.0/0"


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
    return [*_entries(), *_masquerades(snapshot), *_hairpins(snapshot), *_published(snapshot)]


def _entries() -> Iterator[NatRow]:
    """Published ports are looked up for what arrives at an address of the host, from elsewhere and from the host."""
    for chain in ("PREROUTING", "OUTPUT"):
        yield NatRow(chain, "DOCKER", "all", ANYWHERE, ANYWHERE, "ADDRTYPE match dst-type LOCAL")


def _masquerades(snapshot: Snapshot) -> Iterator[NatRow]:
    for network in sorted(snapshot.networks.values(), key=lambda n: (not n.predefined, n.name)):
        if network.masquerade and not network.internal:
            for pool in network.pools:
                yield NatRow("POSTROUTING", "MASQUERADE", "all", pool.subnet, ANYWHERE, network=network.name)


def _hairpins(snapshot: Snapshot) -> Iterator[NatRow]:
    for endpoint in _in_order(snapshot):
        for protocol, port in dict.fromkeys((b.protocol, b.container_port) for b in endpoint.bindings):
            yield NatRow(
                "POSTROUTING",
                "MASQUERADE",
                protocol,
                endpoint.address,
                endpoint.address,
                f"{protocol} dpt:{port}",
                *_whose(snapshot, endpoint.container_id, endpoint.network_id),
            )


def _published(snapshot: Snapshot) -> Iterator[NatRow]:
    for endpoint in _in_order(snapshot):
        for b in endpoint.bindings:
            yield NatRow(
                "DOCKER",
                "DNAT",
                b.protocol,
                ANYWHERE,
                ANYWHERE if b.address == ANY_IPV4 else b.address,
                f"{b.protocol} dpt:{b.port} to:{endpoint.address}:{b.container_port}",
                *_whose(snapshot, endpoint.container_id, endpoint.network_id),
            )


def _in_order(snapshot: Snapshot) -> Iterator[Endpoint]:
    ids = [snapshot.address_holders[key] for key in sorted(snapshot.address_holders, key=lambda k: k[1])]
    return (snapshot.endpoints[id_] for id_ in ids)


def _whose(snapshot: Snapshot, container_id: str, network_id: str) -> tuple[str, str]:
    return snapshot.containers[container_id].name, snapshot.networks[network_id].name
