"""`network reservations`, `reserve` and `release`: addresses that belong to a container's name, or labels."""

from __future__ import annotations

from linkspan.cli import table, words
from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.flags import Invocation, Verb


def list_(call: Invocation) -> int:
    found = call.client.get(f"/networks/{call.arguments[0]}/reservations")
    if (text := formatted(call.line, found)) is not None:
        print(text, end="")
        return 0
    rows = [["IDENTITY", "ADDRESS", "STATE", "CONTAINER", "HOST", "RELEASED"]]
    for one in found:
        addresses = ",".join(filter(None, (one["IPv4Address"], one["IPv6Address"])))
        released = words.since(words.moment_of(one["Released"])) if one["Released"] else ""
        row = [one["Identity"], addresses, one["State"], one["Container"], one["Host"], released]
        rows.append([text or "-" for text in row])
    print("".join(f"{line.rstrip()}\n" for line in table.align(rows).splitlines()), end="")
    return 0


def reserve(call: Invocation) -> int:
    network, identity, address = call.arguments
    call.client.post(f"/networks/{network}/reservations", None, {"Identity": identity, "Address": address})
    return 0


def release(call: Invocation) -> int:
    network, identity = call.arguments
    call.client.post(f"/networks/{network}/reservations/release", None, {"Identity": identity})
    return 0


LIST = Verb(
    "[OPTIONS] NETWORK",
    "Show which addresses of a network belong to which container names or labels (only in linkspan).",
    list_,
    FORMAT_FLAGS,
    least=1,
    most=1,
)
RESERVE = Verb(
    "NETWORK IDENTITY ADDRESS",
    "Keep an address for a container that is to come (only in linkspan).",
    reserve,
    least=3,
    most=3,
    detail="IDENTITY is the container's name, or its labels as in app=web,role=db, as the network ties addresses to.",
)
RELEASE = Verb(
    "NETWORK IDENTITY",
    "Give up an address that no container has now (only in linkspan).",
    release,
    least=2,
    most=2,
)
