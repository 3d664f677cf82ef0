"""What a step is: a command that is typed, what must show, and the check that looks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.stage import Stage


class Wrong(Exception):
    """What was seen is not what was expected. The text says what was seen."""


class Hopeless(Wrong):
    """What was seen is wrong, and will not become right by waiting."""


class Unsupported(Hopeless):
    """What the section is about needs what this kernel or machine lacks. The text says what."""


@dataclass(frozen=True)
class Output:
    """What a typed command came to."""

    status: int
    out: str
    err: str

    @property
    def both(self) -> str:
        """Everything that was printed."""
        return "\n".join(text.strip() for text in (self.out, self.err) if text.strip())


def published(output: Output) -> list[str]:
    """The lines of `docker port`. Older clients (Debian 12 has 20.10) write `:::80` for `[::]:80`."""
    return [re.sub(r"(^|(?<= )):::(?=\d+$)", "[::]:", line) for line in output.out.splitlines()]


# Looks at what the command printed, and at whatever else it likes; returns what was seen, or raises Wrong.
Check = Callable[["Stage", Output], str]


@dataclass(frozen=True)
class Step:
    """One command and what must show.

    The command is a line of shell in which `docker` stands for the client. With `within`, it is typed again until the
    check holds or so many seconds are over: for what needs time to come up, and for commands that change nothing.
    Where `vital`, the rest of the section has no sense without it. `claim` is the column of a table that it stands for.
    """

    command: str
    expect: str
    check: Check
    where: str = ""  # a host of the stage, or another machine: the first host, where none is named
    within: float = 0
    vital: bool = False
    claim: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the scenario, with the containers of its own. `before` and `after` are no steps."""

    number: int
    title: str
    steps: Sequence[Step]
    before: Callable[[Stage], None] | None = None
    after: Callable[[Stage], None] | None = None


@dataclass(frozen=True)
class Result:
    """How a step went."""

    step: Step
    held: bool
    seen: str
    seconds: float
    unsupported: bool = False


def run_step(stage: Stage, step: Step) -> Result:
    """Types the command and checks it, until it holds or its time is over."""
    began = time.monotonic()
    while True:
        hopeless = unsupported = False
        try:
            output = stage.type(step.command, where=step.where)
            seen, held = step.check(stage, output), True
        except Wrong as wrong:
            seen, held = str(wrong), False
            hopeless, unsupported = isinstance(wrong, Hopeless), isinstance(wrong, Unsupported)
        except Exception as error:  # a check that stumbles over what it sees is a step that does not hold
            seen, held = f"{type(error).__name__}: {error}", False
        seconds = time.monotonic() - began
        if held or hopeless or seconds > step.within:
            return Result(step, held, seen, seconds, unsupported)
        time.sleep(0.1)


# --- claims: checks of what a command printed -----------------------------------------------------------------------


def prints(*patterns: str) -> Check:
    """The command succeeds and its output matches every pattern; what was seen are the lines that match."""

    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        lines = []
        for pattern in patterns:
            found = re.search(pattern, output.both, re.MULTILINE)
            if found is None:
                raise Wrong(shortened(output.both))
            whole = output.both
            start = whole.rfind("\n", 0, found.start()) + 1
            end = whole.find("\n", found.end())
            lines.append(whole[start : len(whole) if end < 0 else end].strip())
        return "\n".join(dict.fromkeys(lines))

    return check


def prints_exactly(text: str) -> Check:
    """The command succeeds and prints this and nothing else on its standard output."""

    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        if output.out.strip() != text:
            raise Wrong(shortened(output.both) or "nothing")
        return output.out.strip()

    return check


def fails_with(*patterns: str) -> Check:
    """The command fails and says so in words that match each pattern."""

    def check(stage: Stage, output: Output) -> str:
        if output.status == 0:
            raise Wrong(f"it succeeded: {shortened(output.both)}")
        for pattern in patterns:
            if not re.search(pattern, output.both):
                raise Wrong(shortened(output.both))
        return shortened(output.both)

    return check


def works(stage: Stage, output: Output) -> str:
    """The command succeeds."""
    succeeded(output)
    return shortened(output.both) or "done"


def prints_an_id(stage: Stage, output: Output) -> str:
    """The command prints a container's id, 64 hexadecimal digits, and nothing else on its standard output."""
    succeeded(output)
    if not re.fullmatch(r"[0-9a-f]{64}", output.out.strip()):
        raise Wrong(shortened(output.both) or "nothing")
    return output.out.strip()


def every(*checks: Check) -> Check:
    """All of the checks, in order."""

    def check(stage: Stage, output: Output) -> str:
        return "\n".join(one(stage, output) for one in checks)

    return check


def succeeded(output: Output) -> None:
    """Raises Wrong with what was printed if the command failed."""
    if output.status:
        raise Wrong(f"status {output.status}: {shortened(output.both)}")


def require(holds: bool, seen: object) -> None:
    """Raises Wrong with what was seen if it does not hold."""
    if not holds:
        raise Wrong(str(seen))


def shortened(text: str, most: int = 600) -> str:
    """The text, with its middle left out if it is long."""
    text = text.strip()
    return text if len(text) <= most else text[: most // 2] + "\n…\n" + text[-most // 2 :]
