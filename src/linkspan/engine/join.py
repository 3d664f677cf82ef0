"""Joining: what a container that starts gets of the network, and what it gives back.

A container has a sandbox of its own with an endpoint on each of its networks; on `host` the sandbox is the host's, on
`none` it is empty, and with `container:` it is the other container's and nothing is recorded here. The sandbox belongs
to whoever runs in it: while others still share it, it outlives the container that it was made for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import msgspec

from linkspan.drivers.contract import Driver
from linkspan.engine.attachment import (
    asked_names,
    check_settings,
    interface_name,
    interface_sysctls,
    link_local_addresses,
)
from linkspan.engine.bandwidth import asked_bandwidth
from linkspan.engine.blocks import check_subnets, new_blocks
from linkspan.engine.change import Change, network_event
from linkspan.engine.identity import check_claims, choose_mac, with_addresses
from linkspan.engine.links import check_links, follow_links
from linkspan.engine.render import at_home
from linkspan.engine.reservations import release, reserve
from linkspan.engine.vlans import asked_vlan
from linkspan.errors import Conflict, Forbidden, InvalidArgument, PortInUse, PortUnavailable, Unavailable
from linkspan.ipam.names import veth_name
from linkspan.ipam.ports import PortSpace, allocate_ports, owners
from linkspan.ipam.segments import choose_segment
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.port import (
    ANY,
    ANY_IPV4,
    ContainerPort,
    PortRequest,
    any_of,
    parse_container_ports,
    parse_port_request,
    sort_ports,
    version_of,
)
from linkspan.model.snapshot import Snapshot, Write, drop, put

_SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What joining depends on besides the records. `ids` are fresh: one for the sandbox, one for each endpoint."""

    drivers: Mapping[str, Driver]
    namespaces: str  # folder of the namespace files
    ports: PortSpace
    ids: tuple[str, ...]
    host_id: str = ""  # this host's in its cluster
    occupied: frozenset[tuple[str, int]] = frozenset()  # network ids and addresses that strangers on its wire have


class NoPart(Unavailable):
    """The network has a part for each host, and this host has none yet."""

    def __init__(self, network: Network) -> None:
        super().__init__(f"network {network.name}: this host has no subnet of it yet: the log says what it waits for")
        self.network_id = network.id


def port_requests(container: Container) -> tuple[PortRequest, ...]:
    """What the container asks to publish: its own bindings and, with -P, every other exposed port."""
    bindings = container.host_config.port_bindings or {}
    asked = [
        parse_port_request(port, binding.host_ip, binding.host_port)
        for port, wanted in bindings.items()
        for binding in (wanted or ())
    ]
    if container.host_config.publish_all_ports:
        bound = {request.container for request in asked}
        asked += [PortRequest(port) for port in exposed_ports(container) if port not in bound]
    return tuple(asked)


def exposed_ports(container: Container) -> list[ContainerPort]:
    """Every port that the image or the user exposes, or that is published; in order."""
    return sort_ports(port for text in _exposed(container) for port in parse_container_ports(text))


def listed_ports(container: Container) -> tuple[str, ...]:
    """The same in Docker's form: the record's own strings as far as it has them so, as there may be thousands."""
    written = {text: text for text in _exposed(container)}
    return tuple(written.get(text, text) for text in map(str, exposed_ports(container)))


def _exposed(container: Container) -> tuple[str, ...]:
    return (*(container.config.exposed_ports or ()), *(container.host_config.port_bindings or ()))


def join(snapshot: Snapshot, container: Container, around: Surroundings) -> Change:
    """The sandbox, endpoints and bindings of a container that starts.

    One of the endpoints leads out: it has the default route, and the published ports.

    Raises Conflict (the sandbox to share is not there, or no address is left), PortInUse, Forbidden (an address is
    taken).
    """
    if container.shares_sandbox:
        peer = snapshot.containers.get(container.joins)
        if peer is None:
            raise Conflict(f"cannot join network of container {container.joins}: No such container")
        if not peer.state.running:
            raise Conflict(f"cannot join network of a non running container: {peer.id}")
        return Change()
    if snapshot.sandbox(container):  # others kept it alive
        return Change()
    check_links(snapshot, container)
    sandbox_id, *endpoint_ids = around.ids
    sandbox = _sandbox(snapshot, container, sandbox_id, around.namespaces)
    made: dict[str, Write] = {}
    events = []
    moment = snapshot
    for (network_id, settings), endpoint_id in zip(container.networks.items(), endpoint_ids, strict=False):
        network = moment.networks.get(network_id)
        if network is None:
            raise Conflict(f"network {network_id} of container {container.name} no longer exists")
        endpoint = _endpoint(moment, container, sandbox, network, settings, around, endpoint_id)
        joined = _claimed(moment, container, network, settings, endpoint, around)
        moment = moment.after(joined.values())
        made |= joined
        events.append(network_event("connect", network, container.id))
    made |= elect(moment, container, around.ports)
    made |= _linked(moment.after(made.values()), container)
    return Change((put(sandbox), *made.values()), tuple(events))


