"""From records to what the resolver has to know: who is called what on which network, and who may ask.

`render_names` is the whole truth. `touched_names` says what of it a set of writes can change, and `name_record` what it
is by now, so that following one change costs the same at any size. A test holds them against each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from linkspan.model.cluster import Remote
from linkspan.model.container import EndpointSettings
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.names import dns_names, link_names
from linkspan.model.network import Network
from linkspan.model.resolv_conf import has_option
from linkspan.model.snapshot import Snapshot, Write
from linkspan.state.names import HostListener, Listening, Named, NameKey, NameRecord


@dataclasses.dataclass(frozen=True, slots=True)
class NameSettings:
    """The daemon's own flags about names; a container's take their place."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    listener: HostListener | None = None


def named(network: Network) -> bool:
    """Whether containers have names on it: on user-defined networks."""
    return not network.predefined and network.driver not in ("host", "null")


def resolves(snapshot: Snapshot, sandbox: Sandbox) -> bool:
    """Whether 127.0.0.11 answers in a sandbox: as soon as it is on a network with names."""
    return sandbox.kind != "host" and any(
        named(snapshot.networks[endpoint.network_id]) for endpoint in _endpoints(snapshot, sandbox)
    )


def render_names(snapshot: Snapshot, settings: NameSettings) -> dict[NameKey, NameRecord]:
    keys: list[NameKey] = [("sandbox", id_) for id_ in snapshot.sandboxes]
    keys += [("endpoint", id_) for id_ in (*snapshot.endpoints, *snapshot.remotes)]
    if settings.listener:
        keys.append(settings.listener.key)
    return {key: record for key in keys if (record := name_record(snapshot, key, settings))}


def name_record(snapshot: Snapshot, key: NameKey, settings: NameSettings) -> NameRecord | None:
    """None where there is nothing to know about it, or nothing any more."""
    kind, id_ = key
    if kind == "host":
        return settings.listener
    if kind == "sandbox":
        sandbox = snapshot.sandboxes.get(id_)
        return _listening(snapshot, sandbox, settings) if sandbox and resolves(snapshot, sandbox) else None
    if endpoint := snapshot.endpoints.get(id_):
        return _named(snapshot, endpoint, settings)
    remote = snapshot.remotes.get(id_)
    return _named_elsewhere(snapshot, remote, settings) if remote else None


def touched_names(before: Snapshot, after: Snapshot, writes: Iterable[Write]) -> set[NameKey]:
    """What may be another record after these writes."""
    touched: set[NameKey] = set()
    for snapshot in (before, after):
        for write in writes:
            match write.kind:
                case "endpoint":
                    endpoints: Iterable[str] = (write.id,)
                    touched |= _elsewhere(before, after, write.id)
                case "remote":
                    touched.add(("endpoint", write.id))
                    continue
                case "network":
                    endpoints = snapshot.endpoints_on.get(write.id, {})
                    touched |= {("endpoint", id_) for id_ in snapshot.elsewhere.on.get(write.id, {})}
                case "container":
                    endpoints = snapshot.endpoints_of.get(write.id, ())
                    if sandbox := snapshot.sandbox_of.get(write.id):
                        touched.add(("sandbox", sandbox))
                case "sandbox":
                    touched.add(("sandbox", write.id))
                    continue
                case _:
                    continue
            for id_ in endpoints:
                touched.add(("endpoint", id_))
                if endpoint := snapshot.endpoints.get(id_):
                    touched.add(("sandbox", endpoint.sandbox_id))
    return touched


def _listening(snapshot: Snapshot, sandbox: Sandbox, settings: NameSettings) -> Listening:
    host = snapshot.containers[sandbox.container_id].host_config
    options = host.dns_options or settings.options
    return Listening(
        id=sandbox.id,
        path=sandbox.path,
        servers=tuple(host.dns or _network_servers(snapshot, sandbox) or settings.servers) or None,
        outward=any(not snapshot.networks[e.network_id].internal for e in _endpoints(snapshot, sandbox)),
        ndots=has_option(options, "ndots") if options else None,
    )


def _network_servers(snapshot: Snapshot, sandbox: Sandbox) -> tuple[str, ...]:
    """Those of its networks, of the one that leads out first."""
    container = snapshot.containers[sandbox.container_id]

    def rank(network: Network) -> tuple[int, bool, str]:
        asked = container.networks.get(network.id, EndpointSettings())
        return -asked.gw_priority, network.internal, network.name

    networks = sorted((snapshot.networks[e.network_id] for e in _endpoints(snapshot, sandbox)), key=rank)
    return tuple(dict.fromkeys(server for network in networks for server in network.dns))


def _named(snapshot: Snapshot, endpoint: Endpoint, settings: NameSettings) -> Named | None:
    network = snapshot.networks[endpoint.network_id]
    container = snapshot.containers[endpoint.container_id]
    addresses = tuple(filter(None, (endpoint.address, endpoint.address6)))
    # A sandbox that is on a predefined network too has no names to look up there, and the host asks only if it may.
    if not addresses or not (named(network) or settings.listener):
        return None
    asked = container.networks.get(network.id, EndpointSettings())
    return Named(
        id=endpoint.id,
        sandbox=endpoint.sandbox_id,
        network=network.id,
        network_name=network.name,
        names=dns_names(container, network),
        host_name=container.name,
        addresses=addresses,
        links=link_names(asked) if named(network) else {},
        rank=(-asked.gw_priority, network.internal, network.name),
    )


def _named_elsewhere(snapshot: Snapshot, remote: Remote, settings: NameSettings) -> Named | None:
    """What a container on another host is called: as long as somebody here is on its network, who could ask."""
    network = snapshot.networks.get(remote.network_id)
    addresses = tuple(filter(None, (remote.address, remote.address6)))
    if network is None or not addresses or not (network.id in snapshot.endpoints_on or settings.listener):
        return None
    return Named(
        id=remote.id,
        sandbox="",
        network=network.id,
        network_name=network.name,
        names=remote.names,
        host_name=remote.name,
        addresses=addresses,
        rank=(0, network.internal, network.name),
    )


def _elsewhere(before: Snapshot, after: Snapshot, endpoint_id: str) -> set[NameKey]:
    """With the first endpoint here on a network, those of other hosts get names here, and lose them with the last."""
    endpoint = before.endpoints.get(endpoint_id) or after.endpoints.get(endpoint_id)
    network_id = endpoint.network_id if endpoint else ""
    if (network_id in before.endpoints_on) == (network_id in after.endpoints_on):
        return set()
    return {("endpoint", id_) for id_ in after.elsewhere.on.get(network_id, {})}


def _endpoints(snapshot: Snapshot, sandbox: Sandbox) -> list[Endpoint]:
    return [snapshot.endpoints[id_] for id_ in snapshot.endpoints_of.get(sandbox.container_id, ())]
