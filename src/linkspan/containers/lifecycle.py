"""The states of a container and how it gets from one to another.

Docker's clients print and filter by these words, so there are no others. A container that is between two of them (its
network is up, its process is not yet) has the old one: the daemon's lock on it keeps everybody else out meanwhile.
"""

from __future__ import annotations

import msgspec

from linkspan.containers import health
from linkspan.errors import Conflict, NotModified
from linkspan.model.container import Container, RestartPolicy, State

# (status, verb) → status after it. What is not here is refused, with the words below.
TRANSITIONS = {
    ("created", "start"): "running",
    ("exited", "start"): "running",
    ("dead", "start"): "running",
    ("restarting", "start"): "running",
    ("running", "pause"): "paused",
    ("paused", "unpause"): "running",
    ("running", "exit"): "exited",
    ("paused", "exit"): "exited",
    ("exited", "await restart"): "restarting",
    ("restarting", "stop"): "exited",
    # A start that failed leaves the container as it was, with the reason.
    ("created", "fail"): "created",
    ("exited", "fail"): "exited",
    ("dead", "fail"): "dead",
    ("restarting", "fail"): "exited",
}

MINIMUM_DELAY = 0.1  # seconds before the first restart; doubled at each one
MAXIMUM_DELAY = 60.0
HEALTHY_RUN = 10.0  # seconds after which a run counts as good, and the delay starts anew


def after(container: Container, verb: str) -> str:
    """The status that `verb` leads to. Raises Conflict or NotModified where it makes no sense."""
    status = container.state.status
    if found := TRANSITIONS.get((status, verb)):
        return found
    if verb == "start" and status == "running":
        raise NotModified(f"container {container.name} is already running")
    if verb == "start" and status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead")
    if verb == "pause" and status == "paused":
        raise Conflict(f"Container {container.id} is already paused")
    if verb == "unpause" and status == "running":
        raise Conflict(f"Container {container.id} is not paused")
    raise Conflict(f"container {container.id} is not running" if verb != "start" else f"container is {status}")


def started(container: Container, pid: int, now: str) -> Container:
    state = State(
        status=after(container, "start"),
        pid=pid,
        started_at=now,
        finished_at=container.state.finished_at,
        health=health.beginning(container),
    )
    return msgspec.structs.replace(container, state=state, stopped_by_user=False)


def ending(container: Container, code: int, now: str, *, oom: bool) -> Container:
    """Its process has ended, and what it held is still being taken away: how it ended is known from now on."""
    state = msgspec.structs.replace(container.state, exit_code=code, finished_at=now, oom_killed=oom)
    return msgspec.structs.replace(container, state=state)


def ending_known(container: Container) -> bool:
    """Whether `ending` was recorded of this run. Times are text of one form, so that they compare as text."""
    return container.state.running and container.state.finished_at > container.state.started_at


def exited(container: Container, code: int, now: str, *, oom: bool) -> Container:
    state = msgspec.structs.replace(
        container.state, status=after(container, "exit"), pid=0, exit_code=code, finished_at=now, oom_killed=oom
    )
    return msgspec.structs.replace(container, state=state)


def failed(container: Container, error: str, code: int) -> Container:
    """A start that did not come about: the reason and the exit status that Docker's client shows for it."""
    state = msgspec.structs.replace(
        container.state, status=after(container, "fail"), error=error, exit_code=code, pid=0
    )
    return msgspec.structs.replace(container, state=state)


def restarts(policy: RestartPolicy, code: int, count: int, *, stopped_by_user: bool) -> bool:
    """Whether a container that ended with `code`, after `count` restarts already, is started again by itself."""
    match policy.name:
        case "always" | "unless-stopped":
            return not stopped_by_user
        case "on-failure":
            allowed = policy.maximum_retry_count == 0 or count < policy.maximum_retry_count
            return code != 0 and allowed and not stopped_by_user
    return False


def starts_at_boot(container: Container) -> bool:
    """Whether a container that does not run when the daemon starts is to be started."""
    match container.host_config.restart_policy.name:
        case "always":
            return container.state.status != "created"
        case "unless-stopped":
            return container.state.status != "created" and not container.stopped_by_user
        case "on-failure":
            # What ran when the machine went down has been recorded as exited, with a code of failure, by now.
            state, policy = container.state, container.host_config.restart_policy
            return state.status == "restarting" or (
                state.status == "exited"
                and restarts(
                    policy, state.exit_code, container.restart_count, stopped_by_user=container.stopped_by_user
                )
            )
    return False


def restart_delay(previous: float, ran: float) -> float:
    """Seconds to wait before the next start, from the delay before the last one and the seconds that it then ran."""
    return MINIMUM_DELAY if ran >= HEALTHY_RUN or previous == 0 else min(previous * 2, MAXIMUM_DELAY)
