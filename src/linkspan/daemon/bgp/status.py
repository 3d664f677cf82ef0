"""How this host's BGP stands, for people."""

from __future__ import annotations

import dataclasses

from linkspan.engine.bgp.neighbours import Neighbour
from linkspan.engine.bgp.plan import Plan
from linkspan.engine.bgp.words import Session


@dataclasses.dataclass(frozen=True, slots=True)
class SessionView:
    """`session` is None where BIRD has said nothing of it, as it is not ours to ask, or does not run. `gone` is how
    often it was lost in the last five minutes."""

    neighbour: Neighbour
    session: Session | None
    gone: int


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A prefix that is this host's own, and whoever announces it all the same."""

    prefix: str
    by: str


@dataclasses.dataclass(frozen=True, slots=True)
class BgpView:
    """`plan` is None where nothing needs BGP. `trouble` says why it is not as planned, `problems` what of it cannot
    be."""

    mode: str
    plan: Plan | None
    folder: str
    trouble: str
    problems: tuple[str, ...]
    sessions: tuple[SessionView, ...]
    refused: tuple[Refused, ...]
    restarts: int
