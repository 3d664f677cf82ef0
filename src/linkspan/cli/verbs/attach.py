"""`attach`: this terminal becomes a running container's."""

from __future__ import annotations

import sys

from linkspan.cli import streams
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.verbs.run import end_wait


def run(call: Invocation) -> int:
    line, client, name = call.line, call.client, call.arguments[0]
    keys = streams.detach_keys(line.text("detach-keys"))
    container = client.get(f"/containers/{name}/json")
    state = container["State"]
    if not state["Running"]:
        raise Failure("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Failure("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Failure("You cannot attach to a restarting container, wait until it is running")
    tty = container["Config"]["Tty"]
    stdin = not line.on("no-stdin") and container["Config"]["OpenStdin"]
    if stdin and tty and not streams.input_is_terminal():
        raise Failure("the input device is not a TTY")
    waiting = client.request("POST", f"/containers/{name}/wait", {"condition": ""}, own=True)
    if line.on("sig-proxy") and not tty:
        streams.forward_signals(client, name)
    query = {
        "stream": True, "stdin": stdin, "stdout": True, "stderr": True,
        "detachKeys": line.text("detach-keys") or None,
    }  # fmt: skip
    attached = client.take_over(f"/containers/{name}/attach", query)
    with streams.raw_terminal(tty and stdin):
        if tty and streams.output_is_terminal():
            streams.follow_size(client, f"/containers/{name}")
        left = streams.pump(attached.wire, stdin=stdin, tty=tty, keys=keys if stdin else b"")
    if left:
        print("read escape sequence", file=sys.stderr)
        return 0
    return end_wait(waiting)


VERB = Verb(
    "[OPTIONS] CONTAINER",
    "Connect this terminal to a running container: its output here, our input to it.",
    run,
    (
        Flag("detach-keys", "", "keys", "Keys that leave it running and end this command (ctrl-p,ctrl-q)"),
        switch("no-stdin", "", "Do not give it our standard input"),
        switch("sig-proxy", "", "Pass signals on to the process", default=True),
    ),
    least=1,
    most=1,
)
