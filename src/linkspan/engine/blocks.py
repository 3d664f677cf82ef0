"""Which part of a cluster's network a host takes addresses from (`ipam/blocks.py`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from linkspan.errors import Conflict
from linkspan.ipam.blocks import MOST, block_length, free_block
from linkspan.model.cluster import GLOBAL, Block, Remote, block_id
from linkspan.model.container import EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop


def windows(snapshot: Snapshot, network: Network, version: int, host_id: str) -> Iterator[tuple[Pool, ...]]:
    """The network's pools of an IP version, narrowed down to where this host looks for an address: first in its own
    blocks, then in one that nobody has, then in everybody's."""
    pools = network.pools_of(version)
    own = [b for b in snapshot.blocks_of(network) if b.host_id == host_id and b.subnet_version == version]
    if found := tuple(window for block in own for pool in pools if (window := _narrowed(pool, block.subnet))):
        yield found
    if network.strict_blocks:
        return
    taken = [block.subnet for block in snapshot.blocks_of(network)]
    if len(own) < MOST:
        for pool in pools:
            if subnet := free_block(pool, taken, host_id):
                yield (msgspec.structs.replace(pool, ip_range=subnet),)
    yield pools


def new_blocks(
    snapshot: Snapshot, network: Network, settings: EndpointSettings, endpoint: Endpoint, host_id: str
) -> Iterator[Block]:
    """What the host claims with an endpoint: the blocks that its addresses are of, where they are nobody's yet.

    An address that was asked for by hand says nothing about where the next ones should come from.
    """
    if network.scope != GLOBAL or network.strict_blocks:
        return
    asked = settings.ipam_config
    for address, by_hand in (
        (endpoint.address, asked.ipv4_address if asked else ""),
        (endpoint.address6, asked.ipv6_address if asked else ""),
    ):
        if not address or by_hand:
            continue
        pool = next(p for p in network.pools if ipaddress.ip_address(address) in ipaddress.ip_network(p.subnet))
        if length := block_length(pool):
            subnet = str(ipaddress.ip_network(f"{address}/{length}", strict=False))
            id_ = block_id(network.id, subnet)
            if id_ not in snapshot.blocks:
                yield Block(id=id_, network_id=network.id, subnet=subnet, host_id=host_id)


def check_subnets(snapshot: Snapshot, network: Network) -> None:
    """Raises Conflict where a cluster's network lies in the way of one of this host's own.

    Who made it did not know of this host's networks; nothing is wrong before somebody here joins it.
    """
    if network.scope != GLOBAL:
        return
    own = [
        (other.name, pool.subnet)
        for other in snapshot.networks.values()
        if other.scope != GLOBAL
        for pool in other.pools
    ]
    for pool in network.pools:
        subnet = ipaddress.ip_network(pool.subnet)
        for name, text in own:
            other = ipaddress.ip_network(text)
            if subnet.version == other.version and subnet.overlaps(other):
                raise Conflict(
                    f"network {network.name} of the cluster has the subnet {pool.subnet}, in which {text} of this "
                    f"host's own network {name} lies: give one of them another subnet"
                )


def idle_blocks(snapshot: Snapshot, host_id: str) -> tuple[Write, ...]:
    """This host's blocks on networks that nobody here is on: others may have them."""
    return tuple(
        drop(block)
        for block in snapshot.blocks.values()
        if block.host_id == host_id and block.network_id not in snapshot.endpoints_on
    )


def block_at(snapshot: Snapshot, network: Network, address: str) -> Block | None:
    """The block that an address of the network lies in, whoever has it; None where nobody does."""
    number = ipaddress.ip_address(address)
    for pool in network.pools:
        if pool.version == number.version and number in ipaddress.ip_network(pool.subnet) and block_length(pool):
            subnet = ipaddress.ip_network(f"{address}/{block_length(pool)}", strict=False)
            return snapshot.blocks.get(block_id(network.id, str(subnet)))
    return None


def strays(snapshot: Snapshot, network: Network, remote: Remote) -> Iterator[str]:
    """Addresses of an endpoint on another host that are of none of that host's blocks: borrowed, moved, or asked for by
    hand."""
    for address in filter(None, (remote.address, remote.address6)):
        block = block_at(snapshot, network, address)
        if block is None or block.host_id != remote.host_id:
            yield address


def remotes_in(snapshot: Snapshot, block: Block) -> Iterator[str]:
    """Ids of the endpoints on other hosts with addresses in a block, whoever has that."""
    subnet = ipaddress.ip_network(block.subnet)
    for number in range(int(subnet[0]), int(subnet[-1]) + 1):
        for id_ in snapshot.elsewhere.holders.get((block.network_id, number), ()):
            if id_ in snapshot.remotes:
                yield id_


def _narrowed(pool: Pool, subnet: str) -> Pool | None:
    inner, outer = ipaddress.ip_network(subnet), ipaddress.ip_network(pool.subnet)
    inside = inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
    return msgspec.structs.replace(pool, ip_range=subnet) if inside else None
