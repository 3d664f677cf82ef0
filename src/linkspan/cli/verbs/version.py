"""`version`: of the command and of the engine."""

from __future__ import annotations

import platform
import sys
from typing import Any

from linkspan import __version__
from linkspan.cli.client import API
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch


def run(call: Invocation) -> int:
    client = {
        "Version": __version__,
        "ApiVersion": API.removeprefix("/v"),
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": _architecture(),
    }
    if call.line.on("client"):
        print(_client_text(client), end="")
        return 0
    failure: Failure | None = None
    server: dict[str, Any] | None = None
    try:
        server = call.client.get("/version")
    except Failure as error:
        failure = error
    format = call.line.text("format")
    if format:
        from linkspan.cli.template import Template, to_json

        value = {"Client": client, "Server": server}
        if format == "json":
            print(to_json(value))
        elif failure is None or ".Server" not in format:
            print(Template(format).render(value))
    else:
        print(_client_text(client), end="")
        if server is not None:
            print("\n" + _server_text(server), end="")
    if failure is not None:
        sys.stdout.flush()
        raise failure
    return 0


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _client_text(client: dict[str, str]) -> str:
    return _lines(
        "Client: linkspan",
        {
            "Version": client["Version"],
            "API version": client["ApiVersion"],
            "Python version": client["PythonVersion"],
            "OS/Arch": f"{client['Os']}/{client['Arch']}",
        },
        " ",
    )


def _server_text(server: dict[str, Any]) -> str:
    name = (server.get("Platform") or {}).get("Name", "")
    text = f"Server: {name}".rstrip() + "\n"
    for component in server.get("Components") or []:
        details = dict(component.get("Details") or {})
        rows = {"Version": component.get("Version", "")}
        if "ApiVersion" in details:
            rows["API version"] = f"{details.pop('ApiVersion')} (minimum version {details.pop('MinAPIVersion', '')})"
        if "Os" in details:
            rows["OS/Arch"] = f"{details.pop('Os')}/{details.pop('Arch', '')}"
        rows.update({key: str(value) for key, value in details.items()})
        text += _lines(f" {component.get('Name', '')}:", rows, "  ")
    return text


def _lines(title: str, rows: dict[str, str], indent: str) -> str:
    return title + "\n" + "".join(f"{indent}{key + ':':<18}{value}\n" for key, value in rows.items())


VERB = Verb(
    "[OPTIONS]",
    "Show the versions of the command and of the engine.",
    run,
    (
        switch("client", "", "Only the command's; asks no engine"),
        Flag("format", "f", "string", "json, or a Go template ({{.Server.Version}})"),
    ),
    most=0,
)
