"""`volume create`, `ls`, `rm` and `prune`."""

from __future__ import annotations

from typing import Any

from linkspan.cli import quantities, table, words
from linkspan.cli.client import Client
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.verbs.each import each
from linkspan.cli.verbs.prune import PRUNE_FLAGS, confirmed

HEADERS = {
    "Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS",
    "Links": "LINKS", "Size": "SIZE", "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
}  # fmt: skip


def create(call: Invocation) -> int:
    line = call.line
    name = call.arguments[0] if call.arguments else line.text("name")
    if call.arguments and line.text("name"):
        raise Failure("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
    body = {
        "Name": name,
        "Driver": line.text("driver"),
        "DriverOpts": quantities.pairs(line.list("opt")),
        "Labels": quantities.pairs(line.list("label")),
    }
    print(call.client.post("/volumes/create", None, body)["Name"])
    return 0


def list_volumes(call: Invocation) -> int:
    line = call.line
    answer = call.client.get("/volumes", {"filters": quantities.filters(line.list("filter"))})
    rows = sorted((_row(volume) for volume in answer.get("Volumes") or []), key=lambda row: row["Name"])
    if line.on("quiet") and not line.text("format"):
        print("".join(f"{row['Name']}\n" for row in rows), end="")
        return 0
    format = line.text("format") or table.configured_format("volumesFormat")
    print(table.write(rows, format, "{{.Driver}}\t{{.Name}}", HEADERS), end="")
    return 0


def _row(volume: dict[str, Any]) -> dict[str, Any]:
    labels: dict[str, str] = volume.get("Labels") or {}
    usage = volume.get("UsageData")
    return {
        "Name": volume["Name"],
        "Driver": volume.get("Driver", ""),
        "Scope": volume.get("Scope", ""),
        "Mountpoint": volume.get("Mountpoint", ""),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Links": str(usage["RefCount"]) if usage else "N/A",
        "Size": words.size(usage["Size"]) if usage else "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    }


def remove(call: Invocation) -> int:
    query = {"force": call.line.on("force")}

    def act(client: Client, name: str) -> None:
        client.call("DELETE", f"/volumes/{name}", query)

    return each(call, act, in_order=True)


def prune(call: Invocation) -> int:
    every = call.line.on("all")
    kind = "all local volumes" if every else "anonymous local volumes"
    if not confirmed(call, f"This will remove {kind} not used by at least one container."):
        return 0
    filters = [*call.line.list("filter"), *(["all=true"] if every else [])]
    answer = call.client.post("/volumes/prune", {"filters": quantities.filters(filters)}) or {}
    deleted = answer.get("VolumesDeleted") or []
    if deleted:
        print("Deleted Volumes:\n" + "".join(f"{name}\n" for name in deleted))
    print(f"Total reclaimed space: {words.size(answer.get('SpaceReclaimed') or 0)}")
    return 0


CREATE = Verb(
    "[OPTIONS] [VOLUME]",
    "Create a volume, and print its name.",
    create,
    (
        Flag("driver", "d", "string", "Driver of the volume", "local"),
        Flag("label", "", "list", "Set a label (name=value)", check=quantities.label),
        Flag("name", "", "string", "Name of the volume"),
        Flag("opt", "o", "map", "Option of the driver (name=value)"),
    ),
    most=1,
)
LIST = Verb(
    "[OPTIONS]",
    "List volumes.",
    list_volumes,
    (
        Flag("filter", "f", "filter", "Show those that match (dangling=true, name=x)", check=quantities.filter_entry),
        Flag("format", "", "string", "table, json, or a Go template ({{.Name}})"),
        switch("quiet", "q", "Show the names only"),
    ),
    most=0,
)
REMOVE = Verb(
    "[OPTIONS] VOLUME [VOLUME...]", "Remove volumes.", remove, (switch("force", "f", "No error where there is none"),),
    least=1,
)  # fmt: skip
PRUNE = Verb(
    "[OPTIONS]",
    "Remove unused volumes: anonymous ones, or with -a all.",
    prune,
    (switch("all", "a", "Also those that have a name"), *PRUNE_FLAGS),
    most=0,
)
