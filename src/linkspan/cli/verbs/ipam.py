"""`ipam`: the pools that networks are cut from, the networks, and what of them is used, by whom."""

from __future__ import annotations

from typing import Any

from linkspan.cli import table
from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Invocation, Verb


def run(call: Invocation) -> int:
    found: dict[str, Any] = call.client.get("/ipam")
    networks = found["Networks"]
    if call.arguments:
        name = call.arguments[0]
        networks = [n for n in networks if n["Name"] == name] or [n for n in networks if n["Id"].startswith(name)]
        if not networks:
            raise Failure(f"Error: network {name} not found, or it has no subnet")
    if (text := formatted(call.line, networks[0] if call.arguments else found)) is not None:
        print(text, end="")
    elif call.arguments:
        print(_addresses(networks[0]), end="")
    else:
        print(_pools(found["Pools"]) + "\n" + _networks(networks), end="")
    return 0


def _pools(pools: list[dict[str, Any]]) -> str:
    rows = [["POOL", "SUBNETS OF", "TOTAL", "FREE", "USED BY"]]
    for pool in pools:
        who = [f"{one['Subnet']} {one['By']}" for one in pool["UsedBy"]]
        first, *more = who or ["-"]
        rows.append([pool["Base"], f"/{pool['Size']}", str(pool["Subnets"]), str(pool["Free"]), first])
        rows += [["", "", "", "", one] for one in more]
    return table.align(rows)


def _networks(networks: list[dict[str, Any]]) -> str:
    rows = [["NETWORK", "SUBNET", "IN USE", "RESERVED", "RESTING", "FREE"]]
    rows += [
        [network["Name"], subnet["Subnet"], *(str(subnet[key]) for key in ("InUse", "Reserved", "Resting", "Free"))]
        for network in networks
        for subnet in network["Subnets"]
    ]
    return table.align(rows)


def _addresses(network: dict[str, Any]) -> str:
    rows = [["ADDRESS", "STATE", "NAME"]]
    for subnet in network["Subnets"]:
        rows += [[one["Address"], one["State"], one["Name"]] for one in subnet["Addresses"]]
        rows += [[text, "resting", ""] for text in subnet["RestingAddresses"]]
        free = f"{subnet['Free']} of {subnet['IPRange'] or subnet['Subnet']}"
        rows.append([free, "free", ""])
    return "".join(f"{line.rstrip()}\n" for line in table.align(rows).splitlines())


VERB = Verb(
    "[OPTIONS] [NETWORK]",
    "Show the pools that networks are cut from, and what of their addresses is used, by whom (only in linkspan).",
    run,
    FORMAT_FLAGS,
    most=1,
)
