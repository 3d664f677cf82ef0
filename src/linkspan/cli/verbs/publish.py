"""`publish` and `unpublish`: the ports of a container that is there, whether it runs or not."""

from __future__ import annotations

import sys
from typing import Any

from linkspan.cli import ports
from linkspan.cli.failure import UsageError
from linkspan.cli.flags import Flag, Invocation, Verb


def publish(call: Invocation) -> int:
    name, *bare = call.arguments
    if bare:
        raise UsageError(f"each port has a -p: linkspan publish {name}{''.join(f' -p {port}' for port in bare)}")
    if not call.line.list("publish"):
        raise UsageError("you must say what to publish: -p 8080:80")
    _, bindings = ports.published(call.line.list("publish"))
    _print(call.client.post(f"/containers/{name}/publish", None, {"PortBindings": bindings}) or {})
    return 0


def unpublish(call: Invocation) -> int:
    name, *wanted = call.arguments
    _print(call.client.post(f"/containers/{name}/unpublish", None, {"Ports": wanted}))
    return 0


def _print(answer: dict[str, Any]) -> None:
    """What came, or went, in the form of `port`; nothing where the container does not run."""
    for warning in answer.get("Warnings") or ():
        print(f"WARNING: {warning}", file=sys.stderr)
    for port, bindings in (answer.get("Ports") or {}).items():
        for binding in bindings:
            print(f"{port} -> {ports.address(binding)}")


PUBLISH = Verb(
    "CONTAINER -p PORT [-p PORT...]",
    "Publish more ports of a container, also while it runs (only in linkspan).",
    publish,
    (Flag("publish", "p", "list", "Publish a port on the host ([[address:][hostport]:]port[-port][/protocol])"),),
    least=1,
)
UNPUBLISH = Verb(
    "CONTAINER PORT [PORT...]",
    "Publish ports of a container no more, also while it runs (only in linkspan).",
    unpublish,
    least=2,
    detail=(
        "PORT is a port of the host: 8080, 53/udp, 8000-8010, 127.0.0.1:8080; or 8080:80, or :80 for every\n"
        "publication of the container's port 80. Established TCP connections go on; other ports are untouched."
    ),
)
