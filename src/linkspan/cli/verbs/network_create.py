"""`network create`."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

from linkspan.cli import quantities
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Parsed, Verb, switch


def run(call: Invocation) -> int:
    line = call.line
    body: dict[str, Any] = {
        "Name": call.arguments[0],
        "Driver": line.text("driver"),
        "Scope": line.text("scope"),
        "IPAM": {
            "Driver": line.text("ipam-driver"),
            "Config": pools(line),
            "Options": quantities.pairs(line.list("ipam-opt")),
        },
        "Internal": line.on("internal"),
        "Attachable": line.on("attachable"),
        "Ingress": line.on("ingress"),
        "ConfigOnly": line.on("config-only"),
        "Options": quantities.pairs(line.list("opt")),
        "Labels": quantities.pairs(line.list("label")),
    }
    for key, flag in (("EnableIPv4", "ipv4"), ("EnableIPv6", "ipv6")):
        if line.given(flag):
            body[key] = line.on(flag)
    if line.text("config-from"):
        body["ConfigFrom"] = {"Network": line.text("config-from")}
    answer = call.client.post("/networks/create", None, body)
    if answer.get("Warning"):
        print(f"WARNING: {answer['Warning']}", file=sys.stderr)
    print(answer["Id"])
    return 0


def pools(line: Parsed, subnet_flag: str = "subnet") -> list[dict[str, Any]]:
    """The subnets given, each with the --gateway, --ip-range and --aux-address that lie in it. Raises Failure."""
    subnets = line.list(subnet_flag)
    if len(subnets) < len(line.list("ip-range")) or len(subnets) < len(line.list("gateway")):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    result: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        for other in result:
            if _overlap(subnet, other):
                raise Failure("multiple overlapping subnet configuration is not supported")
        result[subnet] = {"Subnet": subnet}
    for flag, key, one, text in (
        ("ip-range", "IPRange", "ranges", "range"),
        ("gateway", "Gateway", "gateways", "gateway"),
    ):
        for value in line.list(flag):
            pool = _pool_of(result, value)
            if pool is None:
                raise Failure(f"no matching subnet for {text} {value}")
            if key in pool:
                raise Failure(
                    f"cannot configure multiple {one} ({value}, {pool[key]}) on the same subnet ({pool['Subnet']})"
                )
            pool[key] = value
    for name, value in quantities.pairs(line.list("aux-address")).items():
        pool = _pool_of(result, value)
        if pool is None:
            raise Failure(f"no matching subnet for aux-address {value}")
        pool.setdefault("AuxiliaryAddresses", {})[name] = value
    return list(result.values())


def _pool_of(pools: dict[str, dict[str, Any]], value: str) -> dict[str, Any] | None:
    for subnet, pool in pools.items():
        network, inside = _network(subnet), _network(value)
        if network.version == inside.version and inside.subnet_of(network):  # type: ignore[arg-type]
            return pool
    return None


def _overlap(one: str, two: str) -> bool:
    first, second = _network(one), _network(two)
    return first.version == second.version and first.overlaps(second)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Failure(f"invalid CIDR address: {text}") from None


VERB = Verb(
    "[OPTIONS] NETWORK",
    "Create a network, and print its id.",
    run,
    (
        switch("attachable", "", "Accepted for docker's sake"),
        Flag("aux-address", "", "map", "Address that no container gets (name=address)"),
        Flag("config-from", "", "string", "Take the configuration from this network"),
        switch("config-only", "", "Only a configuration, for other networks to take"),
        Flag(
            "driver",
            "d",
            "string",
            "bridge, macvlan, ipvlan, flat or ovs; among the hosts of a cluster also overlay, weave, calico or flannel",
            "bridge",
        ),
        Flag("gateway", "", "list", "Address of the gateway"),
        switch("ingress", "", "Accepted for docker's sake"),
        switch("internal", "", "No way out of it"),
        Flag("ip-range", "", "list", "Give out addresses of this part of the subnet only"),
        Flag("ipam-driver", "", "string", "Driver of the address pools", "default"),
        Flag("ipam-opt", "", "map", "Option of the pools' driver (name=value)"),
        switch("ipv4", "", "Give out IPv4 addresses", default=True),
        switch("ipv6", "", "Give out IPv6 addresses"),
        Flag("label", "", "list", "Set a label (name=value)", check=quantities.label),
        Flag("opt", "o", "map", "Option of the driver (name=value)"),
        Flag("scope", "", "string", "local, swarm or global"),
        Flag("subnet", "", "list", "Subnet, with its prefix length (172.30.0.0/16)"),
    ),
    least=1,
    most=1,
)
