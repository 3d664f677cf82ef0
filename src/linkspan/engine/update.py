"""A network changed in place, with containers on it.

What a network is rendered from is its record and its endpoints'; so a change is another record, new addresses for
endpoints where an IP version has come, and whoever leads a container out elected anew. The difference does the rest.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from linkspan.engine import bridges
from linkspan.engine.bridges import with_options
from linkspan.engine.change import Change, network_event
from linkspan.engine.identity import with_addresses
from linkspan.engine.join import elect
from linkspan.engine.subnets import choose_pools
from linkspan.errors import Conflict, Forbidden, InvalidArgument, NotFound, did_you_mean
from linkspan.ipam.pools import PoolSource
from linkspan.ipam.ports import PortSpace
from linkspan.model.claims import given_addresses
from linkspan.model.cluster import GLOBAL
from linkspan.model.network import Network, Pool, parse_subnet
from linkspan.model.port import parse_address
from linkspan.model.snapshot import Snapshot, Write, put
from linkspan.state.host import HostFacts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkUpdate:
    """What is to become of a network; None and nothing leave things as they are.

    An option with an empty value is one no more. `dns` are the servers asked in the host's place, all of them.
    """

    pools: tuple[Pool, ...] = ()
    removed_subnets: tuple[str, ...] = ()
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    removed_labels: tuple[str, ...] = ()
    internal: bool | None = None
    dns: tuple[str, ...] | None = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)


def update_network(
    snapshot: Snapshot,
    network: Network,
    update: NetworkUpdate,
    sources: Iterable[PoolSource],
    host: HostFacts,
    space: PortSpace,
) -> Change:
    """Raises Forbidden (never, or not on this network), Conflict (not as long as somebody uses it), InvalidArgument,
    NotFound (no such subnet or label), PortInUse (published ports cannot be had at the new host address)."""
    _check_kind(network, update)
    wanted = _with_labels(network, update)
    if update.dns is not None:
        wanted = msgspec.structs.replace(wanted, dns=tuple(map(_server, update.dns)))
    if network.driver != "bridge":
        return _change(network, wanted, [])
    if update.internal is not None:
        wanted = msgspec.structs.replace(wanted, internal=update.internal)
    wanted = _with_pools(snapshot, network, wanted, update, sources, host)
    wanted = with_options(msgspec.structs.replace(wanted, options=_options(network, update.options)))
    return _change(network, wanted, _followers(snapshot, wanted, space))


def _change(network: Network, wanted: Network, followers: list[Write]) -> Change:
    if wanted == network:
        return Change()
    return Change((put(wanted), *followers), (network_event("update", wanted),))


def _check_kind(network: Network, update: NetworkUpdate) -> None:
    if network.predefined:
        raise Forbidden(f"{network.name} is a pre-defined network: it is as linkspand's flags say")
    more = update.pools or update.removed_subnets or update.options or update.internal is not None
    if network.config_only and (more or update.dns is not None):
        raise Forbidden(f"network {network.name} is a configuration: only its labels can change, make another one")
    if network.driver != "bridge" and more:
        why = "is what many hosts share" if network.scope == GLOBAL else "is not a bridge of linkspan's alone"
        raise Forbidden(
            f"network {network.name}, of the driver {network.driver}, {why}: only labels and DNS servers can change "
            "in place"
        )


def _with_labels(network: Network, update: NetworkUpdate) -> Network:
    if missing := [name for name in update.removed_labels if name not in network.labels]:
        raise NotFound(f"network {network.name} has no label {missing[0]}")
    labels = {name: value for name, value in network.labels.items() if name not in update.removed_labels}
    return msgspec.structs.replace(network, labels=labels | dict(update.labels))


def _server(text: str) -> str:
    if not text:
        raise InvalidArgument("invalid DNS server: an address is needed")
    return parse_address(text)


def _options(network: Network, changes: Mapping[str, str]) -> dict[str, str]:
    for name in changes:
        if name not in bridges.OPTIONS:
            raise InvalidArgument(
                f"network {network.name}: unknown option: {name}{did_you_mean(name, bridges.OPTIONS)}"
            )
        if why := bridges.FIXED.get(name):
            raise Forbidden(f"network {network.name}: {name} cannot change: {why}")
    options = dict(network.options) | dict(changes)
    return {name: value for name, value in options.items() if value or name not in changes}


def _with_pools(
    snapshot: Snapshot,
    network: Network,
    wanted: Network,
    update: NetworkUpdate,
    sources: Iterable[PoolSource],
    host: HostFacts,
) -> Network:
    left = list(network.pools)
    for text in update.removed_subnets:
        subnet = str(parse_subnet(text))
        pool = next((pool for pool in left if pool.subnet == subnet), None)
        if pool is None:
            raise NotFound(f"network {network.name} has no subnet {text}")
        _check_unused(snapshot, network, pool)
        left.remove(pool)
    if any(not pool.subnet for pool in update.pools):
        raise InvalidArgument("a subnet is needed: 10.1.0.0/24, or 0.0.0.0/24 for any of that size")
    versions = sorted({pool.version for pool in update.pools})
    unled = bridges.without_gateway(wanted)
    left += choose_pools(update.pools, versions, snapshot, sources, host, without_gateway=unled)
    if not left:
        raise Forbidden(f"network {network.name} cannot be without a subnet")
    there = {pool.version for pool in left}
    in_order = tuple(sorted(left, key=lambda pool: pool.version))
    return msgspec.structs.replace(wanted, pools=in_order, ipv4=4 in there, ipv6=6 in there)


def _check_unused(snapshot: Snapshot, network: Network, pool: Pool) -> None:
    subnet = ipaddress.ip_network(pool.subnet)
    users = {
        snapshot.containers[e.container_id].name
        for e in snapshot.endpoints_at(network)
        for address in (e.address, e.address6)
        if address and ipaddress.ip_address(address) in subnet
    }
    first, last = int(subnet[0]), int(subnet[-1])
    for container in snapshot.containers.values():
        settings = container.networks.get(network.id)
        if settings and any(first <= number <= last for number in given_addresses(settings)):
            users.add(container.name)
    if users:
        raise Conflict(f"subnet {pool.subnet} of network {network.name} is in use by {', '.join(sorted(users))}")


def _followers(snapshot: Snapshot, network: Network, space: PortSpace) -> list[Write]:
    """The endpoints of the containers on the network that change with it."""
    moment = snapshot.after((put(network),))
    made: dict[str, Write] = {}
    for endpoint in sorted(
        snapshot.endpoints_at(network), key=lambda e: int(ipaddress.ip_address(e.address or e.address6))
    ):
        container = snapshot.containers[endpoint.container_id]
        settings = container.networks[network.id]
        changed = with_addresses(moment, container, network, settings, endpoint)
        if changed != endpoint:
            made[endpoint.id] = put(changed)
            moment = moment.after((put(changed),))
        elected = elect(moment, container, space)
        made |= elected
        moment = moment.after(elected.values())
    return list(made.values())
