"""`bgp status`: whose peer this host is, and what they tell each other."""

from __future__ import annotations

from typing import Any

from linkspan.cli import table, words
from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.flags import Invocation, Verb


def status(call: Invocation) -> int:
    found: dict[str, Any] = call.client.get("/bgp")
    if (text := formatted(call.line, found)) is not None:
        print(text, end="")
        return 0
    if not found["Wanted"]:
        print("No network needs BGP now.")
        print("".join(f"Problem: {problem}\n" for problem in found["Problems"]), end="")
        return 0
    rows = [["This host:", f"AS {found['AS']}, router id {found['RouterID']}"]]
    if found["ClusterID"]:
        rows.append(["Reflector:", f"of cluster {found['ClusterID']}"])
    if found["Mode"] == "external":
        rows.append(["Routed by:", f"whatever you run with the files in {found['Folder']}"])
    else:
        restarts = f", started again {found['Restarts']} times" if found["Restarts"] else ""
        rows.append(["Routed by:", f"BIRD{restarts}"])
    if found["Trouble"]:
        rows.append(["Trouble:", found["Trouble"]])
    rows += [["Problem:", problem] for problem in found["Problems"]]
    rows += [["Not taken:", f"{one['Prefix']}, which is ours, by {one['By']}"] for one in found["Refused"]]
    print(table.align(rows))
    sessions = [["PEER", "ADDRESS", "AS", "STATE", "SINCE", "TAKEN", "REFUSED", "TOLD"]]
    for one in found["Sessions"]:
        state = one["State"] + (f" ({one['Trouble']})" if one["Trouble"] and one["State"] != "Established" else "")
        if one["Gone"]:
            state += f", lost {one['Gone']} times in five minutes"
        numbers = [str(one[key]) for key in ("Imported", "Filtered", "Exported")]
        since = words.since(words.moment_of(one["Since"])) if one["Since"] else ""
        sessions.append([one["Peer"], one["Address"], str(one["AS"]), state, since, *numbers])
    print(table.align(sessions))
    print(table.align([["ANNOUNCED"], *([prefix] for prefix in found["Announced"])]), end="")
    return 0


STATUS = Verb(
    "[OPTIONS]",
    "Show this host's BGP: its peers, what they have told, and what it announces.",
    status,
    FORMAT_FLAGS,
    most=0,
)
