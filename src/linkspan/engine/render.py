"""From records to the kernel objects there should be.

`render_all` is the whole truth, used at start and whenever the kernel has drifted. `render_touched` is that part of it
which a set of writes can change, so that the cost of one change does not grow with what is there already. A test holds
the two against each other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from linkspan.drivers.contract import Driver, Flooding, Occupied, Parted, Routing, Spanning
from linkspan.drivers.inside import DEFAULT_ROUTES
from linkspan.drivers.plug import leading_versions, render_ground, render_plugs
from linkspan.engine.blocks import remotes_in, strays
from linkspan.engine.mesh.fabric import render_fabric
from linkspan.engine.policy.guards import concerned, guard_of, host_concerned, host_guard, seals
from linkspan.model.cluster import GLOBAL, Block, Host, Remote
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.plug import Plug
from linkspan.model.snapshot import Snapshot, Write
from linkspan.model.subnet import HostSubnet
from linkspan.state.host import HostFacts
from linkspan.state.objects import HOST, Address, KernelObject, Key, Namespace, NftElement, Sysctl, state_of

Drivers = Mapping[str, Driver]


def render_all(snapshot: Snapshot, drivers: Drivers, host: HostFacts) -> dict[Key, KernelObject]:
    return state_of(
        [
            *render_host(host),
            *filter(None, (host_guard(snapshot, host),)),
            *(o for n in snapshot.networks.values() for o in _render_network(snapshot, n, drivers)),
            *(o for n in snapshot.networks.values() for o in _render_occupied(snapshot, n, drivers)),
            *(o for n in snapshot.networks.values() for o in _render_spanning(snapshot, n, drivers)),
            *(o for s in snapshot.sandboxes.values() for o in _render_sandbox(snapshot, s)),
            *(o for e in snapshot.endpoints.values() for o in _render_endpoint(snapshot, e, drivers)),
            *(o for c in snapshot.containers.values() if c.plugs for o in _render_plugs(snapshot, c)),
        ]
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Touched:
    """Ids of the records whose rendering a set of writes can change; `occupied` are networks that somebody joins or
    leaves, `spanned` those whose first endpoint on this host comes, or whose last one goes."""

    networks: frozenset[str]
    occupied: frozenset[str]
    sandboxes: frozenset[str]
    endpoints: frozenset[str]
    spanned: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    remotes: frozenset[str] = frozenset()
    plugged: frozenset[str] = frozenset()
    """Containers whose interfaces given by hand, or what those stand on, may be others."""
    subnets: frozenset[str] = frozenset()  # of other hosts
    blocks: frozenset[str] = frozenset()
    # Of other hosts on networks: network id, host id.
    presences: frozenset[tuple[str, str]] = dataclasses.field(default=frozenset(), kw_only=True)
    own_interfaces: bool = dataclasses.field(default=False, kw_only=True)
    """What policies let in and out at the host's own interfaces may be another."""


