"""`exec`: another command in a running container."""

from __future__ import annotations

from typing import Any

from linkspan.cli import quantities, streams
from linkspan.cli.configuration import variables
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch


def run(call: Invocation) -> int:
    line, client = call.line, call.client
    name, *command = call.arguments
    tty, detached = line.on("tty"), line.on("detach")
    keys = streams.detach_keys(line.text("detach-keys"))
    stdin = line.on("interactive") and not detached
    request: dict[str, Any] = {
        "User": line.text("user"),
        "Privileged": line.on("privileged"),
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Detach": detached,
        "DetachKeys": line.text("detach-keys"),
        "Env": variables(line),
        "WorkingDir": line.text("workdir"),
        "Cmd": command,
    }
    client.get(f"/containers/{name}/json")
    if stdin and tty and not streams.input_is_terminal():
        raise Failure("the input device is not a TTY")
    begin: dict[str, Any] = {"Detach": detached, "Tty": tty}
    if tty and not detached and streams.output_is_terminal():
        request["ConsoleSize"] = begin["ConsoleSize"] = list(streams.terminal_size())
    identity = client.post(f"/containers/{name}/exec", None, request)["Id"]
    if detached:
        client.request("POST", f"/exec/{identity}/start", None, begin)
        return 0
    try:
        attached = client.take_over(f"/exec/{identity}/start", None, begin)
    except EngineError as error:
        raise Failure(str(error), _status_of(error)) from None
    with streams.raw_terminal(tty and stdin):
        if tty and streams.output_is_terminal():
            streams.follow_size(client, f"/exec/{identity}")
        left = streams.pump(attached.wire, stdin=stdin, tty=tty, keys=keys if stdin else b"")
    if left:
        raise Failure("read escape sequence")
    return int(client.get(f"/exec/{identity}/json").get("ExitCode") or 0)


def _status_of(error: EngineError) -> int:
    from linkspan.cli.verbs.run import status_of

    status = status_of(error)
    return status if status in (126, 127) else 1


VERB = Verb(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Run a command in a running container.",
    run,
    (
        switch("detach", "d", "Run it in the background"),
        Flag("detach-keys", "", "keys", "Keys that leave it running and end this command (ctrl-p,ctrl-q)"),
        Flag("env", "e", "list", "Set an environment variable", check=quantities.environment_entry),
        Flag("env-file", "", "list", "Read environment variables from a file"),
        switch("interactive", "i", "Keep standard input open"),
        switch("privileged", "", "Give it every capability"),
        switch("tty", "t", "Give it a terminal"),
        Flag("user", "u", "string", "User, and group, to run it as"),
        Flag("workdir", "w", "folder", "Working directory"),
    ),
    least=2,
    runs_program=True,
)
