"""Records of a cluster with a calico network: hosts h1, h2, h3, each with a block of IPv4 and of IPv6 addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from linkspan.engine.bgp.plan import Plan, plan
from linkspan.engine.bgp.resources import Secrets
from linkspan.model.bgp import (
    BgpConfiguration,
    BgpConfigurationSpec,
    BgpFilter,
    BgpFilterSpec,
    BgpPeer,
    BgpPeerSpec,
)
from linkspan.model.cluster import Block, Host, Remote, block_id
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.resource import Metadata
from linkspan.model.snapshot import Record, Snapshot, put

NAMES = ("h1", "h2", "h3")
POOL, POOL6 = "10.65.0.0/16", "fd65::/64"
NETWORK = Network(
    id="4e" * 32,
    name="fabric",
    driver="calico",
    created="",
    scope="global",
    encapsulation="never",
    pools=(Pool(subnet=POOL), Pool(subnet=POOL6)),
)


def host(name: str, labels: Mapping[str, str] | None = None, **fields: str) -> Host:
    number = int(name[1:])
    places = {"address": f"10.211.55.{3 + number}", "address6": f"fd55::{3 + number}"} | fields
    return Host(id=f"{number:08x}-0000-4000-8000-{number:012x}", name=name, labels=labels or {}, **places)


def block(name: str, subnet: str) -> Block:
    return Block(id=block_id(NETWORK.id, subnet), network_id=NETWORK.id, subnet=subnet, host_id=host(name).id)


def blocks(name: str) -> tuple[Block, Block]:
    number = int(name[1:])
    return block(name, f"10.65.{number}.0/26"), block(name, f"fd65::{number}00/122")


def remote(name: str, address: str) -> Remote:
    """An endpoint on a host, by its address."""
    id_ = f"{address}-{name}"
    return Remote(id=id_, network_id=NETWORK.id, host_id=host(name).id, container_id=id_, name="c", address=address)


def endpoint(address: str) -> Endpoint:
    """One of this host's own."""
    return Endpoint(id=address, network_id=NETWORK.id, container_id=address, sandbox_id="s", address=address)


def configuration(name: str = "default", **spec: object) -> BgpConfiguration:
    return BgpConfiguration(metadata=Metadata(name=name), spec=msgspec.convert(spec, BgpConfigurationSpec))


def peer(name: str, **spec: object) -> BgpPeer:
    return BgpPeer(metadata=Metadata(name=name), spec=msgspec.convert(spec, BgpPeerSpec))


def filter_(name: str, **spec: object) -> BgpFilter:
    return BgpFilter(metadata=Metadata(name=name), spec=msgspec.convert(spec, BgpFilterSpec))


def snapshot(
    own: str, *more: Record, network: Network = NETWORK, labels: Mapping[str, Mapping[str, str]] | None = None
) -> Snapshot:
    """As a host knows it: the other hosts, everybody's blocks."""
    others = [host(name, (labels or {}).get(name)) for name in NAMES if name != own]
    records: Iterable[Record] = (network, *others, *(b for name in NAMES for b in blocks(name)), *more)
    return Snapshot().after([*map(put, records)])


def planned(own: str, *more: Record, labels: Mapping[str, str] | None = None, secrets: Secrets | None = None) -> Plan:
    found = plan(snapshot(own, *more), host(own, labels), secrets or {})
    assert found is not None
    return found
