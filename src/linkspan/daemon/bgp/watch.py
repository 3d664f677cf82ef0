"""What becomes of the sessions: asked of BIRD, said in the log, remembered for who asks."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterator

from linkspan.daemon.bgp.bird import Bird
from linkspan.daemon.bgp.status import Refused, SessionView
from linkspan.engine.bgp.neighbours import Neighbour
from linkspan.engine.bgp.plan import Plan
from linkspan.engine.bgp.words import SESSIONS, SESSIONS_AND_ROUTES, Session, parse_refused, parse_sessions, refused

log = logging.getLogger(__name__)
_SILENT = "no answer: with another password there is none"  # the kernel drops what is signed otherwise
_SPAN = 300.0  # seconds in which goings are counted
_MANY = 3  # after so many of them a peer flaps: its comings and goings are not said any more


class Watch:
    def __init__(self, bird: Bird) -> None:
        self._bird = bird
        self._lock = asyncio.Lock()
        self._asked = 0  # which BIRD has been asked, by its process id
        self._known: dict[str, Session] = {}
        self._gone: dict[str, deque[float]] = {}  # when sessions were lost lately, by name
        self.refused: tuple[Refused, ...] = ()

    async def look(self, plan: Plan, *, routes: bool = False) -> None:
        """Says what has changed. With `routes` it is asked how many each session has, too. Raises Unavailable,
        Internal."""
        async with self._lock:
            said = await self._bird.ask(SESSIONS_AND_ROUTES if routes else SESSIONS)
            sessions = {session.name: session for session in parse_sessions(said)}
            if (process := self._bird.now()) and process.pid != self._asked:
                self._asked, self._known = (
                    process.pid,
                    {},
                )  # that another one's sessions have gone says nothing of peers
            neighbours = {neighbour.name: neighbour for neighbour in plan.neighbours}
            for name in sessions.keys() & neighbours.keys():
                self._say(neighbours[name], self._known.get(name), sessions[name])
            found = [
                Refused(prefix, neighbours[name].said if name in neighbours else name)
                for version in plan.versions
                for prefix, name in parse_refused(await self._bird.ask(refused(version)))
            ]
            for one in found:
                if one not in self.refused:
                    log.error("BGP: %s announces %s, which is this host's own: it is not taken", one.by, one.prefix)
            self._known, self.refused = sessions, tuple(found)

    def forget(self) -> None:
        """There is no BIRD any more."""
        self._known, self._gone, self.refused = {}, {}, ()

    def sessions(self, plan: Plan) -> Iterator[SessionView]:
        for neighbour in plan.neighbours:
            session = self._known.get(neighbour.name)
            if session and not session.up and neighbour.password and not session.trouble:
                session = dataclasses.replace(session, trouble=_SILENT)
            yield SessionView(neighbour, session, len(self._lately(neighbour.name)))

    def _say(self, neighbour: Neighbour, before: Session | None, session: Session) -> None:
        who, why = f"BGP: {neighbour.said} ({neighbour.address})", session.trouble or "it says nothing"
        came = session.up and not (before and before.up)
        went = before is not None and before.up and (not session.up or session.is_another_than(before))
        lately = self._lately(neighbour.name)
        if went:
            self._gone.setdefault(neighbour.name, lately).append(time.monotonic())
        if len(lately) > _MANY:
            return
        if went and len(lately) == _MANY:
            log.error("%s flaps: it has gone %d times in five minutes, the last time: %s", who, _MANY, why)
        elif went:
            log.warning("%s %s: %s", who, "was no peer for a moment" if session.up else "is no peer any more", why)
        elif came:
            log.info("%s is a peer", who)
        elif not session.up and session.trouble and (before is None or session.trouble != before.trouble):
            log.warning("%s is no peer: %s", who, why)

    def _lately(self, name: str) -> deque[float]:
        gone = self._gone.get(name, deque())
        while gone and gone[0] < time.monotonic() - _SPAN:
            gone.popleft()
        return gone
