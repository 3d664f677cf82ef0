"""`login`: credentials for a registry, checked and stored."""

from __future__ import annotations

import getpass
import os
import sys

from linkspan.cli import credentials
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch


def run(call: Invocation) -> int:
    line = call.line
    username, password = line.text("username"), line.text("password")
    if password:
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
        if line.on("password-stdin"):
            raise Failure("--password and --password-stdin are mutually exclusive")
    if line.on("password-stdin"):
        if not username:
            raise Failure("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().rstrip("\r\n")
    server = credentials.server_named(call.arguments[0] if call.arguments else "")
    stored = credentials.lookup(server) if not (username or password) else {}
    username = username or stored.get("username", "")
    password = password or stored.get("password", "")
    if not username or not password:
        if not os.isatty(0):
            raise Failure("Error: Cannot perform an interactive login from a non TTY device")
        username = username or input("Username: ").strip()
        password = password or getpass.getpass("Password: ")
    answer = call.client.post("/auth", None, {"username": username, "password": password, "serveraddress": server})
    credentials.store(server, username, password, (answer or {}).get("IdentityToken", ""))
    print((answer or {}).get("Status") or "Login Succeeded")
    return 0


VERB = Verb(
    "[OPTIONS] [SERVER]",
    "Store credentials for a registry, by default Docker Hub. The engine checks them first.",
    run,
    (
        Flag("password", "p", "string", "Password, or access token"),
        switch("password-stdin", "", "Read the password from standard input"),
        Flag("username", "u", "string", "User name"),
    ),
    most=1,
)