def touched(before: Snapshot, after: Snapshot, writes: Iterable[Write]) -> Touched:
    """An endpoint depends on its network and sandbox, and on whether a plug has its default route; networks and plugs
    whose parent we made share it, and networks of the cluster what their driver needs to reach other hosts. What a
    sandbox lets in and out depends on whom policies select."""
    networks, occupied, sandboxes, endpoints = set[str](), set[str](), set[str](), set[str]()
    hosts, remotes, plugged = set[str](), set[str](), set[str]()
    grounds, subnets, blocks, presences = set[str](), set[str](), set[str](), set[tuple[str, str]]()
    for write in writes:
        for snapshot in (before, after):
            match write.kind:
                case "network":
                    networks.add(write.id)
                    endpoints.update(snapshot.endpoints_on.get(write.id, {}))
                    network = snapshot.networks.get(write.id)
                    if network and network.shares_parent:
                        grounds.add(network.parent)
                case "container" if _plugs(before, write.id) != _plugs(after, write.id):
                    plugged.add(write.id)
                    endpoints.update(snapshot.endpoints_of.get(write.id, ()))
                    grounds.update(plug.ground for plug in _plugs(snapshot, write.id) if plug.made)
                case "sandbox":
                    sandboxes.add(write.id)
                    sandbox = snapshot.sandboxes.get(write.id)
                    endpoints.update(snapshot.endpoints_of.get(sandbox.container_id, ()) if sandbox else ())
                    plugged.update((sandbox.container_id,) if sandbox else ())
                case "endpoint":
                    endpoints.add(write.id)
                    endpoint = snapshot.endpoints.get(write.id)
                    occupied.update((endpoint.network_id,) if endpoint else ())
                    occupied.update(
                        _on_same_parent(snapshot, snapshot.networks.get(endpoint.network_id)) if endpoint else ()
                    )
                case "host":
                    hosts.add(write.id)
                case "remote":
                    remote = snapshot.remotes.get(write.id)
                    remotes.update(snapshot.elsewhere.alike(remote) if remote else ())
                    presences.update(((remote.network_id, remote.host_id),) if remote else ())
                case "block":
                    blocks.add(write.id)
                    block = snapshot.blocks.get(write.id)
                    remotes.update(remotes_in(snapshot, block) if block else ())
                case "subnet":
                    subnet = snapshot.subnets.get(write.id)
                    subnets.add(write.id)
                    subnets.update(_at_same_host(snapshot, subnet) if subnet else ())
                    if subnet and subnet.own:
                        networks.add(subnet.network_id)
                        endpoints.update(snapshot.endpoints_on.get(subnet.network_id, {}))
    sandboxes |= concerned(before, after)
    if grounds:
        for snapshot in (before, after):
            networks.update(n.id for n in snapshot.networks.values() if n.parent in grounds)
            sharing = (c for c in snapshot.containers.values() if any(p.ground in grounds for p in c.plugs))
            plugged.update(container.id for container in sharing)
    spanned = networks | {id_ for id_ in occupied if (id_ in before.endpoints_on) != (id_ in after.endpoints_on)}
    for id_ in spanned:
        drivers = {
            s.networks[id_].driver for s in (before, after) if id_ in s.networks and s.networks[id_].scope == GLOBAL
        }
        if drivers:
            occupied.update(n.id for n in after.networks.values() if n.scope == GLOBAL and n.driver in drivers)
    groups = networks, occupied | networks, sandboxes, endpoints, spanned, hosts, remotes, plugged, subnets, blocks
    own_interfaces = host_concerned(before, after)
    return Touched(*map(frozenset, groups), presences=frozenset(presences), own_interfaces=own_interfaces)


def _at_same_host(snapshot: Snapshot, subnet: HostSubnet) -> Iterator[str]:
    """Ids of the subnets that render the same of the host: for a moment, or by somebody's hand, it may have several."""
    places = {subnet.lease.public_ip, subnet.lease.public_ip6} - {""}
    for id_ in snapshot.subnets_on.get(subnet.network_id, ()):
        lease = snapshot.subnets[id_].lease
        if places & {lease.public_ip, lease.public_ip6}:
            yield id_


def _on_same_parent(snapshot: Snapshot, network: Network | None) -> Iterator[str]:
    """Ids of the networks that render the same of it."""
    if network and network.shares_parent:
        yield from (n.id for n in snapshot.networks.values() if n.parent == network.parent)


def render_touched(
    snapshot: Snapshot, parts: Touched, drivers: Drivers, host: HostFacts | None = None
) -> dict[Key, KernelObject]:
    """The part of `render_all` that depends on these records."""
    guard = host_guard(snapshot, host) if parts.own_interfaces and host else None
    return state_of([*_render_parts(snapshot, drivers, parts), *((guard,) if guard else ())])


def render_host(host: HostFacts) -> Iterator[KernelObject]:
    if host.ip_forward:
        yield Sysctl(HOST, "net/ipv4/ip_forward", "1")
    if host.fabric:
        yield from render_fabric(host.fabric)
    if host.publish_closed:
        yield from (NftElement("restricted", family) for family in ("ipv4", "ipv6"))
    if host.forward_accept:
        accepting = [item.accept for item in host.neighbours.dropping if not item.refused]
        yield from accepting
        yield from (NftElement("dropping", name) for name in dict.fromkeys(n for a in accepting for n in a.families))
        yield from (NftElement("guarded", f'"{name}"') for name in host.neighbours.guarded)


def _render_parts(snapshot: Snapshot, drivers: Drivers, parts: Touched) -> Iterator[KernelObject]:
    for network in filter(None, map(snapshot.networks.get, parts.networks)):
        yield from _render_network(snapshot, network, drivers)
    for subnet in filter(None, map(snapshot.subnets.get, parts.subnets)):
        if subnet.network_id not in parts.networks:
            yield from _render_subnet(snapshot, subnet, drivers)
    for network in filter(None, map(snapshot.networks.get, parts.occupied)):
        yield from _render_occupied(snapshot, network, drivers)
    yield from _render_others(snapshot, drivers, parts)
    for sandbox in filter(None, map(snapshot.sandboxes.get, parts.sandboxes)):
        yield from _render_sandbox(snapshot, sandbox)
    for endpoint in filter(None, map(snapshot.endpoints.get, parts.endpoints)):
        yield from _render_endpoint(snapshot, endpoint, drivers)
    for container in filter(None, map(snapshot.containers.get, parts.plugged)):
        yield from _render_plugs(snapshot, container)