def leave(snapshot: Snapshot, container: Container, *, removed: bool = False) -> Change:
    """What a container that has ended gives back. Others that run in its sandbox keep it, unless it is `removed`: then
    interfaces that it was given by hand are its no more."""
    sandbox = snapshot.sandbox(container)
    given = (put(msgspec.structs.replace(container, plugs=())),) if removed and container.plugs else ()
    if sandbox is None or (not removed and sharers(snapshot, container)):
        return Change(given)
    endpoints = snapshot.endpoints_in(container)
    others = _linked(snapshot.after(map(drop, endpoints)), container)
    return Change(
        (*map(drop, endpoints), drop(sandbox), *others.values(), *given),
        tuple(network_event("disconnect", snapshot.networks[e.network_id], container.id) for e in endpoints),
    )


def sandbox_owner(snapshot: Snapshot, container: Container) -> Container:
    """Whose sandbox this container uses, through however many `container:`: its own, unless it joins another's."""
    seen = {container.id}
    while container.joins and (peer := snapshot.containers.get(container.joins)) and peer.id not in seen:
        container = peer
        seen.add(peer.id)
    return container


def sharers(snapshot: Snapshot, owner: Container) -> list[Container]:
    """The running containers that live in this one's sandbox, but for itself."""
    return [
        c
        for c in snapshot.containers.values()
        if c.joins and c.state.running and c.id != owner.id and sandbox_owner(snapshot, c).id == owner.id
    ]


def connect(
    snapshot: Snapshot, container: Container, network: Network, settings: EndpointSettings, around: Surroundings
) -> Change:
    """Another network for a container, at once where it runs. It may take over the default route and the ports."""
    if container.shares_sandbox:
        raise InvalidArgument(_SHARED)
    check_settings(network.name, settings, network)
    if network.id in container.networks:
        raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")
    if network.driver == "host":
        raise InvalidArgument(
            "cannot connect container to host network - container must be created in host network mode"
        )
    if container.host_config.network_mode == "host":
        raise InvalidArgument(_SHARED)
    present = [snapshot.networks[id_].name for id_ in container.networks if id_ in snapshot.networks]
    if present and "none" in (network.name, *present):
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    check_claims(snapshot, container, network, settings)
    asked = msgspec.structs.replace(container, networks={**container.networks, network.id: settings})
    sandbox = snapshot.sandbox(container)
    if sandbox is None:
        return Change((put(asked),))
    endpoint = _endpoint(snapshot, container, sandbox, network, settings, around, around.ids[0])
    made = _claimed(snapshot, container, network, settings, endpoint, around)
    made |= elect(snapshot.after(made.values()), asked, around.ports)
    made |= _linked(snapshot.after((put(asked), *made.values())), asked)
    return Change((put(asked), *made.values()), (network_event("connect", network, container.id),))


def disconnect(
    snapshot: Snapshot, container: Container, network: Network, ports: PortSpace | None = None, now: str = ""
) -> Change:
    """Takes a container off a network, at once where it runs. What led out over it leads out over another one.

    `ports` is chosen from where published ports move to another host address and theirs are taken there; `now` is
    since when an address rests that was its identity's.
    """
    if network.driver == "host" and network.id in container.networks:
        raise InvalidArgument(
            "cannot disconnect container from host network - container was created in host network mode"
        )
    if network.id not in container.networks:
        raise Forbidden(f"container {container.id} is not connected to network {network.name}")
    left = {id_: settings for id_, settings in container.networks.items() if id_ != network.id}
    asked = msgspec.structs.replace(container, networks=left)
    gone = [e for e in snapshot.endpoints_in(container) if e.network_id == network.id]
    elected = elect(snapshot.after(map(drop, gone)), asked, ports or PortSpace(), gone) if gone else {}
    elected |= _linked(snapshot.after((put(asked), *map(drop, gone), *elected.values())), asked)
    return Change(
        (put(asked), *map(drop, gone), *elected.values(), *release(snapshot, container, now, network.id)),
        tuple(network_event("disconnect", network, container.id) for _ in gone),
    )


def forget_network(container: Container, network_id: str) -> Change:
    """Takes a container off a network that was removed while it did not run."""
    left = {id_: settings for id_, settings in container.networks.items() if id_ != network_id}
    return Change((put(msgspec.structs.replace(container, networks=left)),))


def _linked(moment: Snapshot, container: Container) -> dict[str, Write]:
    return {write.id: write for write in follow_links(moment, container)}


