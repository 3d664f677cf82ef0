"""`logout`: forget the credentials for a registry."""

from __future__ import annotations

from linkspan.cli import credentials
from linkspan.cli.flags import Invocation, Verb


def run(call: Invocation) -> int:
    server = credentials.server_named(call.arguments[0] if call.arguments else "")
    if credentials.erase(server):
        print(f"Removing login credentials for {server}")
    else:
        print(f"Not logged in to {server}")
    return 0


VERB = Verb("[SERVER]", "Forget the credentials for a registry, by default Docker Hub.", run, most=1)
