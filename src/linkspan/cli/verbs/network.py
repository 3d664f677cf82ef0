"""`network connect`, `disconnect`, `ls`, `rm` and `prune`."""

from __future__ import annotations

import sys
from typing import Any

from linkspan.cli import quantities, table, words
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Flag, Invocation, Verb, integer, switch
from linkspan.cli.verbs.prune import PRUNE_FLAGS, confirmed

HEADERS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
    "Internal": "INTERNAL", "CreatedAt": "CREATED AT", "Labels": "LABELS",
}  # fmt: skip


def connect(call: Invocation) -> int:
    line = call.line
    network, container = call.arguments
    endpoint: dict[str, Any] = {}
    if line.text("ip") or line.text("ip6") or line.list("link-local-ip"):
        ipam = {"IPv4Address": line.text("ip"), "IPv6Address": line.text("ip6")}
        endpoint["IPAMConfig"] = {key: value for key, value in ipam.items() if value}
        if line.list("link-local-ip"):
            endpoint["IPAMConfig"]["LinkLocalIPs"] = line.list("link-local-ip")
    for key, flag in (("Links", "link"), ("Aliases", "alias")):
        if line.list(flag):
            endpoint[key] = line.list(flag)
    options = {}
    for option in line.list("driver-opt"):
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise Failure("invalid key/value pair format in driver options")
        options[name.strip()] = value.strip()
    if options:
        endpoint["DriverOpts"] = options
    if line.number("gw-priority"):
        endpoint["GwPriority"] = line.number("gw-priority")
    call.client.post(f"/networks/{network}/connect", None, {"Container": container, "EndpointConfig": endpoint})
    return 0


def disconnect(call: Invocation) -> int:
    network, container = call.arguments
    body = {"Container": container, "Force": call.line.on("force")}
    call.client.post(f"/networks/{network}/disconnect", None, body)
    return 0


def list_networks(call: Invocation) -> int:
    line = call.line
    networks = call.client.get("/networks", {"filters": quantities.filters(line.list("filter"))})
    networks.sort(key=lambda network: _natural(network["Name"]))
    rows = [_row(network, full=line.on("no-trunc")) for network in networks]
    if line.on("quiet") and not line.text("format"):
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return 0
    format = line.text("format") or table.configured_format("networksFormat")
    print(table.write(rows, format, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", HEADERS), end="")
    return 0


def _natural(name: str) -> list[tuple[int, str]]:
    """net2 comes before net10."""
    import re

    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def _row(network: dict[str, Any], *, full: bool) -> dict[str, Any]:
    labels: dict[str, str] = network.get("Labels") or {}
    return {
        "ID": network["Id"] if full else words.short_id(network["Id"]),
        "Name": network["Name"],
        "Driver": network.get("Driver", ""),
        "Scope": network.get("Scope", ""),
        "IPv4": str(network.get("EnableIPv4", True)).lower(),
        "IPv6": str(network.get("EnableIPv6", False)).lower(),
        "Internal": str(network.get("Internal", False)).lower(),
        "CreatedAt": _created(network.get("Created", "")),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
    }


def _created(text: str) -> str:
    """`2025-01-31T12:00:00.5Z` as Go prints a time."""
    import re

    match = re.fullmatch(r"(\S+)T(\S+?)(Z|[+-]\d\d:\d\d)", text)
    if match is None:
        return text
    zone = "+0000 UTC" if match[3] == "Z" else f"{match[3].replace(':', '')} {match[3].replace(':', '')}"
    return f"{match[1]} {match[2]} {zone}"


def remove(call: Invocation) -> int:
    status = 0
    for name in call.arguments:
        try:
            call.client.call("DELETE", f"/networks/{name}")
            print(name)
        except EngineError as error:
            if call.line.on("force") and error.http_status == 404:
                continue
            sys.stdout.flush()
            print(error, file=sys.stderr)
            status = 1
    if status:
        raise Failure(f"exit status {status}", status)
    return status


def prune(call: Invocation) -> int:
    if not confirmed(call, "This will remove all custom networks not used by at least one container."):
        return 0
    answer = call.client.post("/networks/prune", {"filters": quantities.filters(call.line.list("filter"))}) or {}
    names = answer.get("NetworksDeleted") or []
    if names:
        print("Deleted Networks:\n" + "".join(f"{name}\n" for name in names))
    return 0


CONNECT = Verb(
    "[OPTIONS] NETWORK CONTAINER",
    "Connect a container to a network, also while it runs.",
    connect,
    (
        Flag("alias", "", "list", "Further name of the container in this network"),
        Flag("driver-opt", "", "list", "Option of the network's driver (name=value)"),
        Flag("gw-priority", "", "int", "The network with the highest gives the default route", "0", integer),
        Flag("ip", "", "address", "IPv4 address (172.30.100.104)"),
        Flag("ip6", "", "address", "IPv6 address (2001:db8::33)"),
        Flag("link", "", "list", "Link to another container (name[:alias])"),
        Flag("link-local-ip", "", "list", "Link-local address"),
    ),
    least=2,
    most=2,
)
DISCONNECT = Verb(
    "[OPTIONS] NETWORK CONTAINER",
    "Disconnect a container from a network.",
    disconnect,
    (switch("force", "f", "Disconnect it whatever state it is in"),),
    least=2,
    most=2,
)
LIST = Verb(
    "[OPTIONS]",
    "List networks.",
    list_networks,
    (
        Flag("filter", "f", "filter", "Show those that match (driver=bridge …)", check=quantities.filter_entry),
        Flag("format", "", "string", "table, json, or a Go template ({{.Name}})"),
        switch("no-trunc", "", "Do not shorten anything"),
        switch("quiet", "q", "Show the ids only"),
    ),
    most=0,
)
REMOVE = Verb(
    "NETWORK [NETWORK...]", "Remove networks.", remove, (switch("force", "f", "No error if missing"),),
    least=1,
)  # fmt: skip
PRUNE = Verb("[OPTIONS]", "Remove every network that no container uses.", prune, PRUNE_FLAGS, most=0)
