"""What `login` stored for registries: Docker's own file and credential programs, so that a login there counts here."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from linkspan.cli.failure import Failure
from linkspan.cli.reference import INDEX_SERVER, Reference

TOKEN_USER = "<token>"  # what a credential program calls a login by token


def configuration_path() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser() / "config.json"


def configuration() -> dict[str, Any]:
    """The client's configuration; {} where there is none. Raises Failure where it cannot be understood."""
    path = configuration_path()
    try:
        text = path.read_text()
    except OSError:
        return {}
    try:
        value = json.loads(text)
        return value if isinstance(value, dict) else {}
    except ValueError as error:
        raise Failure(f"Error loading config file: {path}: {error}") from None


def header(image: str) -> dict[str, str]:
    """X-Registry-Auth for the image's registry: the stored credentials, or an empty object."""
    stored = lookup(Reference(image).server)
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(stored).encode()).decode()}


def lookup(server: str) -> dict[str, str]:
    """username and password, or identitytoken, and serveraddress; {} where nothing is stored."""
    config = configuration()
    program = (config.get("credHelpers") or {}).get(_host(server)) or config.get("credsStore")
    if program:
        return _from_program(program, server)
    for name, entry in (config.get("auths") or {}).items():
        if name == server or _host(name) == _host(server):
            return _decoded(entry, server)
    return {}


def store(server: str, username: str, password: str, token: str) -> None:
    """Keeps credentials where `lookup` finds them."""
    config = configuration()
    program = (config.get("credHelpers") or {}).get(_host(server)) or config.get("credsStore")
    if program:
        secret = {"ServerURL": server, "Username": TOKEN_USER if token else username, "Secret": token or password}
        _call_program(program, "store", json.dumps(secret))
        config.setdefault("auths", {})[server] = {}
    else:
        entry = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
        if token:
            entry = {"auth": base64.b64encode(f"{username}:".encode()).decode(), "identitytoken": token}
        config.setdefault("auths", {})[server] = entry
    _save(config)


def erase(server: str) -> bool:
    """Forgets the credentials; False where there were none."""
    config = configuration()
    program = (config.get("credHelpers") or {}).get(_host(server)) or config.get("credsStore")
    if program:
        _call_program(program, "erase", server)
    known = config.get("auths") or {}
    names = [name for name in known if name == server or _host(name) == _host(server)]
    for name in names:
        del known[name]
    if names:
        _save(config)
    return bool(names) or bool(program)


def server_named(text: str) -> str:
    """The key of a server as the user typed it; "" is Docker Hub."""
    if text in ("", "docker.io", "index.docker.io", "registry-1.docker.io"):
        return INDEX_SERVER
    return _host(text)


def _host(server: str) -> str:
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _decoded(entry: dict[str, Any], server: str) -> dict[str, str]:
    result = {"serveraddress": server}
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except ValueError as error:
            raise Failure(f"the credentials stored for {server} cannot be read: {error}: log in again") from None
        result.update(username=username, password=password.rstrip("\0"))
    for key in ("username", "password", "identitytoken", "registrytoken"):
        if entry.get(key):
            result[key] = entry[key]
    return result if len(result) > 1 else {}


def _from_program(program: str, server: str) -> dict[str, str]:
    output = _call_program(program, "get", server)
    if output is None:
        return {}
    answer = json.loads(output)
    if answer.get("Username") == TOKEN_USER:
        return {"identitytoken": answer["Secret"], "serveraddress": server}
    return {"username": answer.get("Username", ""), "password": answer.get("Secret", ""), "serveraddress": server}


def _call_program(program: str, verb: str, text: str) -> str | None:
    """What docker-credential-PROGRAM says; None where it knows nothing."""
    name = f"docker-credential-{program}"
    try:
        done = subprocess.run([name, verb], input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failure(f'error getting credentials - err: exec: "{name}": {error.strerror}') from None
    if done.returncode == 0:
        return done.stdout
    if "credentials not found" in done.stdout + done.stderr:
        return None
    raise Failure(f"error getting credentials - err: exit status {done.returncode}, out: `{done.stdout.strip()}`")


def _save(config: dict[str, Any]) -> None:
    path = configuration_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(config, indent="\t"))
    fresh.replace(path)
