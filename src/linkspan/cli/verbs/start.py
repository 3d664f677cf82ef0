"""`start`: run containers that have been created or have ended."""

from __future__ import annotations

from linkspan.cli.client import Client
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch
from linkspan.cli.verbs.each import each


def run(call: Invocation) -> int:
    line = call.line
    if line.on("attach") or line.on("interactive"):
        if len(call.arguments) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        return _attached(call, call.arguments[0])

    def start(client: Client, name: str) -> None:
        client.call("POST", f"/containers/{name}/start")

    failed: list[str] = []
    each(call, start, in_order=True, failed=failed)
    if failed:
        raise Failure(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _attached(call: Invocation, name: str) -> int:
    from linkspan.cli import streams
    from linkspan.cli.verbs.run import begin_wait, end_wait

    line, client = call.line, call.client
    container = client.get(f"/containers/{name}/json")
    identity, tty = container["Id"], container["Config"]["Tty"]
    stdin = line.on("interactive") and container["Config"]["OpenStdin"]
    keys = streams.detach_keys(line.text("detach-keys"))
    if line.on("sig-proxy") and not tty:
        streams.forward_signals(client, identity)
    query = {
        "stream": True, "stdin": stdin, "stdout": True, "stderr": True,
        "detachKeys": line.text("detach-keys") or None,
    }  # fmt: skip
    attached = client.take_over(f"/containers/{identity}/attach", query)
    waiting = begin_wait(client, identity, removed=container["HostConfig"].get("AutoRemove", False))
    try:
        client.call("POST", f"/containers/{identity}/start")
    except EngineError:
        attached.close()
        raise
    with streams.raw_terminal(tty and stdin):
        if tty and streams.output_is_terminal():
            streams.follow_size(client, f"/containers/{identity}")
        left = streams.pump(attached.wire, stdin=stdin, tty=tty, keys=keys if stdin else b"")
    return 0 if left else end_wait(waiting)


VERB = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start containers that have been created or have ended.",
    run,
    (
        switch("attach", "a", "Show its output, and pass signals on"),
        Flag("detach-keys", "", "keys", "Keys that leave it running and end this command (ctrl-p,ctrl-q)"),
        switch("interactive", "i", "Give it our standard input"),
        switch("sig-proxy", "", "Pass signals on to the process", default=True),
    ),
    least=1,
)
