"""Networks as Docker prints them."""

from __future__ import annotations

from typing import Any

from linkspan.api.versions import LEAN, Version
from linkspan.daemon.views import NetworkView
from linkspan.ipam.usage import usage
from linkspan.model.network import Pool


def listed(view: NetworkView) -> dict[str, Any]:
    """The form of the list: there `Containers` is empty."""
    record = view.network
    return {
        "Name": record.name,
        "Id": record.id,
        "Created": record.created,
        "Scope": record.scope,
        "Driver": record.driver,
        "EnableIPv4": record.ipv4,
        "EnableIPv6": record.ipv6,
        "IPAM": {
            "Driver": record.ipam_driver,
            "Options": record.ipam_options,
            "Config": [_pool(pool) for pool in (*record.pools, *record.configured)],
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": record.config_from},
        "ConfigOnly": record.config_only,
        "Containers": {},
        "Options": record.options,
        "Labels": record.labels,
        **({"Dns": record.dns} if record.dns else {}),  # ours: Docker's networks have none
    }


def inspect(view: NetworkView, version: Version) -> dict[str, Any]:
    result = listed(view) | {"Containers": _containers(view)}
    return result | {"Status": {"IPAM": {"Subnets": _subnets(view)}}} if version >= LEAN else result


def _subnets(view: NetworkView) -> dict[str, Any]:
    held = [address for _, endpoint in view.endpoints for address in (endpoint.address, endpoint.address6)]
    counted = {pool.subnet: usage(pool, held) for pool in view.network.pools}
    return {
        subnet: {"IPsInUse": found.used, "DynamicIPsAvailable": found.available} for subnet, found in counted.items()
    }


def _pool(pool: Pool) -> dict[str, Any]:
    result: dict[str, Any] = {"Subnet": pool.subnet}
    if pool.ip_range:
        result["IPRange"] = pool.ip_range
    if pool.gateway:
        result["Gateway"] = pool.gateway
    if pool.auxiliary:
        result["AuxiliaryAddresses"] = pool.auxiliary
    return result


def _containers(view: NetworkView) -> dict[str, Any]:
    return {
        container.id: {
            "Name": container.name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac,
            "IPv4Address": f"{endpoint.address}/{endpoint.prefix_length}" if endpoint.address else "",
            "IPv6Address": f"{endpoint.address6}/{endpoint.prefix_length6}" if endpoint.address6 else "",
        }
        for container, endpoint in view.endpoints
    }
