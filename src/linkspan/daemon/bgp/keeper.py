"""What follows from the records for this host's BGP, made so, as often as they change.

Routes to other hosts are BIRD's: it puts them into the kernel and takes them out. When nobody needs BGP any more, BIRD
ends, and then its routes go, which it leaves behind so that a restart of it interrupts nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from linkspan.daemon.background import Background
from linkspan.daemon.bgp.bird import PROTOCOL, Bird
from linkspan.daemon.bgp.status import BgpView
from linkspan.daemon.bgp.watch import Watch
from linkspan.engine.bgp.bird import FIRST_WAIT, METRIC, bird_conf
from linkspan.engine.bgp.frr import frr_conf
from linkspan.engine.bgp.gobgp import gobgp_conf, gobgp_prefixes
from linkspan.engine.bgp.plan import Plan, plan
from linkspan.engine.bgp.resources import Resources, Secrets, resources
from linkspan.errors import LinkspanError
from linkspan.kernel.contract import Kernel
from linkspan.model.bgp import SecretKey
from linkspan.model.cluster import Host
from linkspan.model.snapshot import Snapshot

log = logging.getLogger(__name__)
_LOOK = 5.0  # seconds between two looks at the sessions
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
        self._background = Background()
        self._plan: Plan | None = None
        self._loaded = ""  # the configuration that BIRD has
        self._said: dict[str, None] = {}  # problems, each said once
        self._trouble = ""
        self._watch = Watch(self.bird)

    def start(self) -> None:
        self._stirred.set()
        self._background.keep(self._follow)
        if self.mode == "bird":
            self._background.keep(self._keep_looking)

    def follow(self, before: Snapshot, after: Snapshot) -> None:
        """The records have changed; not every change is of interest."""
        if any(a is not b for a, b in zip(_read(before), _read(after), strict=True)):
            self._stirred.set()

    def look_again(self) -> None:
        """What no record says may have changed: this host's labels, secrets."""
        self._stirred.set()

    async def close(self) -> None:
        """Lets go: BIRD goes on."""
        await self._background.end()
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
        self._watch.forget()

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

    async def _keep_looking(self) -> None:
        """Says what happens to the sessions."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._plan and self._loaded:
                with contextlib.suppress(LinkspanError):
                    await self._watch.look(self._plan)

    async def view(self) -> BgpView:
        """Raises nothing: what is wrong is part of it."""
        trouble = self._trouble
        if self.mode == "bird" and self._plan and self._loaded:
            try:
                await self._watch.look(self._plan, routes=True)
            except LinkspanError as error:
                trouble = trouble or str(error)
        return BgpView(
            self.mode,
            self._plan,
            str(self._folder),
            trouble,
            tuple(self._said),
            tuple(self._watch.sessions(self._plan)) if self._plan else (),
            self._watch.refused,
            running.restarts if (running := self.bird.now()) else 0,
        )


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
