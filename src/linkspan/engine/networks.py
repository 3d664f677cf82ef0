"""Networks: the default ones, creation and removal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from linkspan.drivers.contract import Driver
from linkspan.engine import bridges, calico, flannels, flat, ippools, overlays, sublinks, switches
from linkspan.engine.announce import PAUSE, TIMES, announcement_problems
from linkspan.engine.attachment import IFACE_PREFIX, check_interface_prefix
from linkspan.engine.bridges import DefaultBridge, default_bridge_network
from linkspan.engine.change import Change, network_event
from linkspan.engine.configurations import check_operator, configuration, with_configuration
from linkspan.engine.join import sharers
from linkspan.engine.request import NetworkRequest
from linkspan.engine.scope import has_exclusive_blocks, scope_of, sources_of
from linkspan.engine.subnets import choose_pools
from linkspan.errors import Conflict, Forbidden, InvalidArgument, NotFound, did_you_mean
from linkspan.ipam.pools import PoolSource
from linkspan.model.network import PREDEFINED, Network
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.state.host import HostFacts

# As with Docker, nearly anything; but what stands between the parts of a path, and what looks like a flag.
_NAME = re.compile(r"[^\s/\x00-\x1f-](?:[^/\x00-\x1f]*[^\s/\x00-\x1f])?")
_COMMON_OPTIONS = {bridges.MTU, IFACE_PREFIX, TIMES, PAUSE}
_KNOWN_OPTIONS = {
    name: {*options, *_COMMON_OPTIONS}
    for name, options in (
        ("bridge", bridges.OPTIONS),
        ("overlay", overlays.OPTIONS),
        ("weave", overlays.OPTIONS),
        ("ovs", switches.OPTIONS),
        ("flat", flat.OPTIONS),
        ("calico", calico.OPTIONS),
        *sublinks.OPTIONS.items(),
        (flannels.DRIVER, flannels.OPTIONS),
    )
}


def _on_bridge(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    network = bridges.with_options(network)
    if any(n.bridge == network.bridge for n in snapshot.networks.values()):
        raise InvalidArgument(f"invalid bridge name {network.bridge!r}: it is another network's")
    return network


def _on_parent(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    mtu = network.options.get(bridges.MTU)
    return sublinks.on_parent(
        snapshot, msgspec.structs.replace(network, mtu=bridges.parse_mtu(mtu) if mtu else 0), host
    )


def _of_flannel(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    return flannels.flannel_network(snapshot, network, host.underlay)


# By driver: the network with what its options say, once and for all.
_RESOLVED: Mapping[str, Callable[[Snapshot, Network, HostFacts], Network]] = {
    "bridge": _on_bridge,
    "macvlan": _on_parent,
    "ipvlan": _on_parent,
    "flat": flat.on_segment,
    "overlay": overlays.on_tunnels,
    "weave": overlays.on_tunnels,
    "calico": calico.on_routes,
    "ovs": switches.on_switch,
    flannels.DRIVER: _of_flannel,
}


def default_networks(
    snapshot: Snapshot,
    bridge: DefaultBridge,
    sources: Iterable[PoolSource],
    host: HostFacts,
    ids: Iterable[str],
    created: str,
) -> Change:
    """The records of bridge, host and none as the flags want them; those that exist keep their ids.

    A default bridge whose flags changed takes its new form, unless containers still run on it. With `-b none` it is a
    network without interface for as long as containers name it, and a bridge again, the same one, without that flag.
    """
    bridge_id, host_id, none_id = ids
    existing = {n.name: n for n in snapshot.networks.values() if n.predefined}
    writes: list[Write] = []
    for name, driver, fresh in (("host", "host", host_id), ("none", "null", none_id)):
        if name not in existing:
            writes.append(put(Network(id=fresh, name=name, driver=driver, created=created)))
    old = existing.get("bridge")
    running = _running_on(snapshot, old) if old else ()
    if not bridge.disabled:
        others = (n for n in snapshot.networks.values() if n != old)
        wanted = default_bridge_network(bridge, old, others, tuple(sources), host, bridge_id, created)
    elif not old or not (running or any(old.id in c.networks for c in snapshot.containers.values())):
        return Change((*writes, drop(old)) if old else tuple(writes))
    else:
        wanted = Network(id=old.id, name=old.name, driver="null", created=old.created)
    if wanted == old:
        return Change(tuple(writes))
    if running:
        kept = f"the network bridge keeps its old settings while containers run on it ({', '.join(running)})"
        return Change(tuple(writes), warnings=(f"{kept}: stop them and restart linkspand",))
    return Change((*writes, put(wanted)))


def _running_on(snapshot: Snapshot, network: Network) -> tuple[str, ...]:
    """Names of the containers that run in sandboxes on the network; also of one whose end is not yet recorded."""
    names = set[str]()
    for endpoint in snapshot.endpoints_at(network):
        owner = snapshot.containers[endpoint.container_id]
        others = [container.name for container in sharers(snapshot, owner)]
        names.update(others if others and not owner.state.running else (owner.name, *others))
    return tuple(sorted(names))


def create_network(
    snapshot: Snapshot,
    request: NetworkRequest,
    drivers: Mapping[str, Driver],
    sources: Iterable[PoolSource],
    host: HostFacts,
) -> Change:
    """Raises InvalidArgument, Conflict (the name is taken), Forbidden (subnets overlap), NotFound (no such driver)."""
    if not _NAME.fullmatch(request.name) or len(request.name) > 255:
        raise InvalidArgument(
            f"invalid network name: {request.name!r}: 255 characters at most, without /, and no - or space in front"
        )
    if request.name in ("default", *PREDEFINED):
        raise Forbidden(f"operation is not permitted on predefined {request.name} network ")
    if any(network.name == request.name for network in snapshot.networks.values()):
        raise Conflict(f"network with name {request.name} already exists")
    if request.config_only:
        network = configuration(request)
        return Change((put(network),), (network_event("create", network),))
    check_operator(request)
    request = with_configuration(snapshot, request)
    driver = drivers.get(request.driver or "bridge")
    if driver is None:
        names = sorted(name for name, one in drivers.items() if one.allocates)
        raise NotFound(
            f"could not find plugin {request.driver} in v1 plugin registry: plugin not found; the drivers here are "
            f"{', '.join(names)}{did_you_mean(request.driver, names)}"
        )
    if not driver.allocates:
        raise Forbidden(f'only one instance of "{request.driver}" network is allowed')
    if request.ipam_driver not in ("", "default", "null"):
        raise NotFound(f"could not find plugin {request.ipam_driver}: plugin not found")
    if request.ipam_driver == "null":
        # Docker's null driver gives out no addresses, which is no use to a driver that needs them.
        raise InvalidArgument("ipv4 pool is empty" if request.ipv4 else "ipv6 pool is empty")
    if unknown := set(request.options) - _KNOWN_OPTIONS[driver.name]:
        known = _KNOWN_OPTIONS[driver.name]
        said = (f"{option}{did_you_mean(option, known)}" for option in sorted(unknown))
        raise InvalidArgument(f"network {request.name}: unknown option: {', '.join(said)}")
    if problems := list(announcement_problems(request.options)):
        raise InvalidArgument("\n".join(problems))
    check_interface_prefix(request.options.get(IFACE_PREFIX, ""))
    scope = scope_of(request, driver, host)
    network = _network(snapshot, request, driver, scope, sources_of(scope, sources, meshed=host.meshed), host)
    warnings = tuple(f"subnet {p.subnet} is not used: its IP version is not enabled" for p in network.configured)
    return Change((put(network),), (network_event("create", network),), warnings)


def _network(
    snapshot: Snapshot,
    request: NetworkRequest,
    driver: Driver,
    scope: str,
    sources: Iterable[PoolSource],
    host: HostFacts,
) -> Network:
    said = ippools.pools_of(snapshot, request.pools) if driver.name == ippools.DRIVER else ()
    options = ippools.with_options(said, request.options)
    ipv4, ipv6 = (bridges.enabled(options, v, asked=asked) for v, asked in ((4, request.ipv4), (6, request.ipv6)))
    if not (ipv4 or ipv6):
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    network = Network(
        id=request.id,
        name=request.name,
        driver=driver.name,
        created=request.created,
        scope=scope,
        options=dict(options),
        ipam_options=request.ipam_options,
        labels=dict(request.labels),
        internal=request.internal or bridges.flag(options, bridges.INTERNAL, default=False),
        attachable=request.attachable,
        config_from=request.config_from,
        ipv4=ipv4,
        ipv6=ipv6,
    )
    network = _RESOLVED[driver.name](snapshot, network, host)
    network = msgspec.structs.replace(network, exclusive_blocks=has_exclusive_blocks(scope, driver, host))
    versions = [version for version, wanted in ((4, ipv4), (6, ipv6)) if wanted]
    if network.path:
        flat.check_subnets(network, request.pools, versions)
    pools = choose_pools(
        request.pools, versions, snapshot, sources, host, without_gateway=bridges.without_gateway(network)
    )
    unused = tuple(pool for pool in request.pools if pool.subnet and pool.version not in versions)
    network = msgspec.structs.replace(network, pools=pools, configured=unused)
    if network.encapsulation:
        return calico.with_blocks(network)
    return sublinks.with_host_access(flat.with_segment(network, host) if network.path else network, host)


def remove_network(snapshot: Snapshot, network: Network) -> Change:
    """Raises Forbidden: a predefined network, one that containers are connected to, a configuration in use."""
    if network.predefined:
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
    if network.config_only and any(n.config_from == network.name for n in snapshot.networks.values()):
        raise Forbidden(f'error while removing network: configuration network "{network.name}" is in use')
    endpoints = {snapshot.containers[e.container_id].name: e.id[:12] for e in snapshot.endpoints_at(network)}
    for remote in snapshot.remotes_at(network):
        host = snapshot.hosts.get(remote.host_id)
        endpoints[f"{remote.name} on {host.name if host else remote.host_id}"] = remote.id[:12]
    if endpoints:
        users = ", ".join(f'name:"{name}" id:"{id_}"' for name, id_ in sorted(endpoints.items()))
        raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({users})")
    blocks = tuple(map(drop, snapshot.blocks_of(network)))
    reserved = tuple(drop(r) for r in snapshot.reservations.values() if r.network_id == network.id)
    subnets = tuple(map(drop, snapshot.subnets_at(network)))
    return Change((*blocks, *reserved, *subnets, drop(network)), (network_event("destroy", network),))
