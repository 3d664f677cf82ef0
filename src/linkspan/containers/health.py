"""Health checks: when a container is looked at, and what follows from what it answers.

A container that has a check starts as `starting`. The first success makes it healthy; so many failures in a row make it
unhealthy, except that those within the start period count nothing as long as there was no success.
"""

from __future__ import annotations

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.container import Container
from linkspan.model.health import Health, Healthcheck, Probe

OUTPUT = 4096  # bytes of a command's output that are kept
_KEPT = 5  # looks in the log
_INTERVAL, _TIMEOUT, _START_INTERVAL = 30.0, 30.0, 5.0  # seconds, where nothing is said
_RETRIES = 3
_SHELL = ("/bin/sh", "-c")
_SECOND = 1_000_000_000
_SHORTEST = 1_000_000  # nanoseconds


def merged(asked: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """The image's check, with what the user says instead. Raises InvalidArgument with Docker's words."""
    if asked is None:
        return image
    _check(asked)
    if image is None:
        return asked
    return Healthcheck(
        test=asked.test or image.test,
        interval=asked.interval or image.interval,
        timeout=asked.timeout or image.timeout,
        start_period=asked.start_period or image.start_period,
        start_interval=asked.start_interval or image.start_interval,
        retries=asked.retries or image.retries,
    )


def _check(asked: Healthcheck) -> None:
    kind, *words = asked.test or ("NONE",)
    if kind not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f"unknown healthcheck type {kind!r}: it is NONE, CMD or CMD-SHELL")
    if kind != "NONE" and not words:
        raise InvalidArgument(f"the healthcheck {kind} needs a command")
    for name, value in (
        ("Interval", asked.interval),
        ("Timeout", asked.timeout),
        ("StartPeriod", asked.start_period),
        ("StartInterval", asked.start_interval),
    ):
        if value and value < _SHORTEST:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if asked.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def command(container: Container) -> tuple[str, ...]:
    """What is run in the container to look at it; () where nothing is."""
    check = container.config.healthcheck
    kind, *words = (check.test if check else None) or ("NONE",)
    match kind:
        case "CMD":
            return tuple(words)
        case "CMD-SHELL":
            return (*(container.config.shell or _SHELL), *words)
    return ()


def beginning(container: Container) -> Health | None:
    """At each start; the looks of an earlier run stay to be seen until new ones take their places."""
    if not command(container):
        return None
    return Health(log=container.state.health.log if container.state.health else ())


def delay(container: Container, ran: float) -> float:
    """Seconds until the next look, from the end of the last one; `ran` is how long the container has run."""
    check = container.config.healthcheck or Healthcheck()
    interval = check.interval / _SECOND or _INTERVAL
    left = check.start_period / _SECOND - ran
    if left <= 0:
        return interval
    if left < interval:  # when the start period is over, it is looked at once
        return left
    starting = container.state.health is None or container.state.health.status == "starting"
    return min(left, check.start_interval / _SECOND or _START_INTERVAL) if starting else interval


def timeout(container: Container) -> float:
    """Seconds that a look may take."""
    check = container.config.healthcheck or Healthcheck()
    return check.timeout / _SECOND or _TIMEOUT


def observed(container: Container, probe: Probe, ran: float) -> Container:
    """`ran` is how long the container had run when the look began, in seconds."""
    check, before = container.config.healthcheck or Healthcheck(), container.state.health or Health()
    status, streak = before.status, before.failing_streak
    if probe.exit_code == 0:
        status, streak = "healthy", 0
    elif status != "starting" or ran >= check.start_period / _SECOND:
        streak += 1
        if streak >= (check.retries or _RETRIES):
            status = "unhealthy"
    health = Health(status=status, failing_streak=streak, log=(*before.log, probe)[-_KEPT:])
    return msgspec.structs.replace(container, state=msgspec.structs.replace(container.state, health=health))
