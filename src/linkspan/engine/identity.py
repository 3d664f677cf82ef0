"""Which address and MAC a container gets on a network.

What a user gave to a container by hand is that container's for as long as it exists, running or not: nobody gets it by
chance, and nobody else by asking for it. Everything else is chosen from what is left, in an order in which what was
given back comes last; a container that is started again gets what it had before.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Collection, Iterator, Sequence

import msgspec

from linkspan.engine.attachment import without_ipv6
from linkspan.engine.blocks import windows
from linkspan.engine.ippools import usable
from linkspan.engine.reservations import own_reservation, reserved_for_others
from linkspan.errors import Forbidden, InvalidArgument
from linkspan.ipam.addresses import UsedUp, allocate_address, range_bits
from linkspan.ipam.names import mac_address, parse_mac
from linkspan.model.claims import given_addresses, plain_mac
from linkspan.model.cluster import GLOBAL, Reservation
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.pages import place
from linkspan.model.snapshot import Snapshot


def with_addresses(
    snapshot: Snapshot,
    container: Container,
    network: Network,
    settings: EndpointSettings,
    endpoint: Endpoint,
    host_id: str = "",
    occupied: Collection[tuple[str, int]] = (),
) -> Endpoint:
    """The endpoint with an address of each IP version that the network has; those that it has stay.

    `host_id` is this host's in its cluster; `occupied` are addresses, by network, that others on the wire were heard
    to have. Raises Forbidden ("Address already in use"), InvalidArgument, UsedUp
    (none is left).
    """
    check_claims(snapshot, container, network, settings)
    if not endpoint.address:
        address, pool = _choose_address(snapshot, container, network, settings, 4, host_id, occupied)
        if pool:
            endpoint = msgspec.structs.replace(
                endpoint, address=address, prefix_length=pool.prefix_length, gateway=pool.router
            )
    if not endpoint.address6 and not without_ipv6(container, settings):
        address, pool = _choose_address(snapshot, container, network, settings, 6, host_id, occupied)
        if pool:
            endpoint = msgspec.structs.replace(
                endpoint, address6=address, prefix_length6=pool.prefix_length, gateway6=pool.router
            )
    return endpoint


def _choose_address(
    snapshot: Snapshot,
    container: Container,
    network: Network,
    settings: EndpointSettings,
    version: int,
    host_id: str,
    occupied: Collection[tuple[str, int]],
) -> tuple[str, Pool | None]:
    """An address of an IP version and the pool that it is of; "" and None where the network has no such pool."""
    asked = settings.ipam_config
    wanted = (asked.ipv6_address if version == 6 else asked.ipv4_address) if asked else ""
    pools = network.pools_of(version)
    if wanted and not pools and not any(pool.version == version for pool in network.configured):
        raise InvalidArgument(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
        )
    if not pools:
        return "", None
    if (left := usable(snapshot, network, pools, asked=bool(wanted))) != pools:
        network, pools = msgspec.structs.replace(network, pools=left), left
    reserved = own_reservation(snapshot, container, network) if network.identity else None
    kept = (reserved.address6 if version == 6 else reserved.address) if reserved else ""
    spared = _only_reserved(snapshot, container, network, reserved, kept)
    unusable = [int(number) for id_, number in occupied if id_ == network.id]
    if network.path:  # hosts are on the segment too
        texts = (text for host in snapshot.hosts.values() for text in (host.address, host.address6) if text)
        unusable += [int(ipaddress.ip_address(text)) for text in texts if (":" in text) == (version == 6)]

    kept_back = [found for one in snapshot.ip_reservations.values() for found in one.ranges(version)]

    def held(page: int) -> int:
        bits = snapshot.held_addresses(network.id, page) | range_bits(network.excluded, page)
        if not wanted:
            bits |= range_bits(kept_back, page)
        if spared and spared[0] == page:
            bits &= ~spared[1]
        if wanted:
            return bits
        for at, bit in map(place, unusable):
            bits |= bit if at == page else 0
        return bits | snapshot.claims.claimed_addresses(network.id, page)

    def allocate(pools: Sequence[Pool]) -> tuple[str, Pool]:
        return allocate_address(
            pools,
            held,
            wanted,
            preferred=snapshot.resting.had_by(container.id, network.id),
            behind=lambda pool: snapshot.resting.latest_in(network.id, pool),
        )

    if kept and not wanted:
        with contextlib.suppress(Forbidden, InvalidArgument):  # the network has changed, or somebody else has it
            return allocate_address(pools, held, kept)
    if wanted or network.scope != GLOBAL:
        return allocate(pools)
    for window in windows(snapshot, network, version, host_id):
        with contextlib.suppress(UsedUp):
            return allocate(window)
    if network.strict_blocks:
        raise UsedUp(f"no available IPv{version} addresses in this host's part of network {network.name}")
    if network.exclusive_blocks:
        raise UsedUp(
            f"no available IPv{version} addresses for this host on network {network.name}: it has used up its blocks, "
            "and the other hosts hold the rest: a larger subnet has more"
        )
    return allocate(pools)  # which says that none is left


def _only_reserved(
    snapshot: Snapshot, container: Container, network: Network, reserved: Reservation | None, kept: str
) -> tuple[int, int] | None:
    """The place, as `pages` have it, of an address that nobody has but the container's own reservation."""
    if reserved is None or not kept:
        return None
    key = (network.id, int(ipaddress.ip_address(kept)))
    ids = snapshot.elsewhere.holders.get(key, ())
    own = (snapshot.reservations.get(id_) for id_ in ids if id_ != reserved.id)
    if key in snapshot.address_holders or any(found is None or found.holder != container.id for found in own):
        return None
    return place(key[1])


