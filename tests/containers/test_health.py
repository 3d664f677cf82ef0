"""When a container is looked at, and what its answers make of it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.containers import health, lifecycle
from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, Container, HostConfig
from linkspan.model.health import Healthcheck, Probe

SECOND = 1_000_000_000
CHECK = Healthcheck(test=("CMD-SHELL", "true"), interval=10 * SECOND, retries=2, start_period=60 * SECOND)


def running(check: Healthcheck | None = CHECK, shell: tuple[str, ...] | None = None) -> Container:
    config = Config(healthcheck=check, shell=shell)
    made = Container(id="c", name="web", created="", image_id="", config=config, host_config=HostConfig())
    return lifecycle.started(made, 42, "2026-01-01T00:00:00.000000000Z")


def look(container: Container, code: int, ran: float = 99.0) -> Container:
    return health.observed(container, Probe(start="", end="", exit_code=code, output=""), ran)


def status(container: Container) -> tuple[str, int]:
    assert container.state.health
    return container.state.health.status, container.state.health.failing_streak


def test_from_starting_to_healthy_to_unhealthy_and_back() -> None:
    seen = [status(container := running())]
    for code in (0, 1, 0, -1, 1, 7, 0):
        container = look(container, code)
        seen.append(status(container))
    assert seen == [
        ("starting", 0),
        ("healthy", 0),
        ("healthy", 1),
        ("healthy", 0),
        ("healthy", 1),
        ("unhealthy", 2),
        ("unhealthy", 3),
        ("healthy", 0),
    ]


def test_the_start_period_forgives_until_the_first_success() -> None:
    early = look(look(look(running(), 1, 10), 1, 20), 1, 59.9)
    assert status(early) == ("starting", 0)
    assert status(look(look(early, 1, 60), 1, 70)) == ("unhealthy", 2)
    assert status(look(look(running(), 0, 1), 1, 2)) == ("healthy", 1)


def test_a_start_is_a_new_beginning() -> None:
    ended = lifecycle.exited(look(look(running(), 1), 1), 0, "2026-01-01T00:01:00Z", oom=False)
    assert status(ended) == ("unhealthy", 2)
    again = lifecycle.started(ended, 43, "2026-01-01T00:02:00Z")
    assert status(again) == ("starting", 0) and again.state.health and len(again.state.health.log) == 2


@given(st.lists(st.integers(-1, 2)))
def test_any_answers(codes: list[int]) -> None:
    container = running()
    for code in codes:
        container = look(container, code)
        assert container.state.health and [p.exit_code for p in container.state.health.log][-1] == code
        assert len(container.state.health.log) <= 5
    expected, streak = status(container)
    assert (streak == 0) == (not codes or codes[-1] == 0)
    assert expected == ("unhealthy" if streak >= 2 else "healthy" if 0 in codes else "starting")


@pytest.mark.parametrize(
    ("check", "healthy", "ran", "seconds"),
    [
        (Healthcheck(test=("CMD", "true")), False, 0, 30),
        (CHECK, False, 0, 5),  # the start interval of who says none
        (CHECK, True, 0, 10),
        (CHECK, False, 57, 3),  # the end of the start period
        (CHECK, True, 57, 3),
        (CHECK, False, 60, 10),
        (msgspec.structs.replace(CHECK, start_interval=SECOND // 2), False, 1, 0.5),
    ],
)
def test_when_it_is_looked_at_next(check: Healthcheck, healthy: bool, ran: float, seconds: float) -> None:
    container = look(running(check), 0) if healthy else running(check)
    assert health.delay(container, ran) == pytest.approx(seconds)


def test_what_is_run() -> None:
    assert health.command(running()) == ("/bin/sh", "-c", "true")
    assert health.command(running(shell=("/bin/ash", "-ec"))) == ("/bin/ash", "-ec", "true")
    assert health.command(running(Healthcheck(test=("CMD", "a", "b")))) == ("a", "b")
    for nothing in (None, Healthcheck(), Healthcheck(test=()), Healthcheck(test=("NONE",))):
        assert health.command(running(nothing)) == () and running(nothing).state.health is None
    assert health.timeout(running()) == 30
    assert health.timeout(running(msgspec.structs.replace(CHECK, timeout=SECOND // 10))) == pytest.approx(0.1)


def test_a_user_changes_the_images_check() -> None:
    assert health.merged(None, CHECK) == CHECK and health.merged(CHECK, None) == CHECK
    assert health.merged(Healthcheck(retries=9), CHECK) == msgspec.structs.replace(CHECK, retries=9)
    none = health.merged(Healthcheck(test=("NONE",)), CHECK)
    assert none and none.test == ("NONE",)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (Healthcheck(test=("HTTP", "/")), "unknown healthcheck type 'HTTP'"),
        (Healthcheck(test=("CMD",)), "needs a command"),
        (Healthcheck(interval=1000), "Interval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(timeout=-1 * SECOND), "Timeout in Healthcheck cannot be less than 1ms"),
        (Healthcheck(start_period=1), "StartPeriod in Healthcheck cannot be less than 1ms"),
        (Healthcheck(start_interval=1), "StartInterval in Healthcheck cannot be less than 1ms"),
        (Healthcheck(retries=-1), "Retries in Healthcheck cannot be negative"),
    ],
)
def test_what_makes_no_sense(check: Healthcheck, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        health.merged(check, CHECK)
