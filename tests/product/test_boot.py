"""After a reboot containers start in the order in which they need each other (moby's #50326)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.product.network import answers, ask, held
from tests.product.place import HOST, OUTSIDE, Place
from tests.product.test_configuration import ground, start

__all__ = ["ground", "start"]  # fixtures

ALWAYS = ("--restart", "always")


def reboot(made: Place) -> float:
    """The machine goes down, and comes up again; when that was."""
    pids = [str(made.inspect(ref)["State"]["Pid"]) for ref in made.out("ps", "-q").split()]
    made.end(signal.SIGKILL)
    made.host.run(["kill", "-9", *pids])
    now = time.time()
    made.start(*made.flags)
    return now


def until(made: Place, running: set[str]) -> None:
    deadline = time.monotonic() + 20
    while set(made.out("ps", "--format", "{{.Names}}").split()) != running:
        assert time.monotonic() < deadline, made.out("ps", "-a")
        time.sleep(0.05)


def started(made: Place, since: float) -> list[str]:
    """Names in the order of their starts."""
    span = ("--since", str(since), "--until", str(time.time()))
    events = made.out("events", *span, "-f", "event=start", "--format", "{{json .}}").splitlines()
    return [json.loads(event)["Actor"]["Attributes"]["name"] for event in events]


def test_chains_start_from_their_end(start: Callable[..., Any]) -> None:
    made = start()
    made.docker("create", "--name", "z-db", *ALWAYS, "web")
    made.docker("create", "--name", "y-owner", *ALWAYS, "--link", "z-db:db", "-p", "8080:80", "web")
    made.docker("create", "--name", "a-peer", *ALWAYS, "--network", "container:y-owner", "plain", "sleep", "600")
    made.docker("create", "--name", "0-mate", *ALWAYS, "--pid", "container:a-peer", "plain", "sleep", "600")
    for name in ("z-db", "y-owner", "a-peer", "0-mate"):
        made.docker("start", name)
    names = {"z-db", "y-owner", "a-peer", "0-mate"}
    for _ in range(2):
        since = reboot(made)
        until(made, names)
        assert started(made, since) == ["z-db", "y-owner", "a-peer", "0-mate"]
    assert answers(made.there, HOST, 8080) == OUTSIDE
    assert ask(made.sandbox("y-owner"), made.address("z-db"), 80)
    assert "eth0" in made.out("exec", "a-peer", "ip", "-o", "link")
    assert "could not be started" not in made.log.read_text()


def test_who_needs_one_that_does_not_start_waits_for_it(start: Callable[..., Any]) -> None:
    made = start()
    made.run("--name", "by-hand", "web")  # has no restart policy
    made.run("--name", "peer", *ALWAYS, "--network", "container:by-hand", "plain", "sleep", "600")
    made.run("--name", "mate", *ALWAYS, "--pid", "container:peer", "plain", "sleep", "600")
    made.run("--name", "other", *ALWAYS, "plain", "sleep", "600")
    reboot(made)
    until(made, {"other"})
    said = made.log.read_text()
    assert "container peer starts when by-hand does" in said and "container mate starts when peer does" in said
    made.docker("start", "by-hand")
    until(made, {"other", "by-hand", "peer", "mate"})
    made.docker("stop", "-t", "0", "mate")
    made.docker("restart", "-t", "0", "by-hand")  # nobody waits any more
    assert made.inspect("mate")["State"]["Status"] == "exited"


def test_an_owner_that_fails_at_first(start: Callable[..., Any]) -> None:
    made = start()
    made.run("--name", "owner", *ALWAYS, "-p", "8080:80", "web")
    made.run("--name", "peer", *ALWAYS, "--network", "container:owner", "plain", "sleep", "600")
    made.run("--name", "other", *ALWAYS, "plain", "sleep", "600")
    pids = [str(made.inspect(ref)["State"]["Pid"]) for ref in made.out("ps", "-q").split()]
    made.end(signal.SIGKILL)
    made.host.run(["kill", "-9", *pids])
    with held(made.here, "0.0.0.0", 8080):
        made.start()
        until(made, {"other"})
        assert "container owner could not be started" in made.log.read_text()
        assert "container peer starts when owner does" in made.log.read_text()
    made.docker("start", "owner")
    until(made, {"owner", "peer", "other"})
    assert answers(made.there, HOST, 8080) == OUTSIDE