def at_home(snapshot: Snapshot, network: Network, drivers: Drivers) -> Network | None:
    """The network as it is on this host; None where this host has yet no part of it."""
    driver = drivers[network.driver]
    if not isinstance(driver, Parted):
        return network
    own = snapshot.own_subnet(network)
    return driver.at_home(network, own) if own else None


def _render_network(snapshot: Snapshot, network: Network, drivers: Drivers) -> Iterator[KernelObject]:
    driver, home = drivers[network.driver], at_home(snapshot, network, drivers)
    if home is None:
        return
    yield from driver.render_network(home)
    if isinstance(driver, Parted) and (own := snapshot.own_subnet(network)):
        yield from driver.render_part(network, own)
        for subnet in snapshot.subnets_at(network):
            yield from _render_subnet(snapshot, subnet, drivers)


def _render_subnet(snapshot: Snapshot, subnet: HostSubnet, drivers: Drivers) -> Iterable[KernelObject]:
    """Nothing for as long as its network, or this host's own part of it, is not there."""
    network = snapshot.networks.get(subnet.network_id)
    own = snapshot.own_subnet(network) if network else None
    if network is None or own is None or subnet.own:
        return ()
    driver = drivers[network.driver]
    return driver.render_subnet(network, own, subnet) if isinstance(driver, Parted) else ()


def _render_occupied(snapshot: Snapshot, network: Network, drivers: Drivers) -> Iterable[KernelObject]:
    driver = drivers[network.driver]
    segments = snapshot.segments_on.get(network.id)
    if segments and isinstance(driver, Occupied) and (home := at_home(snapshot, network, drivers)):
        return driver.render_occupied(home, segments)
    return ()


def _render_spanning(snapshot: Snapshot, network: Network, drivers: Drivers) -> Iterator[KernelObject]:
    """All that the other hosts, their endpoints on the network, and everybody's blocks of it need here."""
    for host in snapshot.hosts.values():
        yield from _render_host(snapshot, network, host, drivers)
    for block in snapshot.blocks_of(network):
        yield from _render_block(snapshot, block, drivers)
    for remote in snapshot.remotes_at(network):
        yield from _render_remote(snapshot, remote, drivers)
    for host_id in snapshot.hosts:
        yield from _render_presence(snapshot, network.id, host_id, drivers)


def _render_others(snapshot: Snapshot, drivers: Drivers, parts: Touched) -> Iterator[KernelObject]:
    """The same, as far as these parts go: each pair of a network and a host, each block, and each remote endpoint,
    once."""
    for network in snapshot.networks.values() if parts.hosts else ():
        for host in filter(None, map(snapshot.hosts.get, parts.hosts)):
            if network.id not in parts.spanned:
                yield from _render_host(snapshot, network, host, drivers)
                if (network.id, host.id) not in parts.presences:
                    yield from _render_presence(snapshot, network.id, host.id, drivers)
    for network_id, host_id in parts.presences:
        if network_id not in parts.spanned:
            yield from _render_presence(snapshot, network_id, host_id, drivers)
    of_hosts = (id_ for host in parts.hosts for id_ in snapshot.elsewhere.at.get(host, ()))
    for remote in filter(None, map(snapshot.remotes.get, parts.remotes.union(of_hosts))):
        if remote.network_id not in parts.spanned:
            yield from _render_remote(snapshot, remote, drivers)
    at_hosts = (b.id for b in snapshot.blocks.values() if b.host_id in parts.hosts) if parts.hosts else ()
    for block in filter(None, map(snapshot.blocks.get, parts.blocks.union(at_hosts))):
        if block.network_id not in parts.spanned:
            yield from _render_block(snapshot, block, drivers)
    for network in filter(None, map(snapshot.networks.get, parts.spanned)):
        yield from _render_spanning(snapshot, network, drivers)


def _render_host(snapshot: Snapshot, network: Network, host: Host, drivers: Drivers) -> Iterable[KernelObject]:
    driver = _spanning(drivers[network.driver])
    if driver is None or not (network.id in snapshot.endpoints_on or _is_routing(type(driver))):
        return ()
    return driver.render_host(network, host)


