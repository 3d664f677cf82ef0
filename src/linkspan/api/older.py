"""What is asked for as older versions of the API have it: what it means, and the warnings that Docker answers to it."""

from __future__ import annotations

import msgspec

from linkspan.api.versions import MAC_OF_ENDPOINT, NO_EMPTY_BINDINGS, Version, text
from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, HostConfig, PortBinding


def with_bindings(host: HostConfig) -> HostConfig:
    """An empty list of bindings publishes the port all the same, at a port of ours."""
    if not host.port_bindings or all(host.port_bindings.values()):
        return host
    filled = {port: bindings or (PortBinding(),) for port, bindings in host.port_bindings.items()}
    return msgspec.structs.replace(host, port_bindings=filled)


def warnings(config: Config, host: HostConfig, version: Version) -> list[str]:
    """About what a client asks for, before anything is filled in. Raises InvalidArgument where it means nothing."""
    said: list[str] = []
    if config.mac_address and version >= MAC_OF_ENDPOINT:
        said.append(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
        )
    elif config.mac_address and host.network_mode in ("host", "none"):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    empty = [port for port, bindings in (host.port_bindings or {}).items() if not bindings]
    if empty and version[1] + 1 == NO_EMPTY_BINDINGS[1]:
        said.append(
            f"Following container port(s) have an empty list of port-bindings: {', '.join(empty)}. Starting with API "
            f"{text(NO_EMPTY_BINDINGS)}, such bindings will be discarded."
        )
    return said
