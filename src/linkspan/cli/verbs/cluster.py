"""`cluster status`, `host ls` and `host rm`: the hosts that share networks, and the store that they share."""

from __future__ import annotations

from typing import Any

from linkspan.cli import table, words
from linkspan.cli.client import Client, quote
from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.flags import Invocation, Verb, switch
from linkspan.cli.verbs.each import each


def status(call: Invocation) -> int:
    found: dict[str, Any] = call.client.get("/cluster")
    if (text := formatted(call.line, found)) is not None:
        print(text, end="")
        return 0
    watch, host = found["Watch"], found["Host"]
    state = "usable" if found["Usable"] else f"not usable: {found['Trouble']}"
    followed = f"over {watch['Member']}, at revision {watch['Revision']}" if watch["Member"] else "not yet"
    revisions = "1 revision" if watch["Lag"] == 1 else f"{watch['Lag']} revisions"
    heard = f"heard of {watch['SilentSeconds']} s ago" if watch["SilentSeconds"] >= 0 else "never heard of yet"
    behind = f"at most {revisions} behind, {words.size(watch['BytesRead'])} read, {heard}"
    rows = [
        ["Store:", f"{found['Store']} ({state})"],
        ["This host:", f"{host['Name']}, reached at {host['Address']}"],
        ["Followed:", f"{followed} ({behind})"],
    ]
    print(table.align(rows))
    members = [["MEMBER", "STATE", "VERSION", "REVISION", "SIZE"]]
    for member in found["Members"]:
        state = member["Failure"] or ("leader" if member["Leader"] else "well")
        state = ", ".join([state, *member["Alarms"]])
        size = words.size(member["Bytes"]) if not member["Failure"] else ""
        members.append([member["Address"], state, member["Version"], str(member["Revision"] or ""), size])
    print(table.align(members))
    tunnels = [["TUNNELS OF", "VNI", "TO HOST", "AT", "CONTAINERS"]]
    tunnels += [
        [str(one[key]) for key in ("Network", "VNI", "Host", "Address", "Containers")] for one in found["Tunnels"]
    ]
    print(table.align(tunnels))
    blocks = [["NETWORK", "BLOCK", "HOST"]]
    blocks += [[block["Network"], block["Subnet"], block["Host"]] for block in found["Blocks"]]
    print(table.align(blocks), end="")
    return 0


def list_hosts(call: Invocation) -> int:
    found: list[dict[str, Any]] = call.client.get("/hosts")
    if (text := formatted(call.line, found)) is not None:
        print(text, end="")
        return 0
    if call.line.on("quiet"):
        print("".join(f"{host['ID']}\n" for host in found), end="")
        return 0
    rows = [["ID", "NAME", "ADDRESS", "STATUS", "SINCE", "CONTAINERS", "VERSION"]]
    for host in found:
        since = words.since(words.moment_of(host["Since"])) if host["Since"] else ""
        name = host["Name"] + (" *" if host["Self"] else "")
        containers = str(host["Containers"])
        rows.append([host["ID"][:12], name, host["Address"], host["Status"], since, containers, host["Version"]])
    print(table.align(rows), end="")
    return 0


def remove_hosts(call: Invocation) -> int:
    query = {"force": "1"} if call.line.on("force") else None

    def remove(client: Client, ref: str) -> None:
        client.call("DELETE", f"/hosts/{quote(ref)}", query)

    return each(call, remove)


STATUS = Verb(
    "[OPTIONS]",
    "Show the store that the cluster's hosts share, how this host follows it, and whose blocks of addresses are.",
    status,
    FORMAT_FLAGS,
    most=0,
)
LIST = Verb(
    "[OPTIONS]",
    "List the hosts of the cluster.",
    list_hosts,
    (*FORMAT_FLAGS, switch("quiet", "q", "Only print ids")),
    most=0,
)
REMOVE = Verb(
    "[OPTIONS] HOST [HOST...]",
    "Take hosts out of the cluster, which have gone for good: what they had published goes with them.",
    remove_hosts,
    (switch("force", "f", "Also one that answers"),),
    least=1,
)
