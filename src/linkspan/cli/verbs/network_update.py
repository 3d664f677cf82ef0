"""`network update`: a network changed in place, with containers on it."""

from __future__ import annotations

from typing import Any

from linkspan.cli import quantities
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, integer, switch
from linkspan.cli.verbs.network_create import pools

BRIDGE = "com.docker.network.bridge."
SWITCHES = {"icc": f"{BRIDGE}enable_icc", "masquerade": f"{BRIDGE}enable_ip_masquerade"}


def run(call: Invocation) -> int:
    line = call.line
    if not line.values:
        raise Failure("you must provide one or more flags when using this command")
    body: dict[str, Any] = {}
    for key, flag in (("RemoveSubnets", "remove-subnet"), ("RemoveLabels", "label-rm")):
        if line.given(flag):
            body[key] = line.list(flag)
    if found := pools(line, "add-subnet"):
        body["AddSubnets"] = found
    if line.given("label"):
        body["Labels"] = quantities.pairs(line.list("label"))
    if line.given("dns"):
        body["Dns"] = [server for server in line.list("dns") if server]
    if line.given("internal"):
        body["Internal"] = line.on("internal")
    options = quantities.pairs(line.list("opt"))
    options |= {name: str(line.on(flag)).lower() for flag, name in SWITCHES.items() if line.given(flag)}
    if line.given("mtu"):
        options["com.docker.network.driver.mtu"] = str(line.number("mtu"))
    if options:
        body["Options"] = options
    call.client.post(f"/networks/{call.arguments[0]}/update", None, body)
    print(call.arguments[0])
    return 0


VERB = Verb(
    "[OPTIONS] NETWORK",
    "Change a network in place, also with containers on it (only in linkspan).",
    run,
    (
        Flag("add-subnet", "", "list", "One subnet more, with its prefix length (172.30.0.0/16)"),
        Flag("aux-address", "", "map", "Address of a new subnet that no container gets (name=address)"),
        Flag("dns", "", "list", "DNS server of its containers, instead of the host's; an empty one: the host's again"),
        Flag("gateway", "", "list", "Address of the gateway in a new subnet"),
        switch("icc", "", "Its containers may talk to each other (--icc=false: not)", default=True),
        switch("internal", "", "No way out of it (--internal=false: there is one)"),
        Flag("ip-range", "", "list", "Give out addresses of this part of a new subnet only"),
        Flag("label", "", "list", "Set a label (name=value)", check=quantities.label),
        Flag("label-rm", "", "list", "Remove a label"),
        switch("masquerade", "", "Its containers leave the host under the host's address", default=True),
        Flag("mtu", "", "int", "Largest packet of its interfaces", "", integer),
        Flag("opt", "o", "map", "Option of the driver (name=value; without a value, as if never set)"),
        Flag("remove-subnet", "", "list", "One subnet less: one that nobody uses"),
    ),
    least=1,
    most=1,
)
