"""`ps`: the containers."""

from __future__ import annotations

from typing import Any

from linkspan.cli import quantities, table, words
from linkspan.cli.flags import Flag, Invocation, Verb, integer, switch

COLUMNS = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
HEADERS = {
    "ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
    "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}  # fmt: skip


def run(call: Invocation) -> int:
    line = call.line
    last = line.number("last") if line.given("last") else 1 if line.on("latest") else -1
    format = line.text("format") or table.configured_format("psFormat")
    query = {
        "all": line.on("all"),
        "limit": last if last > 0 else None,
        "size": line.on("size") or "{{.Size}}" in format,
        "filters": quantities.filters(line.list("filter")),
    }
    containers = call.client.get("/containers/json", query)
    rows = [row(container, full=line.on("no-trunc")) for container in containers]
    if line.on("quiet") and not line.text("format"):
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return 0
    columns = COLUMNS + ("\t{{.Size}}" if line.on("size") else "")
    print(table.write(rows, format, columns, HEADERS), end="")
    return 0


def row(container: dict[str, Any], *, full: bool) -> dict[str, Any]:
    """One line of the table, by field name."""
    labels: dict[str, str] = container.get("Labels") or {}
    created = float(container.get("Created") or 0)
    mounts = [mount.get("Name") or mount.get("Source", "") for mount in container.get("Mounts") or []]
    volumes = [mount for mount in container.get("Mounts") or [] if mount.get("Driver") == "local"]
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    command = container.get("Command", "")
    return {
        "ID": container["Id"] if full else words.short_id(container["Id"]),
        "Names": ",".join(_names(container.get("Names") or [], full=full)),
        "Image": _image(container, full=full),
        "Command": '"' + (command if full else words.ellipsis(command, 20)) + '"',
        "CreatedAt": words.local_time(created),
        "RunningFor": words.since(created),
        "Ports": ports(container.get("Ports") or []),
        "State": container.get("State", ""),
        "Status": container.get("Status", ""),
        "Size": _size(container),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(mounts if full else [words.ellipsis(mount, 15) for mount in mounts]),
        "LocalVolumes": str(len(volumes)),
        "Networks": ",".join(sorted(networks)),
        "Platform": None,
    }


def _names(names: list[str], *, full: bool) -> list[str]:
    """Without the slash; without the names that links give (`/other/alias`), unless in full."""
    stripped = [name.removeprefix("/") for name in names]
    return stripped if full else [name for name in stripped if "/" not in name] or stripped


def _image(container: dict[str, Any], *, full: bool) -> str:
    image: str = container.get("Image", "")
    if not image:
        return "<no image>"
    identity = container.get("ImageID", "")
    if not full and image in (identity, identity.removeprefix("sha256:")):
        return words.short_id(image)
    if not full and "@" in image:
        return image.partition("@")[0]
    return image


def _size(container: dict[str, Any]) -> str:
    written = words.size(container.get("SizeRw") or 0, digits=3)
    whole = container.get("SizeRootFs") or 0
    return f"{written} (virtual {words.size(whole, digits=3)})" if whole else written


def ports(items: list[dict[str, Any]]) -> str:
    """`0.0.0.0:8000-8001->8000-8001/tcp, 33060/tcp`: neighbouring ports are joined to ranges."""
    groups: dict[str, tuple[int, int]] = {}
    result: list[str] = []
    host_mapped: list[str] = []
    for item in sorted(items, key=_port_order):
        private, public = item["PrivatePort"], item.get("PublicPort") or 0
        key = item.get("Type", "tcp")
        address = item.get("IP", "")
        if address:
            if public != private:
                shown = f"[{address}]" if ":" in address else address
                host_mapped.append(f"{shown}:{public}->{private}/{key}")
                continue
            key = f"{address}/{key}"
        if key not in groups:
            groups[key] = (private, private)
        elif groups[key][1] == private - 1:
            groups[key] = (groups[key][0], private)
        else:
            result.append(_group(key, *groups[key]))
            groups[key] = (private, private)
    result += [_group(key, *groups[key]) for key in sorted(groups, key=lambda key: (groups[key], key))]
    return ", ".join(result + host_mapped)


def _port_order(item: dict[str, Any]) -> tuple[Any, ...]:
    return item["PrivatePort"], item.get("IP", ""), item.get("PublicPort") or 0, item.get("Type", "tcp")


def _group(key: str, first: int, last: int) -> str:
    address, slash, protocol = key.rpartition("/")
    span = str(first) if first == last else f"{first}-{last}"
    if not slash:
        return f"{span}/{protocol}"
    shown = f"[{address}]" if ":" in address else address
    return f"{shown}:{span}->{span}/{protocol}"


VERB = Verb(
    "[OPTIONS]",
    "List containers: those that run, or with -a all of them.",
    run,
    (
        switch("all", "a", "Show all containers, not only those that run"),
        Flag("filter", "f", "filter", "Show those that match (status=exited, name=web, label=x, network=y …)",
             check=quantities.filter_entry),
        Flag("format", "", "string", "table, json, or a Go template ({{.Names}})"),
        Flag("last", "n", "int", "Show the n last created", "-1", integer),
        switch("latest", "l", "Show the last created"),
        switch("no-trunc", "", "Do not shorten anything"),
        switch("quiet", "q", "Show the ids only"),
        switch("size", "s", "Show the sizes of their files"),
    ),
    most=0,
)  # fmt: skip