def _sandbox(snapshot: Snapshot, container: Container, id_: str, namespaces: str) -> Sandbox:
    drivers = {snapshot.networks[n].driver for n in container.networks if n in snapshot.networks}
    if "host" in drivers:
        return Sandbox(id=id_, container_id=container.id, kind="host", path=f"{namespaces}/default")
    kind = "none" if drivers <= {"null"} else "own"
    return Sandbox(id=id_, container_id=container.id, kind=kind, path=f"{namespaces}/{id_[:12]}")


def _endpoint(
    snapshot: Snapshot,
    container: Container,
    sandbox: Sandbox,
    network: Network,
    settings: EndpointSettings,
    around: Surroundings,
    id_: str,
) -> Endpoint:
    bare = Endpoint(
        id=id_,
        network_id=network.id,
        sandbox_id=sandbox.id,
        container_id=container.id,
        aliases=settings.aliases or (),
        driver_options=settings.driver_opts or {},
        default_route=False,
    )
    if not around.drivers[network.driver].allocates:
        return bare
    _check_room(snapshot, network)
    check_subnets(snapshot, network)
    home = at_home(snapshot, network, around.drivers)
    if home is None:
        raise NoPart(network)
    network = home
    endpoint = with_addresses(snapshot, container, network, settings, bare, around.host_id, around.occupied)
    taken = {e.interface for e in snapshot.endpoints_in(container)} | {plug.interface for plug in container.plugs}
    interface = interface_name(settings, network, taken, asked_names(container))
    return msgspec.structs.replace(
        endpoint,
        interface=interface,
        segment=choose_segment(snapshot.segments_on.get(network.id, {})) if network.bridge else 0,
        host_interface=veth_name(id_),
        vlan=asked_vlan(settings.driver_opts, network),
        mac=choose_mac(snapshot, container, network, settings, endpoint.address or endpoint.address6),
        bandwidth=asked_bandwidth(settings),
        link_local=link_local_addresses(settings),
        sysctls=interface_sysctls(settings, interface),
        exposed=listed_ports(container) if network.publishes else (),
    )


def _claimed(
    snapshot: Snapshot,
    container: Container,
    network: Network,
    settings: EndpointSettings,
    endpoint: Endpoint,
    around: Surroundings,
) -> dict[str, Write]:
    """The endpoint, and the blocks of addresses and the reservation that this host claims with it, by id."""
    blocks = new_blocks(snapshot, network, settings, endpoint, around.host_id)
    kept = reserve(snapshot, container, network, endpoint, around.host_id) if network.identity else ()
    return (
        {write.id: write for write in kept} | {endpoint.id: put(endpoint)} | {block.id: put(block) for block in blocks}
    )


def _check_room(snapshot: Snapshot, network: Network) -> None:
    """In passthru an interface of the host is one container's alone."""
    if network.mode != "passthru":
        return
    if users := [snapshot.containers[e.container_id].name for e in snapshot.endpoints_at(network)]:
        raise Forbidden(
            f"network {network.name} has room for one container in mode passthru, and {users[0]} is connected to it"
        )


def elect(
    snapshot: Snapshot,
    container: Container,
    space: PortSpace,
    gone: Iterable[Endpoint] = (),
    origin: Mapping[Binding, PortRequest] | None = None,
) -> dict[str, Write]:
    """The endpoints that change, by id, so that for each IP version exactly one has the default route and the ports.

    Docker's order: the highest gateway priority, then the one with more IP versions, then the network's name; an
    internal network leads nowhere. `gone` are endpoints of the container that were just dropped: their ports are
    handed on. `origin` says for what the present bindings were made, where that is not what the container asks for now.

    Raises PortInUse with Docker's words.
    """

    endpoints = snapshot.endpoints_in(container)
    networks = {e.id: snapshot.networks[e.network_id] for e in endpoints}

    def leads(endpoint: Endpoint) -> tuple[bool, bool]:
        direct = networks[endpoint.id].direct
        four = bool(endpoint.address) and (bool(endpoint.gateway) or direct)
        return four, bool(endpoint.address6) and (bool(endpoint.gateway6) or direct)

    def order(endpoint: Endpoint) -> tuple[int, int, str]:
        settings = container.networks.get(endpoint.network_id, EndpointSettings())
        return -settings.gw_priority, -sum(leads(endpoint)), networks[endpoint.id].name

    outward = sorted((e for e in endpoints if not networks[e.id].internal), key=order)
    four = next((e for e in outward if leads(e)[0]), None)
    six = next((e for e in outward if leads(e)[1]), None)
    requests = port_requests(container)
    if origin is None:
        origin = owners(requests, (b for e in (*gone, *endpoints) for b in e.bindings))
        stays: dict[Binding, PortRequest] = {}
    else:
        # Who leads out is as before: what was published for a request that there still is stays, and is not looked at.
        settled = all((e.default_route, e.default_route6) == (e is four, e is six) for e in endpoints)
        asked = set(requests)
        stays = {b: request for b, request in origin.items() if settled and request in asked}
    there = set(stays.values())
    fresh = [request for request in dict.fromkeys(requests) if request not in there]
    had = dict(origin)
    elected: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        elected[endpoint.id] = msgspec.structs.replace(
            endpoint,
            default_route=endpoint is four,
            default_route6=endpoint is six,
            bindings=tuple(b for b in endpoint.bindings if b in stays),
        )
    moment = snapshot.after(put(e) for e in elected.values() if e != snapshot.endpoints[e.id])
    leading = [e for e in (four, six if six is not four else None) if e]
    for endpoint in leading:
        # Where nothing leads out by IPv6, the host's IPv6 addresses lead to IPv4 (by the relay).
        at = PublishedBy(endpoint is four, endpoint is six or six is None)
        bindings = _bindings(moment, container, elected[endpoint.id], space, had, at, fresh) if fresh else ()
        chosen = elected[endpoint.id]
        elected[endpoint.id] = msgspec.structs.replace(
            chosen, bindings=tuple(dict.fromkeys((*chosen.bindings, *bindings)))
        )
        if endpoint is not leading[-1]:
            had = owners(fresh, bindings) | had  # the other IP version gets the same numbers
            moment = moment.after([put(elected[endpoint.id])])
    return {e.id: put(e) for e in elected.values() if e != snapshot.endpoints[e.id]}


