"""Whether what runs in a container does its work: what is asked of it, and what it has answered."""

from __future__ import annotations

from linkspan.model.wire import Wire


class Healthcheck(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """HEALTHCHECK of an image, `--health-*` of a container. Times in nanoseconds; 0 is "not said"."""

    test: tuple[str, ...] | None = None  # ("NONE",), ("CMD", program, …) or ("CMD-SHELL", line)
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Probe(Wire, frozen=True, kw_only=True):
    """One look. `exit_code` is -1 where the command did not come to its end."""

    start: str  # RFC 3339
    end: str
    exit_code: int
    output: str


class Health(Wire, frozen=True, kw_only=True):
    """`status` is starting, healthy or unhealthy; `log` has the latest looks, oldest first."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()
