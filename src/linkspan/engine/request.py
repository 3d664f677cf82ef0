"""What `docker network create` asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linkspan.model.network import Pool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """`id` and `created` come from the daemon, which has randomness and a clock."""

    id: str = ""
    created: str = ""
    name: str
    driver: str = "bridge"
    scope: str = ""
    pools: tuple[Pool, ...] = ()
    ipam_driver: str = "default"
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ipam_options: Mapping[str, str] | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    ipv4: bool = True
    ipv6: bool = False
    stated: frozenset[int] = frozenset()  # the address families that the request itself speaks of: 4, 6


def with_defaults(request: NetworkRequest, defaults: Mapping[str, str]) -> NetworkRequest:
    """The request with the daemon's options for networks of its driver (--default-network-opt) where it has none.

    What the request says of IPv4 and IPv6 itself goes before any option. A configuration is taken as it is.
    """
    options = dict(request.options) if request.config_from else {**defaults, **request.options}
    for family in request.stated:
        options.pop(f"com.docker.network.enable_ipv{family}", None)
    return dataclasses.replace(request, options=options)