@dataclasses.dataclass(frozen=True, slots=True)
class PublishedBy:
    """The IP versions of host addresses for which an endpoint has the container's published ports."""

    ipv4: bool
    ipv6: bool


def _bindings(
    snapshot: Snapshot,
    container: Container,
    endpoint: Endpoint,
    space: PortSpace,
    had: Mapping[Binding, PortRequest],
    at: PublishedBy,
    requests: Iterable[PortRequest],
) -> tuple[Binding, ...]:
    """The published ports at an endpoint; those that the container `had` elsewhere as far as they can be had here."""
    numbers: dict[PortRequest, list[int]] = {}
    for binding, request in had.items():
        numbers.setdefault(request, []).append(binding.port)
    network = snapshot.networks[endpoint.network_id]
    if not network.publishes:
        return ()
    wanted: list[PortRequest] = []
    opened: list[Binding] = []
    for request in requests:
        for address in _host_addresses(request.address, network, endpoint, space, at):
            inside = request.container
            if address != ANY and network.gateway_mode_of(version_of(address)) == "routed":
                opened.append(Binding(protocol=inside.protocol, address=address, port=0, container_port=inside.number))
                continue
            asked = dataclasses.replace(request, address=address)
            kept = next((port for port in numbers.get(request, ()) if _free(snapshot, asked, port)), 0)
            wanted.append(dataclasses.replace(asked, first=kept, last=kept) if kept else asked)
    try:
        return (
            *allocate_ports(wanted, snapshot.held_ports, space, snapshot.claims.claimed_ports),
            *dict.fromkeys(opened),
        )
    except PortInUse as error:
        raise external_connectivity(container, endpoint.id, error) from error


def _free(snapshot: Snapshot, request: PortRequest, port: int) -> bool:
    return port != 0 and snapshot.holds_port(request.container.protocol, request.address, port) is None


def _host_addresses(
    asked: str, network: Network, endpoint: Endpoint, space: PortSpace, at: PublishedBy
) -> tuple[str, ...]:
    """Where a port is published that was asked for at `asked` ("" is the network's own choice).

    As with Docker: an address of a version that leads nowhere here is passed over; a routed network has none; no
    address is every one of both versions, as far as the host has IPv6.
    """
    ipv4 = at.ipv4 and bool(endpoint.address)
    # A host without IPv6 has no relay. Who asks for one of its IPv6 addresses is to hear that it has none.
    ipv6 = at.ipv6 and bool(endpoint.address6 or (endpoint.address and (space.relay or not space.ipv6)))
    address = asked or network.binding_address
    implied = not asked and address == ANY_IPV4
    found = []
    for version, able in ((4, ipv4), (6, ipv6 and (space.ipv6 or not implied))):
        if able and (implied or version_of(address) == version):
            routed = network.gateway_mode_of(version) == "routed"
            found.append(any_of(version) if implied or routed else address)
    both = len(found) == 2 and "routed" not in (network.gateway_mode_of(4), network.gateway_mode_of(6))
    return (ANY,) if both else tuple(found)


def external_connectivity(container: Container, endpoint_id: str, error: PortUnavailable) -> PortUnavailable:
    """Docker's words around a port that cannot be had."""
    return type(error)(
        "failed to set up container networking: driver failed programming external connectivity on endpoint "
        f"{container.name} ({endpoint_id}): {error}",
        protocol=error.protocol,
        address=error.address,
        port=error.port,
    )
