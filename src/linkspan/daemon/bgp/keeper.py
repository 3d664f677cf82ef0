"""What follows from the records for this host's BGP, made so, as often as they change.

Routes to other hosts are BIRD's: it puts them into the kernel and takes them out. When nobody needs BGP any more, BIRD
ends, and then its routes go, which it leaves behind so that a restart of it interrupts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from linkspan.daemon.bgp.bird import PROTOCOL, Bird
from linkspan.daemon.bgp.status import BgpView, Refused, SessionView
from linkspan.engine.bgp.bird import FIRST_WAIT, METRIC, bird_conf
from linkspan.engine.bgp.frr import frr_conf
from linkspan.engine.bgp.gobgp import gobgp_conf, gobgp_prefixes
from linkspan.engine.bgp.plan import Plan, plan
from linkspan.engine.bgp.resources import Resources, Secrets, resources
from linkspan.engine.bgp.words import SESSIONS, SESSIONS_AND_ROUTES, Session, parse_refused, parse_sessions, refused
from linkspan.errors import LinkspanError
from linkspan.kernel.contract import Kernel
from linkspan.model.bgp import SecretKey
from linkspan.model.cluster import Host
from linkspan.model.snapshot import Snapshot

log = logging.getLogger(__name__)
_LOOK = 5.0  # seconds between two looks at the sessions
_SILENT = "no answer: with another password there is none"  # the kernel drops what is signed otherwise
_PAUSE = 2.0  # seconds before what failed is tried again
_FILES = {"frr.conf": frr_conf, "gobgpd.toml": gobgp_conf, "gobgp.prefixes": gobgp_prefixes}
Run = Callable[[Callable[[Kernel], object]], Awaitable[object]]


class Keeper:
    def __init__(
        self,
        mode: str,
        folder: Path,
        secrets: Path,
        own: Callable[[], Host],
        *,
        now: Callable[[], Snapshot],
        run: Run,
    ) -> None:
        """`mode` is bird or external; `own` is this host as the others know it. `folder` is for the configuration,
        `secrets` that with the hosts' secrets; `run` runs a function of the kernel in its thread."""
        self.mode, self._own = mode, own
        self._folder, self._secrets, self._now, self._kernel = folder, secrets, now, run
        self.bird = Bird(folder)
        self._stirred = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._plan: Plan | None = None
        self._loaded = ""  # the configuration that BIRD has
        self._said: dict[str, None] = {}  # problems, each said once
        self._trouble = ""
        self._asked = 0  # which BIRD has been asked, by its process id
        self._known: dict[str, Session] = {}
        self._refused: dict[Refused, None] = {}

    def start(self) -> None:
        self._stirred.set()
        self._tasks = [asyncio.create_task(self._follow())]
        if self.mode == "bird":
            self._tasks.append(asyncio.create_task(self._watch()))
        for task in self._tasks:
            task.add_done_callback(_say_failure)

    def follow(self, before: Snapshot, after: Snapshot) -> None:
        """The records have changed; not every change is of interest."""
        if any(a is not b for a, b in zip(_read(before), _read(after), strict=True)):
            self._stirred.set()

    def look_again(self) -> None:
        """What this host says of itself has changed: its labels."""
        self._stirred.set()

    async def close(self) -> None:
        """Lets go: BIRD goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bird.let_go()

    # -- making it so -------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        if self.mode != "bird":
            await end_bird(self.bird, self._kernel)
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            try:
                await self._settle()
                self._trouble = ""
            except (LinkspanError, OSError, TimeoutError) as error:
                why = str(error) or "BIRD does not start"
                if why != self._trouble:
                    log.error("BGP: %s", why)
                self._trouble = why
                self._stirred.set()
                await asyncio.sleep(_PAUSE)

    async def _settle(self) -> None:
        snapshot = self._now()
        wanted = plan(snapshot, self._own(), self._read_secrets(resources(snapshot)))
        self._say(wanted.problems if wanted else ())
        self._plan = wanted = wanted if wanted and wanted.needed else None
        if self.mode == "external":
            self._write_for_others(wanted)
        elif wanted:
            await self._configure(wanted)
        else:
            await self._end()

    def _say(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            if problem not in self._said:
                log.error("BGP: %s", problem)
        self._said = dict.fromkeys(problems)

    async def _configure(self, wanted: Plan) -> None:
        text = bird_conf(wanted)
        if text == self._loaded:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.bird.check(text)
        running = self.bird.now() is not None
        # Where there is nothing to keep until the peers have spoken, one that is away would only hold it up.
        first = not running and not await self._learned()
        self.bird.write(bird_conf(wanted, wait=FIRST_WAIT) if first else text)
        await self.bird.start()
        if running:
            await self.bird.configure()
        if first:
            self.bird.write(text)
        self._loaded = text

    async def _end(self) -> None:
        await end_bird(self.bird, self._kernel)
        self._loaded = ""
        self._known, self._refused = {}, {}

    async def _learned(self) -> bool:
        return bool(await self._kernel(lambda kernel: kernel.learned(PROTOCOL, METRIC)))

    def _write_for_others(self, wanted: Plan | None) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, render in _FILES.items():
            path, text = self._folder / name, render(wanted) if wanted else ""
            if not text:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_text() != text:
                new = path.with_suffix(".new")
                new.touch(0o600)
                new.write_text(text)
                new.replace(path)

    def _read_secrets(self, said: Resources) -> Secrets:
        found: dict[SecretKey, str] = {}
        for secret in said.secrets():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found[secret] = (self._secrets / secret.name / secret.key).read_text().strip()
        return found

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Says what happens to the sessions."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._plan and self._loaded:
                with contextlib.suppress(LinkspanError):
                    await self._look(SESSIONS)

    async def _look(self, question: str) -> None:
        sessions = {session.name: session for session in parse_sessions(await self.bird.ask(question))}
        if (process := self.bird.now()) and process.pid != self._asked:
            self._asked, self._known = process.pid, {}  # that another one's sessions have gone says nothing of peers
        names = {neighbour.name: neighbour for neighbour in self._plan.neighbours} if self._plan else {}
        for name, session in sessions.items():
            before, neighbour = self._known.get(name), names.get(name)
            if neighbour is None:
                continue
            who, why = f"BGP: {neighbour.said} ({neighbour.address})", session.trouble or "it says nothing"
            if before and before.up and not session.up:
                log.warning("%s is no peer any more: %s", who, why)
            elif before and before.up and session.is_another_than(before):
                log.warning("%s was no peer for a moment: %s", who, why)
            elif session.up and not (before and before.up):
                log.info("%s is a peer", who)
            elif not session.up and session.trouble and (before is None or session.trouble != before.trouble):
                log.warning("%s is no peer: %s", who, why)
        found: dict[Refused, None] = {}
        for version in self._plan.versions if self._plan else ():
            for prefix, name in parse_refused(await self.bird.ask(refused(version))):
                by = names[name].said if name in names else name
                found[Refused(prefix, by)] = None
        for one in found:
            if one not in self._refused:
                log.error("BGP: %s announces %s, which is this host's own: it is not taken", one.by, one.prefix)
        self._known, self._refused = sessions, found

    async def view(self) -> BgpView:
        """Raises nothing: what is wrong is part of it."""
        trouble = self._trouble
        if self.mode == "bird" and self._plan and self._loaded:
            try:
                await self._look(SESSIONS_AND_ROUTES)
            except LinkspanError as error:
                trouble = trouble or str(error)
        return BgpView(
            self.mode,
            self._plan,
            str(self._folder),
            trouble,
            tuple(self._said),
            tuple(self._sessions()),
            tuple(self._refused),
            running.restarts if (running := self.bird.now()) else 0,
        )

    def _sessions(self) -> Iterator[SessionView]:
        for neighbour in self._plan.neighbours if self._plan else ():
            session = self._known.get(neighbour.name)
            if session and not session.up and neighbour.password and not session.trouble:
                session = dataclasses.replace(session, trouble=_SILENT)
            yield SessionView(neighbour, session)


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("BGP is not looked after any more", exc_info=error)


async def end_bird(bird: Bird, run: Run) -> None:
    """Where one is looked after, by this daemon or an earlier one: it ends, and its routes go."""
    if bird.configuration.exists():
        await bird.end()
        await run(lambda kernel: kernel.forget(PROTOCOL, METRIC))
        bird.forget()


def _read(s: Snapshot) -> tuple[object, ...]:
    """What a plan is made of."""
    said = s.bgp_configurations, s.bgp_peers, s.bgp_filters, s.ip_pools
    return s.networks, s.hosts, s.blocks, s.endpoints, s.remotes, *said
