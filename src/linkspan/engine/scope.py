"""Whose a new network is: this host's alone, or the cluster's."""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.drivers.contract import Driver
from linkspan.engine.request import NetworkRequest
from linkspan.errors import Forbidden, InvalidArgument
from linkspan.ipam.pools import PoolSource, parse_source
from linkspan.model.cluster import GLOBAL, LOCAL
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

# Where networks of a cluster that name no subnet are cut from: swarm's, which no host's own networks are in.
GLOBAL_SOURCES = (parse_source("10.0.0.0/8", 24),)
# In a mesh every host holds addresses of each network that it is on in advance: 64 times 64 of them.
MESH_SOURCES = (parse_source("10.0.0.0/8", 20),)
# Smaller numbers are Docker's old overlay's, and other tools'.
FIRST_VNI, LAST_VNI = 4096, (1 << 24) - 1
_TUNNELLED = ("overlay", "weave", "ovs")
_SHAREABLE = ("macvlan", "ipvlan")


def scope_of(request: NetworkRequest, driver: Driver, host: HostFacts) -> str:
    """Raises InvalidArgument for a scope that does not exist, Forbidden where the driver or this host has none such."""
    if request.scope not in ("", LOCAL, GLOBAL, "swarm"):
        raise InvalidArgument(f"invalid scope {request.scope!r}: a network is local, or global (the cluster's)")
    if driver.needs_cluster and not host.host_id:
        raise Forbidden(
            f"network driver {driver.name} needs a cluster: start linkspand with --cluster etcd://HOST:2379,… or --mesh"
        )
    if driver.needs_cluster and request.scope == LOCAL:
        raise Forbidden(f"scope local: networks of the driver {driver.name} are the cluster's: leave --scope out")
    if request.scope == LOCAL or (not request.scope and not (driver.spans and host.host_id)):
        return LOCAL
    if host.host_id and (not request.scope or driver.spans or driver.name in _SHAREABLE):
        return GLOBAL
    if not host.host_id:
        what = "swarm" if request.scope == "swarm" else "a cluster"
        raise Forbidden(
            f"cannot create a {request.scope} scoped network when {what} is not active: "
            "start linkspand with --cluster etcd://HOST:2379,… or --mesh"
        )
    raise Forbidden(f"scope {request.scope}: networks of the driver {driver.name} are on one host: use overlay")


def sources_of(scope: str, own: Iterable[PoolSource], *, meshed: bool = False) -> tuple[PoolSource, ...]:
    """What networks are cut from that name no subnet. IPv6 is always the host's own: its prefix is nobody else's."""
    own = tuple(own)
    if scope == LOCAL:
        return own
    return (*(MESH_SOURCES if meshed else GLOBAL_SOURCES), *(source for source in own if source.base.version == 6))


def has_exclusive_blocks(scope: str, driver: Driver, host: HostFacts) -> bool:
    """Whether hosts give out addresses of a new network each from its own blocks alone, so that they can when they can
    ask nobody. Not where addresses go from host to host (calico, flat), or hosts are on the wire themselves."""
    return scope == GLOBAL and host.meshed and driver.name in _TUNNELLED


def free_vni(snapshot: Snapshot) -> int:
    """The first VXLAN network identifier that no network of the cluster has."""
    taken = {network.vni for network in snapshot.networks.values()}
    return next(number for number in range(FIRST_VNI, LAST_VNI) if number not in taken)