def choose_mac(
    snapshot: Snapshot, container: Container, network: Network, settings: EndpointSettings, address: str
) -> str:
    """The MAC that was given, or one that follows from the address, unless that was given to somebody else.

    "" where the network's interfaces have that of the link that they stand on.
    """
    if settings.mac_address:
        return parse_mac(settings.mac_address)
    if network.shares_mac:
        return ""
    elsewhere = snapshot.elsewhere.macs
    return mac_address(
        address, lambda mac: bool(snapshot.claims.mac_owner(network.id, mac)) or (network.id, mac) in elsewhere
    )


def check_claims(snapshot: Snapshot, container: Container, network: Network, settings: EndpointSettings) -> None:
    """Raises Forbidden where what is asked for by hand belongs to another container."""
    for refusal in _refusals(snapshot, container, network, settings):
        raise Forbidden(refusal)


def claim_warnings(snapshot: Snapshot, container: Container) -> tuple[str, ...]:
    """For a container that is about to be created: what it was given and cannot have while the other one exists."""
    return tuple(
        f"{refusal}: this one cannot start before that one is removed, or disconnected from network {network.name}"
        for network_id, settings in container.networks.items()
        if (network := snapshot.networks.get(network_id))
        for refusal in _refusals(snapshot, container, network, settings)
    )


def _refusals(snapshot: Snapshot, container: Container, network: Network, settings: EndpointSettings) -> Iterator[str]:
    for number in given_addresses(settings):
        text = str(ipaddress.ip_address(number))
        page, bit = place(number)
        if range_bits(network.excluded, page) & bit:
            yield f"Address already in use: {text} is excluded from network {network.name}: it is not a container's"
        holder = snapshot.endpoints.get(snapshot.address_holders.get((network.id, number), ""))
        if holder and holder.container_id != container.id:
            yield f"Address already in use: {text} is the address of container {_name(snapshot, holder.container_id)}"
        elif _is_others(owner := snapshot.claims.address_owner(network.id, number), container):
            yield f"Address already in use: {text} was given to container {_name(snapshot, owner)}"
        elif identity := reserved_for_others(snapshot, container, network, number):
            yield f"Address already in use: {text} is reserved for {identity}"
        elif remote := snapshot.remote_holder(network.id, number):
            yield f"Address already in use: {text} is the address of container {remote.name} on another host"
    if mac := plain_mac(settings.mac_address):
        using = next((e.container_id for e in snapshot.endpoints_at(network) if e.mac == mac), "")
        owner = using or snapshot.claims.mac_owner(network.id, mac)
        if _is_others(owner, container):
            yield f"MAC address already in use: {mac} is that of container {_name(snapshot, owner)}"
        elif ids := snapshot.elsewhere.macs.get((network.id, mac)):
            name = snapshot.remotes[ids[0]].name
            yield f"MAC address already in use: {mac} is that of container {name} on another host"


def _is_others(owner: str, container: Container) -> bool:
    return owner not in ("", container.id)


def _name(snapshot: Snapshot, container_id: str) -> str:
    return snapshot.containers[container_id].name
