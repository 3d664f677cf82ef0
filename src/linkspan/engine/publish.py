"""Publishing: ports of a container that is there, published and withdrawn while it runs or while it does not.

What is asked for is in the container's host configuration, where creation put the rest, and so is published at each
later start too. What is published now is in its endpoint: whatever of it is still asked for stays as it is, and the
connections through it go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from linkspan.engine.change import Change
from linkspan.engine.join import elect, listed_ports, port_requests
from linkspan.errors import InvalidArgument, NotFound, NotModified
from linkspan.ipam.ports import PortSpace, owners
from linkspan.model.container import Container, HostConfig, PortBinding
from linkspan.model.endpoint import Binding
from linkspan.model.port import PortRequest, Withdrawal, each_family, parse_container_ports, parse_port_request
from linkspan.model.snapshot import Snapshot, put

PortBindings = Mapping[str, tuple[PortBinding, ...] | None]


def publish(snapshot: Snapshot, container: Container, bindings: PortBindings, space: PortSpace) -> Change:
    """Publishes more ports. `bindings` is as in a host configuration; what is asked for already is left as it is.

    Raises InvalidArgument, PortInUse with Docker's words, NotModified where everything is asked for already.
    """
    _check_mode(snapshot, container)
    asked = {key: tuple(wanted or ()) for key, wanted in (container.host_config.port_bindings or {}).items()}
    known = {port: key for key in asked for port in parse_container_ports(key)}
    present = set(port_requests(container))
    count = fresh = 0
    for text, wanted in bindings.items():
        for binding in wanted or ():
            request = parse_port_request(text, binding.host_ip, binding.host_port)
            count += 1
            if request not in present:
                present.add(request)
                fresh += 1
                key = known.setdefault(request.container, str(request.container))
                asked[key] = (*asked.get(key, ()), binding)
    if not count:
        raise InvalidArgument("no port to publish was given")
    if not fresh:
        raise NotModified(f"container {container.name} publishes these ports already")
    # -P publishes what is not published otherwise: what it has published stays, named from now on.
    replaced = set[PortRequest]()
    if container.host_config.publish_all_ports:
        replaced = set(port_requests(container)) - set(port_requests(_asking(container, asked)))
    for port in (request.container for request in replaced):
        asked[known[port]] = (PortBinding(), *asked[known[port]])
    return _follow(snapshot, container, _asking(container, asked), space)


def withdraw(snapshot: Snapshot, container: Container, wanted: Sequence[Withdrawal], space: PortSpace) -> Change:
    """Publishes ports no more. Raises NotFound where one of those `wanted` names no published port, InvalidArgument."""
    requests = port_requests(container)
    bindings = [b for e in snapshot.endpoints_in(container) for b in e.bindings]
    origin = owners(requests, bindings)
    published: dict[PortRequest, list[Binding]] = {request: [] for request in requests}
    for binding, request in origin.items():
        published[request].append(binding)
    gone: set[PortRequest] = set()
    if not wanted:
        raise InvalidArgument("no port to withdraw was given")
    for withdrawal in wanted:
        fitting = {request for request, made in published.items() if _meant(withdrawal, request, made)}
        if not fitting and withdrawal.alone:
            inside = Withdrawal(withdrawal.text, withdrawal.protocol, container=withdrawal.first)
            fitting = {request for request, made in published.items() if _meant(inside, request, made)}
        if not fitting:
            raise NotFound(f"No public port '{withdrawal}' published for {container.name}")
        gone |= fitting
    left = [request for request in requests if request not in gone]
    asked = _asking(container, _remaining(container, gone))
    if set(port_requests(asked)) != set(left):
        # -P, and of all exposed ports some are not to be published: the others are named one by one.
        asked = _asking(container, _named(asked.host_config, left), publish_all=False)
    return _follow(snapshot, container, asked, space)


def published_ports(snapshot: Snapshot, container: Container) -> set[Binding]:
    """Where its ports are published now."""
    return {binding for endpoint in snapshot.endpoints_in(container) for binding in endpoint.bindings}


def _asking(container: Container, bindings: PortBindings, *, publish_all: bool | None = None) -> Container:
    host = container.host_config
    publish_all = host.publish_all_ports if publish_all is None else publish_all
    host = msgspec.structs.replace(host, port_bindings=dict(bindings), publish_all_ports=publish_all)
    return msgspec.structs.replace(container, host_config=host)


def _check_mode(snapshot: Snapshot, container: Container) -> None:
    if container.shares_sandbox:
        raise InvalidArgument(
            "conflicting options: port publishing and the container type network mode: publish the port on container "
            f"{container.joins[:12]}, whose network this one uses"
        )
    if any(snapshot.networks[id_].driver == "host" for id_ in container.networks if id_ in snapshot.networks):
        raise InvalidArgument("conflicting options: published ports are discarded when using host network mode")


def _follow(snapshot: Snapshot, before: Container, asked: Container, space: PortSpace) -> Change:
    """The endpoints as the changed container asks for them: what it asked for before stays where it is."""
    requests = list(dict.fromkeys(port_requests(asked)))
    endpoints = snapshot.endpoints_in(asked)
    origin = owners(port_requests(before), (b for e in endpoints for b in e.bindings))
    exposed = listed_ports(asked)
    moment = snapshot.after((put(asked),))
    moment = moment.after(put(msgspec.structs.replace(e, exposed=exposed)) for e in endpoints if e.interface)
    moment = moment.after(elect(moment, asked, space, origin=origin).values())
    there = set(origin.values())
    fresh = [request for request in requests if request not in there]
    warnings: tuple[str, ...] = ()
    if fresh and not any(n.pools and not n.internal for n in map(snapshot.networks.get, asked.networks) if n):
        warnings = (f"container {asked.name} is on no network that leads out: its ports are published once it is",)
    touched = [e for e in moment.endpoints_in(asked) if e != snapshot.endpoints[e.id]]
    return Change((put(asked), *map(put, touched)), warnings=warnings)


def _meant(withdrawal: Withdrawal, request: PortRequest, bindings: list[Binding]) -> bool:
    """Of a container that does not run, the host's port and address are those asked for."""
    if request.container.protocol != withdrawal.protocol:
        return False
    if withdrawal.container not in (0, request.container.number):
        return False
    if not bindings:
        inside = withdrawal.first <= request.first and request.last <= withdrawal.last
        return withdrawal.address in ("", request.address) and (withdrawal.first == 0 or inside)
    return any(
        withdrawal.address in ("", *each_family(b.address))
        and (withdrawal.first == 0 or withdrawal.first <= b.port <= withdrawal.last)
        for b in bindings
    )


def _remaining(container: Container, gone: set[PortRequest]) -> dict[str, tuple[PortBinding, ...]]:
    left: dict[str, tuple[PortBinding, ...]] = {}
    for key, wanted in (container.host_config.port_bindings or {}).items():
        kept = tuple(b for b in wanted or () if parse_port_request(key, b.host_ip, b.host_port) not in gone)
        if kept or not wanted:
            left[key] = kept
    return left


def _named(host: HostConfig, requests: list[PortRequest]) -> dict[str, tuple[PortBinding, ...]]:
    bindings = {key: tuple(wanted or ()) for key, wanted in (host.port_bindings or {}).items()}
    explicit = {parse_port_request(key, b.host_ip, b.host_port) for key, wanted in bindings.items() for b in wanted}
    return bindings | {str(r.container): (PortBinding(),) for r in requests if r not in explicit}
