"""The use of the address space: `GET /ipam`, which Docker does not have."""

from __future__ import annotations

from typing import Any

from linkspan.engine.usage import AddressUse, NetworkUse, SourceUse, SubnetUse


def address_use(use: AddressUse) -> dict[str, Any]:
    return {"Pools": list(map(_source, use.sources)), "Networks": list(map(_network, use.networks))}


def _source(use: SourceUse) -> dict[str, Any]:
    return {
        "Base": str(use.source.base),
        "Size": use.source.size,
        "Subnets": use.subnets,
        "Free": use.free,
        "UsedBy": [{"Subnet": one.subnet, "By": one.who} for one in use.uses],
    }


def _network(use: NetworkUse) -> dict[str, Any]:
    return {
        "Name": use.network.name,
        "Id": use.network.id,
        "Driver": use.network.driver,
        "Subnets": list(map(_subnet, use.subnets)),
    }


def _subnet(use: SubnetUse) -> dict[str, Any]:
    states = [holding.state for holding in use.holdings]
    return {
        "Subnet": use.pool.subnet,
        "IPRange": use.pool.ip_range,
        "InUse": states.count("in use"),
        "Reserved": states.count("reserved"),
        "Free": use.free,
        "Resting": use.resting_count,
        "Addresses": [{"Address": h.address, "State": h.state, "Name": h.whose} for h in use.holdings],
        "RestingAddresses": list(use.resting),
    }
