"""IPPools: what they say of networks of the driver calico, whose subnet is theirs.

A pool that is there when the network is made says what its options leave open. One that comes, or changes, later is
taken over by the network: at once where nobody notices, and not at all while containers would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from linkspan.engine import calico
from linkspan.errors import Conflict, InvalidArgument
from linkspan.model.ippool import CROSS_SUBNET, MANUAL, NEVER, IpPool
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

DRIVER = "calico"


def pools_of(snapshot: Snapshot, pools: Iterable[Pool]) -> tuple[IpPool, ...]:
    """The IPPools of these subnets."""
    by_cidr = {found.spec.cidr: found for found in snapshot.ip_pools.values()}
    return tuple(by_cidr[pool.subnet] for pool in pools if pool.subnet in by_cidr)


def with_options(found: Sequence[IpPool], options: Mapping[str, str]) -> dict[str, str]:
    """A new network's options with what its pools say. Raises InvalidArgument where they contradict each other."""
    said = _options(found)
    for key, value in said.items():
        if options.get(key, value) != value:
            names = ", ".join(pool.name for pool in found)
            raise InvalidArgument(f"{key}={options[key]}: the IPPool {names} says {value}")
    return {**options, **said}


def usable(snapshot: Snapshot, network: Network, pools: tuple[Pool, ...], *, asked: bool) -> tuple[Pool, ...]:
    """Those that a new address may be of; `asked` is whether a certain one is asked for. Raises Conflict where none is
    left."""
    if network.driver != DRIVER:
        return pools
    closed: dict[str, str] = {}
    for found in pools_of(snapshot, pools):
        if found.spec.disabled:
            closed[found.spec.cidr] = f"the IPPool {found.name} is disabled"
        elif found.spec.assignment_mode == MANUAL and not asked:
            closed[found.spec.cidr] = f"the IPPool {found.name} gives only addresses that are asked for (--ip)"
    left = tuple(pool for pool in pools if pool.subnet not in closed)
    if pools and not left:
        raise Conflict(f"no new addresses on network {network.name}: {', '.join(closed.values())}")
    return left


def followers(snapshot: Snapshot, changed: IpPool, host: HostFacts) -> Iterator[Network]:
    """The networks as they are with a pool that has been written. Raises Conflict, InvalidArgument, Unsupported."""
    for network in snapshot.networks.values():
        if network.driver == DRIVER and any(pool.subnet == changed.spec.cidr for pool in network.pools):
            found = pools_of(snapshot, network.pools)
            wanted = _with(snapshot, network, {**network.options, **_options(found)}, host)
            if (wanted.encapsulation, wanted.pools) != (network.encapsulation, network.pools):
                _check_unused(snapshot, network, changed)
            if wanted != network:
                yield wanted


def _with(snapshot: Snapshot, network: Network, options: Mapping[str, str], host: HostFacts) -> Network:
    if all(network.options.get(key) == value for key, value in options.items()):
        return network
    made = calico.on_routes(snapshot, msgspec.structs.replace(network, options=dict(options)), host)
    if made.vni and network.vni:
        made = msgspec.structs.replace(made, vni=network.vni)
    if made.encapsulation == network.encapsulation:
        made = msgspec.structs.replace(made, mtu=network.mtu)  # as it was decided with the hosts of then
    return calico.with_blocks(made)


def _check_unused(snapshot: Snapshot, network: Network, pool: IpPool) -> None:
    """Of containers on other hosts only the blocks of addresses are sure to be known here."""
    held = any(block.network_id == network.id for block in snapshot.blocks.values())
    if held or snapshot.endpoints_on.get(network.id) or snapshot.elsewhere.on.get(network.id):
        raise Conflict(
            f"IPPool {pool.name}: network {network.name} is in use: how it is encapsulated, and its blocks, change "
            "only while no host has a block of it, a minute after the last container has gone"
        )


def _options(found: Sequence[IpPool]) -> dict[str, str]:
    """As options of a network. Raises InvalidArgument where two pools of one network differ."""
    said: dict[str, str] = {}
    for pool in found:
        for key, value in (
            ("encapsulation", _encapsulation(pool)),
            ("nat_outgoing", "true" if pool.spec.nat_outgoing else "false"),
        ):
            if said.setdefault(key, value) != value:
                raise InvalidArgument(
                    f"the IPPools {', '.join(one.name for one in found)} are of one network, and differ in {key}"
                )
    if sizes := [str(pool.spec.block_size) for pool in found if pool.spec.block_size]:
        said["blocksize"] = ",".join(sizes)
    return said


def _encapsulation(pool: IpPool) -> str:
    for name, mode in (("vxlan", pool.spec.vxlan_mode), ("ipip", pool.spec.ipip_mode)):
        if mode != NEVER:
            return f"{name}-cross-subnet" if mode == CROSS_SUBNET else name
    return "never"
