"""`mesh status`, `mesh token`, `mesh authority`, `mesh forget` and `mesh recover`: how the hosts of the mesh are
reached, who may join it, who signs for them, and who is in it no more."""

from __future__ import annotations

import sys
import time
from typing import Any

from linkspan.cli import table, words
from linkspan.cli.client import Client, quote
from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.failure import UsageError
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.quantities import duration
from linkspan.cli.verbs.each import each


def status(call: Invocation) -> int:
    found: dict[str, Any] = call.client.get("/mesh")
    if (text := formatted(call.line, found)) is not None:
        print(text, end="")
        return 0
    host = found["Host"]
    rows = [
        ["This host:", f"{host['Name']}, {host['Address']}, {host['Address6']}"],
        ["Encryption:", found["Encryption"]],
        ["Packets:", f"{found['MTU']} bytes fit between two hosts"],
    ]
    print(table.align(rows))
    peers = [["PEER", "ADDRESS", "WAY", "SINCE", "LATENCY", "AT", "HANDSHAKE"]]
    for peer in found["Peers"]:
        way = {"through": f"through {peer['Through']}", "none": "not reached"}.get(peer["Way"], peer["Way"])
        since = words.since(words.moment_of(peer["Since"])) if peer["Since"] else ""
        latency, handshake = peer["LatencyMilliseconds"], peer["HandshakeSeconds"]
        shown = "" if latency is None else f"{latency:.1f} ms"
        agreed = "" if handshake is None else f"{handshake} s ago"
        peers.append([peer["Name"], peer["Address"], way, since, shown, peer["Endpoint"], agreed])
    print(table.align(peers), end="")
    return 0


def token(call: Invocation) -> int:
    if call.arguments not in ([], ["rotate"]):
        raise UsageError("it is `mesh token`, or `mesh token rotate`")
    expires = call.line.text("expires")
    if expires and not call.arguments:
        raise UsageError("--expires is for a new token: `mesh token rotate`")
    if call.arguments:
        try:
            lasts = {"lasts": str(duration(expires) // 1_000_000_000)} if expires else None
        except ValueError as error:
            raise UsageError(f"--expires: {error}") from error
        found = call.client.post("/mesh/token/rotate", lasts)
    else:
        found = call.client.get("/mesh/token")
    print(found["Token"])
    if found["Expires"]:
        until = found["Expires"]
        over = f"WARNING: it was valid until {until}: `linkspan mesh token rotate` makes another"
        valid = words.moment_of(until) > time.time()
        print(f"It is valid until {until}." if valid else over, file=sys.stderr)
    return 0


def authority(call: Invocation) -> int:
    if call.arguments not in ([], ["rotate"]):
        raise UsageError("it is `mesh authority`, or `mesh authority rotate`")
    ask = call.client.post if call.arguments else call.client.get
    found: dict[str, Any] = ask("/mesh/authority/rotate" if call.arguments else "/mesh/authority")
    number, hosts = found["Number"], found["Hosts"]
    rows = [["In force:", f"number {number}, SHA-256 of its key {found['Fingerprint']}"]]
    others = {
        "To come:": [f"number {host['Number']} on {host['Name']}" for host in hosts if host["Number"] > number],
        "Without it:": [host["Name"] for host in hosts if host["Number"] < number],
    }
    print(table.align(rows + [[title, ", ".join(names)] for title, names in others.items() if names]), end="")
    return 0


def forget(call: Invocation) -> int:
    query = {"force": "1"} if call.line.on("force") else None

    def one(client: Client, ref: str) -> None:
        client.call("DELETE", f"/mesh/hosts/{quote(ref)}", query)

    return each(call, one)


def recover(call: Invocation) -> int:
    call.client.post("/mesh/recover", {"force": "1"} if call.line.on("force") else None)
    return 0


STATUS = Verb(
    "[OPTIONS]",
    "Show how this host reaches the others of its mesh: directly or through whom, and what encrypts it.",
    status,
    FORMAT_FLAGS,
    most=0,
)
TOKEN = Verb(
    "[OPTIONS] [rotate]",
    "Show what lets a host join the mesh (linkspand --mesh --join HOST --token TOKEN); with rotate, make another.",
    token,
    (Flag("expires", "", "duration", "How long the new one is valid, as in 24h (default: until it is rotated)"),),
    most=1,
)
AUTHORITY = Verb(
    "[rotate]",
    "Show the authority that signs the hosts' certificates; with rotate, make another, and the one before is worth "
    "nothing.",
    authority,
    (),
    most=1,
)
FORGET = Verb(
    "[OPTIONS] HOST [HOST...]",
    "Lock hosts out that are lost: nobody hears them any more, and there is a new token, and a new authority.",
    forget,
    (switch("force", "f", "Also one that answers"),),
    least=1,
)
RECOVER = Verb(
    "[OPTIONS]",
    "Go on with this host's member of the store alone, where most of the members are gone for good.",
    recover,
    (switch("force", "f", "Also where they answer"),),
    most=0,
)
