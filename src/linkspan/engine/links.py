"""Legacy links: `--link db:database` of a container on the default bridge, which has no resolver.

A link is one container's name for another, kept in its /etc/hosts and told in its environment, and where the bridge's
containers may not talk freely (icc=false) it opens the other's exposed ports to it. A container's record holds its
links as `<id>:<alias>`, so that they outlive a new name. On user-defined networks links are names for the resolver.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from linkspan.engine.change import Change
from linkspan.errors import Conflict, InvalidArgument, NotFound
from linkspan.model.container import Container, HostConfig
from linkspan.model.endpoint import Endpoint, LinkedPort
from linkspan.model.names import parse_link
from linkspan.model.port import parse_container_ports
from linkspan.model.snapshot import Snapshot, Write, put

# What a build leaves in an environment and is nobody else's concern.
_PRIVATE = ("HOME", "PATH")


def resolve_links(snapshot: Snapshot, host: HostConfig) -> tuple[str, ...] | None:
    """The links of a container that is to be made, by the others' ids. Raises InvalidArgument with Docker's words."""
    if host.links is None:
        return None
    # On a user-defined network links are its names, which may be of containers to come.
    named_elsewhere = host.network_mode not in ("", "default", "bridge", "host", "none")
    found: dict[str, str] = {}
    for text in host.links:
        ref, alias = parse_link(text)
        try:
            child = snapshot.container(ref)
            while child.joins:
                child = snapshot.container(child.joins)
        except NotFound as error:
            if named_elsewhere:
                continue
            raise InvalidArgument(f"could not get container for {ref}: {error}") from error
        if child.host_config.network_mode == "host":
            raise InvalidArgument("conflicting options: host type networking can't be used with links")
        if found.setdefault(alias, child.id) != child.id:
            raise InvalidArgument(f"two links have the alias {alias}")
    return tuple(f"{id_}:{alias}" for alias, id_ in found.items())


def children(snapshot: Snapshot, container: Container) -> list[tuple[str, Container]]:
    """Alias and container of each link, in the order in which they were given; of those that are still there."""
    links = map(parse_link, container.host_config.links or ())
    return [(alias, child) for id_, alias in links if (child := snapshot.containers.get(id_))]


def parents(snapshot: Snapshot, container: Container) -> list[tuple[str, Container]]:
    """Alias and container of each link to this one."""
    owners = (snapshot.containers[id_] for id_ in snapshot.linked_by.get(container.id, ()))
    return [
        (alias, owner) for owner in owners for alias, child in children(snapshot, owner) if child.id == container.id
    ]


def on_default_bridge(snapshot: Snapshot, container: Container) -> Endpoint | None:
    """Its endpoint on the network named bridge, while it has one."""
    for endpoint in snapshot.endpoints_in(container):
        if snapshot.networks[endpoint.network_id].name == "bridge" and endpoint.interface:
            return endpoint
    return None


def check_links(snapshot: Snapshot, container: Container) -> None:
    """Before a start. Raises Conflict: what it is linked to does not run, or is not on the default bridge."""
    if not _uses_default_bridge(snapshot, container):
        return
    for alias, child in children(snapshot, container):
        if snapshot.sandbox(child) is None:
            raise Conflict(f"Cannot link to a non running container: /{child.name} AS /{container.name}/{alias}")
        if on_default_bridge(snapshot, child) is None:
            raise Conflict(f"Cannot link to /{child.name}, as it does not belong to the default network")


def _uses_default_bridge(snapshot: Snapshot, container: Container) -> bool:
    return any(id_ in snapshot.networks and snapshot.networks[id_].name == "bridge" for id_ in container.networks)


def follow_links(snapshot: Snapshot, container: Container) -> Iterator[Write]:
    """The endpoints whose linked ports are others, once this container has come, gone or got another address."""
    for one in (container, *(owner for _, owner in parents(snapshot, container))):
        endpoint = on_default_bridge(snapshot, one)
        if endpoint and (linked := _linked_ports(snapshot, one, endpoint)) != endpoint.linked:
            yield put(msgspec.structs.replace(endpoint, linked=linked))


def unlink(snapshot: Snapshot, container: Container, alias: str) -> Change:
    """Takes one link of the container away. Raises NotFound."""
    links = container.host_config.links or ()
    kept = tuple(link for link in links if parse_link(link)[1] != alias)
    if kept == links:
        raise NotFound(f"container {container.name} has no link {alias}")
    host = msgspec.structs.replace(container.host_config, links=kept)
    without = put(msgspec.structs.replace(container, host_config=host))
    others = follow_links(snapshot.after((without,)), msgspec.structs.replace(container, host_config=host))
    return Change((without, *others))


def _linked_ports(snapshot: Snapshot, container: Container, endpoint: Endpoint) -> tuple[LinkedPort, ...]:
    if snapshot.networks[endpoint.network_id].icc:
        return ()
    found = []
    for _, child in children(snapshot, container):
        other = on_default_bridge(snapshot, child)
        if other is None:
            continue
        addresses = [address for address in (other.address, other.address6) if address]
        for port in (port for text in other.exposed for port in parse_container_ports(text)):
            found += [LinkedPort(protocol=port.protocol, address=a, port=port.number) for a in addresses]
    return tuple(dict.fromkeys(found))


def host_rows(snapshot: Snapshot, container: Container) -> list[tuple[str, str]]:
    """(address, names) for /etc/hosts: alias, host name and name of each container that it is linked to."""
    if not _uses_default_bridge(snapshot, container):
        return []
    rows = []
    for alias, child in children(snapshot, container):
        if endpoint := on_default_bridge(snapshot, child):
            names = " ".join(dict.fromkeys((alias, child.config.hostname, child.name)))
            rows += [(address, names) for address in (endpoint.address, endpoint.address6) if address]
    return rows


def environment(snapshot: Snapshot, container: Container) -> list[str]:
    """What Docker tells a container of those that it is linked to, as environment variables."""
    if not _uses_default_bridge(snapshot, container):
        return []
    found: list[str] = []
    for alias, child in children(snapshot, container):
        if endpoint := on_default_bridge(snapshot, child):
            found += _variables(f"/{container.name}/{alias}", alias, child, endpoint)
    return found


def _variables(name: str, alias: str, child: Container, endpoint: Endpoint) -> Iterator[str]:
    prefix = alias.upper().replace("-", "_")
    ports = [port for text in endpoint.exposed for port in parse_container_ports(text)]
    ports.sort(key=lambda port: (port.protocol != "tcp", port.protocol, port.number))
    for number, port in enumerate(ports):
        url = f"{port.protocol}://{endpoint.address}:{port.number}"
        if number == 0:
            yield f"{prefix}_PORT={url}"
        one = f"{prefix}_PORT_{port.number}_{port.protocol.upper()}"
        yield from (
            f"{one}={url}",
            f"{one}_ADDR={endpoint.address}",
            f"{one}_PORT={port.number}",
            f"{one}_PROTO={port.protocol}",
        )
        last = port
        while (after := type(port)(last.number + 1, port.protocol)) in ports:
            last = after
        if last != port and type(port)(port.number - 1, port.protocol) not in ports:
            yield from (
                f"{one}_START={url}",
                f"{one}_PORT_START={port.number}",
                f"{one}_END={port.protocol}://{endpoint.address}:{last.number}",
                f"{one}_PORT_END={last.number}",
            )
    yield f"{prefix}_NAME={name}"
    for entry in child.config.env or ():
        variable, equals, value = entry.partition("=")
        if equals and variable not in _PRIVATE:
            yield f"{prefix}_ENV_{variable}={value}"
