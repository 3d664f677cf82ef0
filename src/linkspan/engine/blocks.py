"""Which part of a cluster's network a host takes addresses from (`ipam/blocks.py`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from linkspan.errors import Conflict, Forbidden
from linkspan.ipam.blocks import MOST, block_length, free_block
from linkspan.model.cluster import GLOBAL, Block, Remote, block_id
from linkspan.model.container import EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put


def windows(snapshot: Snapshot, network: Network, version: int, host_id: str) -> Iterator[tuple[Pool, ...]]:
    """The network's pools of an IP version, narrowed down to where this host looks for an address: first in its own
    blocks, then in one that nobody has, then in everybody's: unless the network's blocks are exclusive, where only what
    is too small to be cut into blocks is everybody's."""
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
    if network.exclusive_blocks:
        pools = tuple(pool for pool in pools if not block_length(pool))
    if pools:
        yield pools


def new_blocks(
    snapshot: Snapshot, network: Network, settings: EndpointSettings, endpoint: Endpoint, host_id: str
) -> Iterator[Block]:
    """What the host claims with an endpoint: the blocks that its addresses are of, where they are nobody's yet.

    An address that was asked for by hand says nothing about where the next ones should come from; but where blocks are
    exclusive, it takes its block along. Raises Forbidden where that is another host's.
    """
    if network.scope != GLOBAL or network.strict_blocks:
        return
    asked = settings.ipam_config
    for address, by_hand in (
        (endpoint.address, asked.ipv4_address if asked else ""),
        (endpoint.address6, asked.ipv6_address if asked else ""),
    ):
        if not address or (by_hand and not network.exclusive_blocks):
            continue
        if subnet := block_of(network, address):
            id_ = block_id(network.id, subnet)
            known = snapshot.blocks.get(id_)
            if known is None:
                yield Block(id=id_, network_id=network.id, subnet=subnet, host_id=host_id)
            elif known.host_id != host_id and network.exclusive_blocks:
                host = snapshot.hosts.get(known.host_id)
                raise Forbidden(
                    f"Address already in use: {address} is in {subnet} of network {network.name}, which host "
                    f"{host.name if host else known.host_id} gives out"
                )


def block_of(network: Network, address: str) -> str:
    """The subnet of the block that an address is of, whoever has it; "" where there is none: the address is of no pool
    of the network, or of one that is too small to be cut into blocks."""
    number = ipaddress.ip_address(address)
    for pool in network.pools:
        if pool.version == number.version and number in ipaddress.ip_network(pool.subnet) and block_length(pool):
            return str(ipaddress.ip_network(f"{address}/{block_length(pool)}", strict=False))
    return ""


def holds(snapshot: Snapshot, network_id: str, address: str, host_id: str) -> bool:
    """Whether this host may give out an address without asking anybody: nobody else can have it.

    It is of a block that the store has said is this host's, on a network whose blocks are exclusive; whoever else
    wants the address needs that block for it, and only this host gives it away.
    """
    network = snapshot.networks.get(network_id)
    if network is None or not network.exclusive_blocks:
        return False
    block = block_at(snapshot, network, address)
    return block is not None and block.held and block.host_id == host_id


def spare_blocks(snapshot: Snapshot, host_id: str) -> tuple[Write, ...]:
    """A further block for each exclusive network that somebody here is on, where less than half a block is left of this
    host's own: it is to have addresses to give out when it can ask nobody."""
    writes: list[Write] = []
    for network, version, own in _exclusive(snapshot, host_id):
        taken = [block.subnet for block in snapshot.blocks_of(network)]
        if _left(snapshot, network, version, own) < _size(own[0]) / 2 and len(own) < MOST:
            for pool in network.pools_of(version):
                if subnet := free_block(pool, taken, host_id):
                    id_ = block_id(network.id, subnet)
                    writes.append(put(Block(id=id_, network_id=network.id, subnet=subnet, host_id=host_id)))
                    break
    return tuple(writes)


def _exclusive(snapshot: Snapshot, host_id: str) -> Iterator[tuple[Network, int, list[Block]]]:
    """Each exclusive network that somebody here is on, by IP version: this host's blocks of it, of which there are
    some."""
    for network in filter(None, map(snapshot.networks.get, snapshot.endpoints_on)):
        if network.exclusive_blocks:
            for version in network.versions:
                blocks = snapshot.blocks_of(network)
                own = [b for b in blocks if b.host_id == host_id and b.subnet_version == version]
                if own:
                    yield network, version, own


def _left(snapshot: Snapshot, network: Network, version: int, own: Iterable[Block]) -> int:
    """How many addresses are left in blocks of this host's own."""
    here = (e.address6 if version == 6 else e.address for e in snapshot.endpoints_at(network))
    return sum(map(_size, own)) - sum(1 for address in here if address)


def _size(block: Block) -> int:
    return int(ipaddress.ip_network(block.subnet).num_addresses)


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
    """This host's blocks that nobody here needs: on networks that nobody is on; and where blocks are exclusive, those
    that are empty while there is another one's worth of addresses left. Others may have them."""
    unused = [
        block
        for block in snapshot.blocks.values()
        if block.host_id == host_id and block.network_id not in snapshot.endpoints_on
    ]
    for network, version, own in _exclusive(snapshot, host_id):
        left = _left(snapshot, network, version, own)
        used = {
            block_of(network, address)
            for endpoint in snapshot.endpoints_at(network)
            for address in (endpoint.address, endpoint.address6)
            if address
        }
        for block in own:
            if block.subnet not in used and left >= 2 * _size(block):
                left -= _size(block)
                unused.append(block)
    return tuple(map(drop, unused))


def block_at(snapshot: Snapshot, network: Network, address: str) -> Block | None:
    """The block that an address of the network lies in, whoever has it; None where nobody does."""
    subnet = block_of(network, address)
    return snapshot.blocks.get(block_id(network.id, subnet)) if subnet else None


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
