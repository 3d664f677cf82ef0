"""What ends a command early: a text for standard error, and an exit status."""

from __future__ import annotations


class Failure(Exception):
    """The command cannot go on. `str(failure)` is what the user reads, "" for nothing; `status` is the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class UsageError(Failure):
    """The command line itself is wrong; the verb's usage line is shown along with it."""


class EngineError(Failure):
    """The daemon answered with an error; `http_status` is its HTTP status, `reason` its own words."""

    def __init__(self, http_status: int, reason: str) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.http_status = http_status
        self.reason = reason
