"""The same words typed to `docker` and to `linkspan` make the same requests, the same output, the same exit status."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from answers import script
from command_lines import CREATE, OTHERS, REFUSED
from fake_daemon import Asked, FakeDaemon
from tests.docker_client import DOCKER, VERSION

from conftest import Command

# Other versions send other bodies: what is asked of us is to send what the newest of them sends.
pytestmark = pytest.mark.skipif(VERSION != 28, reason=f"the docker client here is not a 28, but {VERSION or 'missing'}")

# The lines take turns, so that a difference names a few lines and not all of them.
PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_bodies_of_create(part: int, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    lines = [f"create {flags} alpine sh -c 'echo $x'" for flags in CREATE]
    assert_same(linkspan, daemon, tmp_path, lines[part::PARTS])


def test_bodies_of_run(linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    lines = [f"run -d {flags} alpine" for flags in CREATE[::5] if "-a" not in flags.split()]
    assert_same(linkspan, daemon, tmp_path, lines)


@pytest.mark.parametrize("part", range(PARTS))
def test_refused(part: int, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    assert_same(linkspan, daemon, tmp_path, REFUSED[part::PARTS])


@pytest.mark.parametrize("part", range(PARTS * 2))
def test_verbs(part: int, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    assert_same(linkspan, daemon, tmp_path, OTHERS[part :: PARTS * 2])


def assert_same(linkspan: Command, daemon: FakeDaemon, folder: Path, lines: list[str]) -> None:
    """Compares every line before it fails, so that one difference does not hide the others."""
    differing = [text for line in lines if (text := differences(linkspan, daemon, folder, line))]
    assert not differing, "\n\n" + "\n\n".join(differing)


def _words(line: str, folder: Path) -> list[str]:
    (folder / "env").write_text("# comment\nA=1\nB=x y\n\nHOME\nNONE\n" if "--env-file" in line else "A=1\nB=x y\n")
    (folder / "data.json").write_text('{"a": 1}')
    places = {"ENVFILE": "env", "JSONFILE": "data.json", "OUTFILE": "out"}
    for name, file in places.items():
        line = line.replace(name, str(folder / file))
    return shlex.split(line)


def differences(linkspan: Command, daemon: FakeDaemon, folder: Path, line: str) -> str:
    """Runs both, and tells what differs."""
    words = _words(line, folder)
    theirs, their_requests = _ask(linkspan, daemon, words, (DOCKER,))
    ours, our_requests = _ask(linkspan, daemon, words, ())
    found = []
    if their_requests != our_requests:
        found.append(f"  docker asked   {_lines(their_requests)}\n  linkspan asked {_lines(our_requests)}")
    if theirs.returncode != ours.returncode:
        found.append(f"  docker ended with {theirs.returncode}, linkspan with {ours.returncode}")
    for name, one, other in (("output", theirs.stdout, ours.stdout), ("error", theirs.stderr, ours.stderr)):
        if _text(one) != _text(other):
            found.append(f"  docker's {name}   {_text(one)!r}\n  linkspan's {name} {_text(other)!r}")
    return "\n".join([" ".join(words), *found]) if found else ""


def _ask(
    linkspan: Command, daemon: FakeDaemon, words: list[str], program: tuple[str, ...]
) -> tuple[subprocess.CompletedProcess[bytes], list[Any]]:
    script(daemon)
    daemon.asked.clear()
    done = linkspan(*words, program=program, input=b"typed\n")
    requests = [normal(asked) for asked in daemon.asked if _counts(asked)]
    if words[0] in ("stop", "kill", "rm", "pause", "unpause"):
        requests.sort(key=str)  # made all at once
    return done, requests


def _lines(requests: list[Any]) -> str:
    return "".join(f"\n    {json.dumps(request)}" for request in requests)


def _text(output: bytes) -> str:
    """With one name for both programs."""
    text = re.sub("[Dd]ocker", "linkspan", output.decode(errors="replace")).strip()
    return re.sub(r"template: :1(:\d+)*:", "template: :1:", text)  # docker tells the column too


def _counts(asked: Asked) -> bool:
    """Without the questions that only one of the two needs to ask.

    docker asks for the version first, looks at a network before it removes it (it might be a swarm's), at a container
    before and after it attaches, prunes a build cache, knows plugins, and waits for containers that it leaves alone.
    """
    asks_only = asked.method in ("GET", "HEAD") and asked.path.startswith(("/networks/", "/plugins/", "/info"))
    return (
        not asks_only
        and not asked.path.endswith(("/_ping", "/wait", "/resize", "/json"))
        and asked.path != "/build/prune"
    )


def normal(asked: Asked) -> Any:
    """A request without what both may say in different ways."""
    try:
        body: Any = asked.json
    except ValueError:
        body = len(asked.body)
    if asked.headers.get("content-type") == "application/x-tar" or asked.path.endswith(("/archive", "/load")):
        body = "an archive"
    query = {key: sorted(_decoded(value) for value in values) for key, values in asked.query.items()}
    return [asked.verb, _pruned(query), _sorted_binds(_pruned(body))]


def _decoded(value: str) -> str:
    """Filters are JSON in no particular order."""
    if value.startswith("{"):
        return json.dumps(json.loads(value), sort_keys=True)
    return value


SETS = (
    "ExposedPorts",
    "Volumes",
    "EndpointsConfig",
    "PortBindings",
    "Labels",
    "Config",
    "Tmpfs",
)  # keys count, values not


def _pruned(value: Any, key: str = "") -> Any:
    """Without what is empty, which the daemon takes as absent."""
    if isinstance(value, dict):
        kept = {name: _pruned(item, name) for name, item in value.items()}
        if key in SETS:
            return kept
        return {name: item for name, item in kept.items() if not _is_default(name, item)}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


def _is_default(name: str, value: Any) -> bool:
    return value in (None, "", 0, False, [], {}, [0, 0]) or (name, value) == ("MemorySwappiness", -1)


def _sorted_binds(value: Any) -> Any:
    """docker keeps -v, -e and --subnet in no order."""
    if isinstance(value, dict):
        if isinstance(ipam := value.get("IPAM"), dict) and "Config" in ipam:
            ipam["Config"].sort(key=str)
        for owner, key in ((value.get("HostConfig", {}), "Binds"), (value, "Env")):
            if key in owner:
                owner[key].sort()
    return value