def _render_presence(snapshot: Snapshot, network_id: str, host_id: str, drivers: Drivers) -> Iterable[KernelObject]:
    network, host = snapshot.networks.get(network_id), snapshot.hosts.get(host_id)
    if network is None or host is None or (network_id, host_id) not in snapshot.elsewhere.present:
        return ()
    driver = drivers[network.driver]
    if network_id not in snapshot.endpoints_on or not _floods(type(driver)):
        return ()
    return cast("Flooding", driver).render_presence(network, host)


def _render_block(snapshot: Snapshot, block: Block, drivers: Drivers) -> Iterable[KernelObject]:
    """Nothing for as long as its network is not known."""
    network = snapshot.networks.get(block.network_id)
    driver = _routing(drivers[network.driver]) if network else None
    return driver.render_block(network, block, snapshot.hosts.get(block.host_id)) if network and driver else ()


def _render_remote(snapshot: Snapshot, remote: Remote, drivers: Drivers) -> Iterator[KernelObject]:
    """Nothing for as long as its network or its host is not known: the order in which they come does not matter. Of
    several with the same address or MAC one is rendered.
    """
    network, host = snapshot.networks.get(remote.network_id), snapshot.hosts.get(remote.host_id)
    if network is None or host is None or network.id not in snapshot.endpoints_on:
        return
    driver = _spanning(drivers[network.driver])
    if driver is None or remote.id < max(snapshot.elsewhere.alike(remote)):
        return
    yield from driver.render_remote(network, remote, host)
    if routing := _routing(drivers[network.driver]):
        for address in strays(snapshot, network, remote):
            yield from routing.render_single(network, address, host)


def _spanning(driver: Driver) -> Spanning | None:
    """The driver, where it has that ability."""
    return cast("Spanning", driver) if _spans(type(driver)) else None


def _routing(driver: Driver) -> Routing | None:
    """The driver, where it has that ability."""
    return cast("Routing", driver) if _is_routing(type(driver)) else None


@functools.cache
def _is_routing(kind: type[object]) -> bool:
    return issubclass(kind, Routing)


@functools.cache
def _floods(kind: type[object]) -> bool:
    return issubclass(kind, Flooding)


@functools.cache
def _spans(kind: type[object]) -> bool:
    """It takes ten times as long to find out as to render one of the hundred thousand endpoints that there may be."""
    return issubclass(kind, Spanning)


def _render_sandbox(snapshot: Snapshot, sandbox: Sandbox) -> Iterator[KernelObject]:
    if sandbox.kind != "host":
        yield Namespace(sandbox.path)
        if guard := guard_of(snapshot, sandbox):
            yield guard
            yield from seals(guard)


def _render_endpoint(snapshot: Snapshot, endpoint: Endpoint, drivers: Drivers) -> Iterator[KernelObject]:
    """What the driver renders, and what a user asked of the interface, whichever driver it is of."""
    network, sandbox = snapshot.networks[endpoint.network_id], snapshot.sandboxes[endpoint.sandbox_id]
    network = at_home(snapshot, network, drivers) or network
    asked = {o.key: o for o in (Sysctl(sandbox.path, name, value) for name, value in endpoint.sysctls)}
    rendered = drivers[network.driver].render_endpoint(network, endpoint, sandbox)
    # The user's word goes before the driver's: settings, and a way out that was given by hand.
    given = {*asked, *(("route", sandbox.path, default) for default in _defaults(snapshot, endpoint, sandbox))}
    yield from (o for o in rendered if o.key not in given)
    yield from asked.values()
    yield from (Address(sandbox.path, endpoint.interface, address) for address in endpoint.link_local)


def _render_plugs(snapshot: Snapshot, container: Container) -> Iterator[KernelObject]:
    for plug in container.plugs:
        yield from render_ground(plug)
    if sandbox := snapshot.sandbox(container):
        yield from render_plugs(container.plugs, sandbox)


def _defaults(snapshot: Snapshot, endpoint: Endpoint, sandbox: Sandbox) -> Iterator[str]:
    if plugs := _plugs(snapshot, endpoint.container_id):
        yield from (DEFAULT_ROUTES[version] for version in leading_versions(plugs, sandbox.id))


def _plugs(snapshot: Snapshot, container_id: str) -> tuple[Plug, ...]:
    container = snapshot.containers.get(container_id)
    return container.plugs if container else ()
