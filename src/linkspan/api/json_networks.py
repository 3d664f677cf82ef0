"""Networks as Docker prints them."""

from __future__ import annotations

from typing import Any

from linkspan.api.versions import LEAN, Version
from linkspan.daemon.views import NetworkView
from linkspan.ipam.usage import usage
from linkspan.model.cluster import GLOBAL, Remote
from linkspan.model.endpoint import Endpoint
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
    if view.network.scope == GLOBAL:
        result["Peers"] = _peers(view)
    return result | {"Status": {"IPAM": {"Subnets": _subnets(view)}}} if version >= LEAN else result


def _subnets(view: NetworkView) -> dict[str, Any]:
    places: list[Endpoint | Remote] = [endpoint for _, endpoint in view.endpoints]
    places += [remote for _, remote in view.remotes]
    held = [address for place in places for address in (place.address, place.address6)]
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
    """Those on other hosts too, who say where they are."""
    here = {container.id: _place(container.name, endpoint) for container, endpoint in view.endpoints}
    there = {
        remote.container_id: {**_place(remote.name, remote), "Host": host.name if host else remote.host_id}
        for host, remote in view.remotes
    }
    return there | here


def _place(name: str, place: Endpoint | Remote) -> dict[str, str]:
    return {
        "Name": name,
        "EndpointID": place.id,
        "MacAddress": place.mac,
        "IPv4Address": f"{place.address}/{place.prefix_length}" if place.address else "",
        "IPv6Address": f"{place.address6}/{place.prefix_length6}" if place.address6 else "",
    }


def _peers(view: NetworkView) -> list[dict[str, str]]:
    """The hosts with somebody on the network, as Docker shows those of an overlay network."""
    hosts = {host.id: host for host, _ in view.remotes if host}
    if view.own and view.endpoints:
        hosts[view.own.id] = view.own
    return [{"Name": host.name, "IP": host.address or host.address6} for host in hosts.values()]
