"""Networks as Docker prints them (API 1.51 and below)."""

from __future__ import annotations

from typing import Any

from linkspan.daemon.views import NetworkView
from linkspan.model.network import Pool


def network(view: NetworkView, *, containers: bool) -> dict[str, Any]:
    """`containers` False is the form of the list: there `Containers` is empty."""
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
            "Options": record.ipam_options or None,
            "Config": [_pool(pool) for pool in record.pools],
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": record.config_from},
        "ConfigOnly": record.config_only,
        "Containers": _containers(view) if containers else {},
        "Options": record.options,
        "Labels": record.labels,
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
