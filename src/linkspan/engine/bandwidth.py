"""How much of a network a container may use: asked for when it joins, and changed while it runs."""

from __future__ import annotations

import msgspec

from linkspan.engine.change import Change
from linkspan.errors import Forbidden, NotFound
from linkspan.model.bandwidth import BURST, RATE, Bandwidth, parse_bandwidth
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, Write, put


def asked_bandwidth(settings: EndpointSettings) -> Bandwidth | None:
    """Of an attachment's options. Raises InvalidArgument."""
    options = settings.driver_opts or {}
    return parse_bandwidth(options.get(RATE, ""), options.get(BURST, ""))


def set_bandwidth(snapshot: Snapshot, container: Container, network: Network, rate: str, burst: str) -> Change:
    """Another limit, at once where the container runs, and at its later starts; no `rate` is no limit.

    Raises InvalidArgument, NotFound (it is not on that network), Forbidden (a network of the host's own).
    """
    wanted = parse_bandwidth(rate, burst)
    settings = container.networks.get(network.id)
    if settings is None:
        raise NotFound(f"container {container.name} is not connected to network {network.name}")
    if network.driver in ("host", "null"):
        raise Forbidden(f"network {network.name} has no interface of the container's own to limit")
    options = {name: value for name, value in (settings.driver_opts or {}).items() if name not in (RATE, BURST)}
    if wanted:
        options |= {RATE: rate} | ({BURST: burst} if burst else {})
    asked = msgspec.structs.replace(settings, driver_opts=options or None)
    networks = {**container.networks, network.id: asked}
    writes: list[Write] = [put(msgspec.structs.replace(container, networks=networks))]
    writes += (
        put(msgspec.structs.replace(endpoint, bandwidth=wanted, driver_options=options))
        for endpoint in snapshot.endpoints_in(container)
        if endpoint.network_id == network.id
    )
    return Change(tuple(writes))
