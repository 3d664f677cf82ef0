"""`top`: the processes of a container."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.table import align


def run(call: Invocation) -> int:
    name, *arguments = call.arguments
    answer = call.client.get(f"/containers/{name}/top", {"ps_args": " ".join(arguments) or None})
    print(align([answer["Titles"], *(answer["Processes"] or [])], least=20, padding=3), end="")
    return 0


VERB = Verb("CONTAINER [ps OPTIONS]", "Show the processes of a container.", run, least=1, runs_program=True)
