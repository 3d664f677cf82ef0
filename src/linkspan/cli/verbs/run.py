"""`run`: create, attach, wait, start, stream; in that order, so that no output and no exit status can be missed."""

from __future__ import annotations

import sys
from typing import Any

from linkspan.cli.client import Client, Response
from linkspan.cli.configuration import ALIASES, FLAGS, STATUS, body
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.verbs.create import create, with_hint

NOT_FOUND, NOT_EXECUTABLE = 127, 126


def run(call: Invocation) -> int:
    line, detached = call.line, call.line.on("detach")
    if detached and line.list("attach"):
        raise Failure("conflicting options: cannot specify both --attach and --detach")
    try:
        request = body(line, detached=detached)
    except Failure as failure:
        raise with_hint(failure, "run", STATUS) from None
    if detached:
        return _detached(call, request)
    from linkspan.cli import streams

    if request["AttachStdin"] and request["Tty"] and not streams.input_is_terminal():
        raise Failure("the input device is not a TTY")
    if request["Tty"] and streams.output_is_terminal():
        request["HostConfig"]["ConsoleSize"] = list(streams.terminal_size())
    keys = streams.detach_keys(line.text("detach-keys"))
    try:
        container = create(call.client, line, request)
        if line.on("sig-proxy"):
            streams.forward_signals(call.client, container)
        return _attached(call, container, request, keys)
    except Failure as failure:
        raise with_hint(failure, "run", status_of(failure)) from None


def _detached(call: Invocation, request: dict[str, Any]) -> int:
    try:
        container = create(call.client, call.line, request)
        print(container, flush=True)  # before the start, as it exists whether or not it starts
        call.client.call("POST", f"/containers/{container}/start")
    except Failure as failure:
        raise with_hint(failure, "run", status_of(failure)) from None
    return 0


def _attached(call: Invocation, container: str, request: dict[str, Any], keys: bytes) -> int:
    from linkspan.cli import streams

    client, tty = call.client, request["Tty"]
    stdin, stdout, stderr = (request[f"Attach{name}"] for name in ("Stdin", "Stdout", "Stderr"))
    if not stdout and not stderr:
        print(container, flush=True)
    query = {
        "stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr,
        "detachKeys": call.line.text("detach-keys") or None,
    }  # fmt: skip
    attached = client.take_over(f"/containers/{container}/attach", query)
    waiting = begin_wait(client, container, removed=call.line.on("rm"))
    try:
        client.call("POST", f"/containers/{container}/start")
    except Failure:
        attached.close()
        if call.line.on("rm"):
            end_wait(waiting)
        raise
    with streams.raw_terminal(tty and stdin):
        if tty and streams.output_is_terminal():
            streams.follow_size(client, f"/containers/{container}")
        left = streams.pump(attached.wire, stdin=stdin, tty=tty, keys=keys if stdin else b"")
    if left:
        print("read escape sequence", file=sys.stderr)
        return 0
    if not stdout and not stderr:
        return 0
    return end_wait(waiting)


def begin_wait(client: Client, container: str, *, removed: bool) -> Response:
    """Registers with the daemon at once; `end_wait` gives the exit status."""
    condition = "removed" if removed else "next-exit"
    return client.request("POST", f"/containers/{container}/wait", {"condition": condition}, own=True)


def end_wait(waiting: Response) -> int:
    """The container's exit status, when it has ended."""
    answer = waiting.json() or {}
    error = answer.get("Error") or {}
    if error.get("Message"):
        print(f"Error waiting for container: {error['Message']}", file=sys.stderr)
        return STATUS
    return int(answer.get("StatusCode", STATUS))


def status_of(failure: Failure) -> int:
    """The exit status that a shell would give, read from the engine's words, as Docker's command does it."""
    text = str(failure)
    if any(words in text for words in ("executable file not found", "no such file or directory", "system cannot find")):
        return NOT_FOUND
    if "permission denied" in text or "is a directory" in text:
        return NOT_EXECUTABLE
    return STATUS


VERB = Verb(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a container from an image, and start it.",
    run,
    (
        *FLAGS,
        switch("detach", "d", "Leave it running in the background, and print its id"),
        Flag("detach-keys", "", "keys", "Keys that leave it running and end this command (ctrl-p,ctrl-q)"),
        switch("sig-proxy", "", "Pass signals on to the process", default=True),
    ),
    least=1,
    runs_program=True,
    aliases=ALIASES,
    detail="For example:\n"
    "  linkspan run -d --name web -p 8080:80 nginx    a service, reached on port 8080 of this host\n"
    "  linkspan run -it --rm debian bash              a shell, gone when it ends",
)
