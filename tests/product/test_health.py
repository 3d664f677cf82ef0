"""Health checks: HEALTHCHECK, --health-cmd, State.Health, their events, `ps` and its filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.product.engine import Done
from tests.product.place import Place

# It does what the file says that the test writes into the container: nothing yet, 0, 1, or for ever.
CHECK = ("--health-cmd", "echo looked; . /state", "--health-interval", "100ms", "--health-retries", "1")


@pytest.fixture
def changes(engine: Place) -> Callable[[str], None]:
    """Waits for the next event of health that says a status."""
    stream = engine.api.events(decode=True, filters={"type": "container", "event": "health_status"})

    def wait(status: str) -> None:
        for event in stream:
            if event["Action"] == f"health_status: {status}":
                return

    return wait


def health(engine: Place, ref: str) -> Any:
    return engine.inspect(ref)["State"]["Health"]


def set_state(engine: Place, line: str) -> None:
    engine.docker("exec", "box", "sh", "-c", f"echo '{line}' >/new && mv /new /state")


def test_from_starting_to_healthy_to_unhealthy(
    engine: Place, client: Callable[..., Done], changes: Callable[[str], None]
) -> None:
    client("run", "-d", "--name", "box", *CHECK, "--health-start-period", "1h", "plain", "sleep", "99")
    engine.run("--name", "other", "plain", "sleep", "99")
    assert "(health: starting)" in client("ps").out and health(engine, "box")["Status"] == "starting"
    assert engine.out("ps", "-f", "health=starting", "--format", "{{.Names}}") == "box"
    set_state(engine, "exit 0")
    changes("healthy")
    assert "(healthy)" in client("ps").out
    found = health(engine, "box")
    assert (found["Status"], found["FailingStreak"]) == ("healthy", 0)
    assert (found["Log"][-1]["ExitCode"], found["Log"][-1]["Output"]) == (0, "looked\n")
    assert found["Log"][-1]["Start"] < found["Log"][-1]["End"]
    set_state(engine, "echo broken >&2; exit 3")
    changes("unhealthy")
    assert engine.out("ps", "-f", "health=unhealthy", "--format", "{{.Names}}") == "box"
    assert engine.out("ps", "-f", "health=none", "--format", "{{.Names}}") == "other"
    last = health(engine, "box")["Log"][-1]
    assert (last["ExitCode"], set(last["Output"].split())) == (3, {"looked", "broken"})
    assert "Health" not in engine.inspect("other")["State"]


def test_what_takes_too_long_has_failed_and_is_killed(engine: Place, changes: Callable[[str], None]) -> None:
    engine.run("--name", "box", *CHECK, "--health-timeout", "200ms", "plain", "sh", "-c", "echo >/state; sleep 99")
    changes("healthy")
    set_state(engine, "exec sleep 77")
    changes("unhealthy")
    last = health(engine, "box")["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (-1, "Health check exceeded timeout (200ms): looked\n")
    engine.docker("pause", "box")  # nobody looks now
    assert engine.out("top", "box").count("sleep 77") <= 1
    engine.docker("unpause", "box")


def test_a_command_that_cannot_be_run_and_one_that_says_much(engine: Place, changes: Callable[[str], None]) -> None:
    often = ("--health-interval", "100ms", "--health-retries", "1")
    body = {"Test": ["CMD", "nothing-there"], "Interval": 100_000_000, "Retries": 1}
    status, made = engine.request(
        "POST", "/containers/create?name=box", {"Image": "plain", "Cmd": ["sleep", "99"], "Healthcheck": body}
    )
    assert status == 201 and made["Warnings"] == []
    engine.docker("start", "box")
    changes("unhealthy")
    last = health(engine, "box")["Log"][-1]
    assert last["ExitCode"] == -1 and 'exec: "nothing-there": executable file not found in $PATH' in last["Output"]
    engine.run("--name", "loud", *often, "--health-cmd", "yes | head -c 9999", "plain", "sleep", "99")
    changes("healthy")
    assert health(engine, "loud")["Log"][-1]["Output"] == "y\n" * 2048 + "..."


def test_the_images_check_and_who_does_without(engine: Place, changes: Callable[[str], None]) -> None:
    engine.run("--name", "box", *CHECK, "plain", "sh", "-c", "echo >/state; sleep 99")
    changes("healthy")
    engine.docker("restart", "-t", "0", "box")  # another run, another answer
    changes("healthy")
    engine.docker("stop", "-t", "0", "box")
    assert health(engine, "box")["Status"] == "healthy"
    engine.run("--name", "none", "--no-healthcheck", "plain", "sleep", "99")
    found = engine.inspect("none")
    assert found["Config"]["Healthcheck"] == {"Test": ["NONE"]} and "Health" not in found["State"]


def test_the_next_daemon_goes_on(engine: Place, changes: Callable[[str], None]) -> None:
    engine.run("--name", "box", *CHECK, "plain", "sh", "-c", "echo >/state; sleep 99")
    changes("healthy")
    engine.restart()
    assert health(engine, "box")["Status"] == "healthy"
    stream = engine.api.events(decode=True, filters={"event": "health_status"})
    set_state(engine, "exit 1")
    assert next(iter(stream))["Action"] == "health_status: unhealthy"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"Test": ["CMD", "x"], "Interval": 5}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Test": ["HTTP", "x"]}, "unknown healthcheck type"),
        ({"Test": "x"}, "invalid request"),
        ({"Test": ["CMD", "x"], "Retries": -1}, "Retries in Healthcheck cannot be negative"),
    ],
)
def test_refused(engine: Place, check: Any, text: str) -> None:
    status, answer = engine.request("POST", "/containers/create", {"Image": "plain", "Healthcheck": check})
    assert status == 400 and text in answer["message"]
