"""`pipework`: an interface for a container by hand, in the words of the script of that name.

Its flags follow the first argument, and what comes after `route`, `rule` and `tc` belongs to those: so the words are
taken apart here, in two steps.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple

from linkspan.cli.client import Client
from linkspan.cli.failure import EngineError, Failure, UsageError
from linkspan.cli.flags import Flag, Invocation, Parsed, Verb, parse, switch

PROGRAMS = ("route", "rule", "tc")
CLIENTS = ("udhcpc", "dhclient", "dhcpcd")
_PAUSE = 0.1  # seconds between looks for an interface that is awaited
_SYSFS = "/sys/class/net"


class Wanted(NamedTuple):
    """A request to the daemon: `path` is below the container's, `body` its JSON."""

    method: str
    container: str
    path: str
    body: Any = None


def run(call: Invocation) -> int:
    words = call.arguments
    line = call.line if _is_program(words) else _whole(call.line)
    if line.on("help"):
        from linkspan.cli.flags import help_text

        print(help_text(VERB, call.path))
        return 0
    if line.on("wait"):
        return _wait(call.client, line)
    wanted = request(line)
    answer = call.client.call(wanted.method, f"/containers/{wanted.container}{wanted.path}", None, wanted.body)
    if "ExitCode" in (answer or {}):
        sys.stdout.write(answer["Stdout"])
        sys.stdout.flush()
        sys.stderr.write(answer["Stderr"])
        return int(answer["ExitCode"])
    if answer and answer.get("Dhcp"):
        print(answer["Address"])
    return 0


def _is_program(words: list[str]) -> bool:
    return bool(words) and words[0] in PROGRAMS


def _whole(line: Parsed) -> Parsed:
    """With the flags that follow the first argument. Raises UsageError."""
    rest = parse(VERB.flags, line.arguments)
    return Parsed(line.flags, {**line.values, **rest.values}, rest.arguments)


def request(line: Parsed) -> Wanted:
    """What a command line asks of the daemon. Raises UsageError."""
    words = line.arguments
    if line.on("remove"):
        if len(words) != 1:
            raise Failure("--remove needs a container: --remove [-i INTERFACE] CONTAINER")
        return Wanted("DELETE", words[0], f"/interfaces/{line.text('interface') or 'eth1'}")
    if _is_program(words):
        program, *rest = words
        if not rest:
            raise Failure(f"{program} needs a container: {program} CONTAINER COMMAND…")
        return Wanted("POST", rest[0], f"/network/{program}", {"Arguments": rest[1:]})
    if not 3 <= len(words) <= 4:
        raise UsageError("'linkspan pipework' requires an interface of the host, a container and an address")
    host, container, address, *more = words
    mac, _, vlan = (more[0] if more else "").partition("@")
    body = {
        "HostInterface": host,
        "Interface": line.text("interface"),
        "HostEnd": line.text("local"),
        "Family": line.text("family"),
        "MacAddress": mac,
        "Vlan": vlan.partition("@")[0],
        "Direct": line.on("direct-phys"),
        **_address(address),
    }
    return Wanted("POST", container, "/interfaces", {key: value for key, value in body.items() if value})


def _address(text: str) -> dict[str, Any]:
    """An address and gateway, or who is to ask for them."""
    word, _, options = text.partition(":")
    client, stays = word.removesuffix("-f"), word.endswith("-f")
    if word == "dhcp":
        return {"Dhcp": {"Stays": True, "Options": options}}
    if client in CLIENTS and (word == client or client != "dhcpcd"):
        return {"Dhcp": {"Client": client, "Stays": stays or client == "dhcpcd", "Options": options}}
    address, _, gateway = text.partition("@")
    return {"Address": address, "Gateway": gateway.partition("@")[0]}


def _wait(client: Client, line: Parsed) -> int:
    """Until the interface is there and has a carrier: here, or in a container."""
    interface = line.text("interface") or "eth1"
    if len(line.arguments) > 1:
        raise Failure("--wait waits in one container: --wait [-i INTERFACE] [CONTAINER]")
    while not (_given(client, line.arguments[0], interface) if line.arguments else _is_up(interface)):
        time.sleep(_PAUSE)
    return 0


def _is_up(interface: str) -> bool:
    """By what sysfs says; where that shows another network's interfaces, by whether it is there."""
    import socket

    if interface not in (name for _, name in socket.if_nameindex()):
        return False
    try:
        with open(f"{_SYSFS}/{interface}/carrier", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
            return file.read().strip() == "1"
    except FileNotFoundError:
        return True
    except OSError:  # it is down
        return False


def _given(client: Client, container: str, interface: str) -> bool:
    try:
        found = client.get(f"/containers/{container}/json")
    except EngineError as error:
        if error.http_status == 404:
            return False
        raise
    given = found["NetworkSettings"].get("Interfaces") or ()
    return bool(found["State"]["Running"]) and any(
        one["Name"] == interface and (one["Address"] or not one["Dhcp"]) for one in given
    )


VERB = Verb(
    "[--direct-phys] HOSTIF [-i IF] [-l IF] [-a FAMILY] CONTAINER ADDRESS/LEN[@GATEWAY] [MAC][@VLAN]",
    "Give a container an interface by hand, as pipework does (only in linkspan).",
    run,
    (
        Flag("interface", "i", "name", "The interface's name in the container (default eth1, of InfiniBand ib0)"),
        Flag("local", "l", "name", "The name of the host's end, on a bridge"),
        Flag("family", "a", "4|6", "The address family; the address says it already"),
        switch("direct-phys", "", "Move the network card itself into the container"),
        switch("wait", "", "Wait until an interface is up: here, or in a container"),
        switch("remove", "", "Take an interface away again"),
    ),
    runs_program=True,
    detail=(
        "Also:\n"
        "  linkspan pipework HOSTIF [-i IF] CONTAINER dhcp[:OPTIONS] [MAC][@VLAN]\n"
        "  linkspan pipework route|rule|tc CONTAINER COMMAND...\n"
        "  linkspan pipework --remove [-i IF] CONTAINER\n"
        "  linkspan pipework --wait [-i IF] [CONTAINER]\n\n"
        "HOSTIF is a bridge, or a network card, which gets a macvlan; mac:ADDRESS finds a card by its MAC address.\n"
        "A bridge that is not there is made if its name begins with br, or ovs. dhcp may also be udhcpc, dhclient\n"
        "(both end with the first answer; udhcpc-f and dhclient-f stay) or dhcpcd. MAC may be U:STRING, which makes\n"
        "one of a string. The interface is recorded: it comes back when the container starts again, and is put back\n"
        "when another hand removes it."
    ),
)
