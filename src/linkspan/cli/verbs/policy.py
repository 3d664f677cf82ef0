"""`policy apply`, `get` and `delete`: who may talk to whom, in resources as Calico has them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from linkspan.cli import table
from linkspan.cli.failure import EngineError, UsageError
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.verbs.load import open_input

_FORMATS = ("table", "yaml", "json")
Manifest = Mapping[str, Any]
_Column = Callable[[Manifest], str]


def apply(call: Invocation) -> int:
    return _of_files(call, "/policy/apply")


def delete(call: Invocation) -> int:
    if call.line.given("filename"):
        if call.arguments:
            raise UsageError("either KIND NAME, or files with -f")
        return _of_files(call, "/policy/delete")
    if len(call.arguments) < 2:
        raise UsageError("KIND NAME is needed, or files with -f")
    kind, *names = call.arguments
    for name in names:
        path, query = _place(call, [kind, name])
        _tell(call.client.call("DELETE", path, {**query, **_forced(call)}))
    return 0


def get(call: Invocation) -> int:
    form = call.line.text("output")
    if form not in _FORMATS:
        raise UsageError(f"--output {form}: one of {', '.join(_FORMATS)}")
    path, query = _place(call, call.arguments)
    if form == "yaml":
        print(call.client.request("GET", path, {**query, "format": "yaml"}).read().decode(), end="")
        return 0
    found: dict[str, Any] = call.client.get(path, query)
    if form == "json":
        print(json.dumps(found, indent=4, ensure_ascii=False))
        return 0
    items: list[Manifest] = found["items"] if found["kind"] == "List" else [found]
    print("\n".join(_table(kind, list(some)) for kind, some in groupby(items, lambda one: str(one["kind"]))), end="")
    return 0


def _place(call: Invocation, arguments: Sequence[str]) -> tuple[str, dict[str, str]]:
    """`KIND NAME`; a NetworkPolicy's name may have its network in front."""
    words = list(arguments)
    network = call.line.text("network")
    if len(words) == 2 and "/" in words[1]:
        network, _, words[1] = words[1].partition("/")
    path = "/".join(["/policy/resources", *words])
    return path, {"network": network} if network else {}


def _of_files(call: Invocation, path: str) -> int:
    names = call.line.list("filename")
    if not names:
        raise UsageError("a file is needed: -f FILE, or -f - for the standard input")
    for name in names:
        with open_input("" if name == "-" else name) as file:
            data = file.read()
        try:
            answer = call.client.request("POST", path, _forced(call), content=[data]).json()
        except EngineError as error:
            if len(names) == 1:
                raise
            raise EngineError(error.http_status, f"{name}: {error.reason}") from error
        _tell(answer)
    return 0


def _forced(call: Invocation) -> dict[str, str]:
    return {"force": "1"} if call.line.on("force") else {}


def _tell(answer: Mapping[str, Any]) -> None:
    for one in answer["Resources"]:
        name = f"{one['Network']}/{one['Name']}" if one["Network"] else one["Name"]
        print(f"{one['Kind']} {name}: {one['Result']}")
    for warning in answer["Warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)


# -- tables -----------------------------------------------------------------------------------------------------------


def _table(kind: str, items: Sequence[Manifest]) -> str:
    columns: dict[str, _Column] = {"NAME": lambda one: str(one["metadata"]["name"]), **_COLUMNS.get(kind, {})}
    rows = [[column(one) or "-" for column in columns.values()] for one in items]
    return table.align([[kind.upper(), *list(columns)[1:]], *rows])


def _spec(field: str) -> _Column:
    def text(one: Manifest) -> str:
        value = one["spec"].get(field) if "spec" in one else None
        return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)

    return text


def _labels(one: Manifest) -> str:
    return ",".join(f"{key}={value}" for key, value in one["metadata"].get("labels", {}).items())


def _encapsulation(one: Manifest) -> str:
    modes = {"VXLAN": one["spec"].get("vxlanMode"), "IPIP": one["spec"].get("ipipMode")}
    return next((f"{name} {mode}" for name, mode in modes.items() if mode), "Never")


_POLICY: Mapping[str, _Column] = {
    "TIER": lambda one: str(one.get("spec", {}).get("tier", "default")),
    "ORDER": _spec("order"),
    "TYPES": _spec("types"),
    "SELECTOR": _spec("selector"),
}
_COLUMNS: Mapping[str, Mapping[str, _Column]] = {
    "GlobalNetworkPolicy": _POLICY,
    "NetworkPolicy": {"NETWORK": lambda one: str(one["metadata"]["namespace"]), **_POLICY},
    "Tier": {
        "ORDER": _spec("order"),
        "DEFAULT ACTION": lambda one: str(one.get("spec", {}).get("defaultAction", "Deny")),
    },
    "GlobalNetworkSet": {"LABELS": _labels, "NETS": _spec("nets")},
    "HostEndpoint": {"HOST": _spec("node"), "INTERFACE": _spec("interfaceName"), "ADDRESSES": _spec("expectedIPs")},
    "IPPool": {"CIDR": _spec("cidr"), "ENCAPSULATION": _encapsulation, "NAT": _spec("natOutgoing")},
    "IPReservation": {"CIDRS": _spec("reservedCIDRs")},
    "BGPConfiguration": {"AS": _spec("asNumber"), "MESH": _spec("nodeToNodeMeshEnabled")},
    "BGPPeer": {
        "OF HOSTS": lambda one: _spec("node")(one) or _spec("nodeSelector")(one),
        "PEER": lambda one: _spec("peerIP")(one) or _spec("peerSelector")(one),
        "AS": _spec("asNumber"),
        "FILTERS": _spec("filters"),
    },
}

_FILES = Flag("filename", "f", "list", "A file of resources, - for the standard input; may be given again")
_FORCE = switch("force", "", "Also what cuts hosts off: their tunnels, or their API")
_NETWORK = Flag("network", "n", "string", "The network that a NetworkPolicy is of")
_KINDS = (
    "KIND is GlobalNetworkPolicy (gnp), NetworkPolicy (np), Tier, GlobalNetworkSet (gns), HostEndpoint (hep),\n"
    "IPPool (ipp), IPReservation (ipr), BGPConfiguration, BGPPeer or BGPFilter; NAME of a NetworkPolicy is\n"
    "NETWORK/NAME."
)
_EXAMPLE = """\
For example, so that of the containers on network shop only those with label app=web reach the database:
  apiVersion: projectcalico.org/v3
  kind: NetworkPolicy
  metadata: {name: db, namespace: shop}
  spec:
    selector: app == "db"
    ingress:
    - action: Allow
      protocol: TCP
      source: {selector: app == "web"}
      destination: {ports: [3306]}"""
APPLY = Verb(
    "[OPTIONS] -f FILE",
    "Make policies and other resources as a file says, all of it or nothing (only in linkspan).",
    apply,
    (_FILES, _FORCE),
    most=0,
    detail=_EXAMPLE,
)
GET = Verb(
    "[OPTIONS] [KIND [NAME]]",
    "Show policies and other resources (only in linkspan).",
    get,
    (_NETWORK, Flag("output", "o", "string", "table, yaml or json (--format is the same)", default="table")),
    most=2,
    aliases={"format": "output"},
    detail=_KINDS,
)
DELETE = Verb(
    "[OPTIONS] KIND NAME [NAME...] | -f FILE",
    "Delete policies and other resources (only in linkspan).",
    delete,
    (_FILES, _NETWORK, _FORCE),
    detail=_KINDS,
)
