"""This host's lease of a flannel network, held for as long as we run, and everybody else's, as they are now.

A lease that was lost while we could not see it (etcd away for a day, somebody's delete) is taken again with the same
subnet if that is still free: containers have addresses of it. If it is somebody else's by then, it stays theirs, and
this host gets another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import Callable, Mapping, Sequence

from linkspan.daemon.flannel.registry import Entry, Listing, Registry
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, NotFound, Unavailable
from linkspan.ipam.flannel import choose_subnet, overlapping, reachable
from linkspan.model.flannel import TTL, FlannelConfig, Lease, lease_key
from linkspan.store.etcd.contract import Compacted
from linkspan.store.etcd.values import Changes, Event, Interrupted

log = logging.getLogger(__name__)
MARGIN = 3600.0  # seconds before a lease's end at which it is renewed
_AGAIN = 60.0  # seconds, after a renewal that failed
_PAUSES = (0.1, 0.5, 1.0, 5.0)  # seconds between attempts
_RACES = 100  # a lost race is nothing unusual: twenty hosts may start at once


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What a flannel network is for this host now. `others` are the leases that can be rendered."""

    config: FlannelConfig
    own: Lease
    others: tuple[Lease, ...] = ()


class Keeper:
    def __init__(
        self,
        registry: Registry,
        describe: Callable[[FlannelConfig], Lease],
        *,
        previous: tuple[str, str] = ("", ""),
        changed: Callable[[View], None],
        ttl: float = TTL,
        margin: float = MARGIN,
        pick: Callable[[int], int] = random.randrange,
    ) -> None:
        """`describe` is what this host says of itself in a lease, but for the subnets; `previous` are those that it
        had. `changed` is told of every change, from the first lease on.
        """
        self._registry, self._describe, self._changed, self._pick = registry, describe, changed, pick
        self._previous = previous
        self._ttl, self._margin = ttl, min(margin, ttl / 2)
        self._config: FlannelConfig | None = None
        self._own: Entry | None = None
        self._entries: dict[str, Entry] = {}
        self._renewal = 0.0  # when, by the loop's clock
        self._told: View | None = None
        self._wrong: tuple[str, ...] = ()
        self._said = ""
        self.first = asyncio.Event()  # there is a lease

    async def run(self) -> None:
        """Until cancelled. Waits for what is not there yet (etcd, its flannel config), and says so once."""
        failures = 0
        while True:
            try:
                self._config = await self._registry.config()
                await self._follow(self._config)
                failures = 0
            except Compacted:
                failures = 0  # read anew, at once
            except (Unavailable, NotFound, Conflict, InvalidArgument) as error:
                self._say(str(error))
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1
            except LinkspanError as error:
                log.error("flannel: %s", error)
                await asyncio.sleep(_PAUSES[-1])

    async def release(self) -> None:
        """Gives the lease back, also one that an earlier life of this host had; a reservation stays."""
        own = self._own or await self._left()
        if own and not own.lease.reserved:
            await self._registry.delete(own)
        self._own = None

    async def _left(self) -> Entry | None:
        try:
            address = self._describe(await self._registry.config()).public_ip
        except NotFound:
            return None
        entries = (await self._registry.list()).entries.values()
        return next((entry for entry in entries if entry.lease.public_ip == address), None)

    # --- one listing, and what comes after it

    async def _follow(self, config: FlannelConfig) -> None:
        revision = await self._acquire(config)
        self._said = ""
        async with contextlib.aclosing(self._registry.watch(revision)) as watch:
            waiting: asyncio.Future[object] | None = None
            try:
                while True:
                    waiting = waiting or asyncio.ensure_future(anext(watch))
                    left = max(0.0, self._renewal - asyncio.get_running_loop().time())
                    done, _ = await asyncio.wait({waiting}, timeout=left)
                    if not done:
                        if not await self._renew(config):
                            return
                        continue
                    told = waiting.result()
                    waiting = None
                    match told:
                        case Changes(events=events):
                            if not self._learn(events):
                                return
                            self._tell(config)
                        case Interrupted(reason=reason):
                            self._say(f"leases of other hosts are not heard of for now: {reason}")
                        case _:
                            self._said = ""
            finally:
                if waiting:
                    waiting.cancel()
                    with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, LinkspanError):
                        await waiting

    async def _acquire(self, config: FlannelConfig) -> int:
        """The revision from which to watch."""
        me = self._describe(config)
        for _ in range(_RACES):
            listing = await self._registry.list()
            leases = _in_order(listing.entries)
            choice = choose_subnet(config, leases, me.public_ip, self._previous, self._pick)
            for lease in choice.unfit:
                why = "another host had part of it before" if lease in overlapping(leases) else "the config forbids it"
                log.warning("flannel lease %s of this host is given up: %s", lease.subnet, why)
                await self._registry.delete(listing.entries[lease_key(lease)])
            reserved = choice.held is not None and choice.held.reserved
            wanted = dataclasses.replace(me, subnet=choice.subnet, subnet6=choice.subnet6, reserved=reserved)
            name = lease_key(wanted)
            if choice.held:
                written = await self._registry.rewrite(listing.entries[name], wanted)
            else:
                written = await self._registry.create(wanted)
            if written and (choice.held or not self._too_late(wanted, await self._registry.list())):
                return await self._have(config, wanted)
        raise Unavailable(f"{_RACES} attempts to get a flannel lease were each lost to another host")

    @staticmethod
    def _too_late(lease: Lease, listing: Listing) -> bool:
        """Whether another host had a part of what we have made before us: it is given up at the next look."""
        return lease in overlapping(_in_order(listing.entries))

    async def _have(self, config: FlannelConfig, lease: Lease) -> int:
        listing = await self._registry.list()
        self._entries = dict(listing.entries)
        self._own = self._entries.get(lease_key(lease))
        if self._own is None or self._own.lease != lease:
            raise Unavailable(f"flannel lease {lease.subnet} was lost as soon as it was had")
        if self._previous[0] not in ("", lease.subnet):
            log.error(
                "flannel: the subnet of this host was %s and is %s now: containers with addresses of the former are "
                "not reached from other hosts until they are started again",
                self._previous[0],
                lease.subnet,
            )
        elif self._told is None or self._told.own.subnet != lease.subnet:
            log.info("flannel: this host's subnet is %s", lease.subnet)
        self._previous = lease.subnet, lease.subnet6
        self._renewal = asyncio.get_running_loop().time() + self._ttl - self._margin
        self._tell(config)
        self.first.set()
        return listing.revision

    async def _renew(self, config: FlannelConfig) -> bool:
        """False where the lease is not ours any more, or is not as we know it: to be looked at anew."""
        assert self._own is not None
        try:
            if not await self._registry.rewrite(self._own, self._own.lease):
                return False
        except Unavailable as error:
            log.error("flannel: the lease is not renewed, and tried again in a minute: %s", error)
            self._renewal = asyncio.get_running_loop().time() + min(_AGAIN, self._margin / 4)
            return True
        return await self._have(config, self._own.lease) > 0

    def _learn(self, events: Sequence[Event]) -> bool:
        """False where our own lease went, or is somebody else's now."""
        assert self._own is not None
        mine = self._registry.name(self._own.at)
        for event in events:
            name = self._registry.name(event.now)
            entry = None if event.deleted else self._registry.read(event.now)
            if entry is None:
                self._entries.pop(name, None)
            else:
                self._entries[name] = entry
            if name != mine or event.now.mod_revision <= self._own.at.mod_revision:
                continue
            if entry is None or entry.lease.public_ip != self._own.lease.public_ip:
                taken = f"{entry.lease.public_ip} has it" if entry else "it has expired, or somebody has deleted it"
                log.error("flannel: the lease %s of this host is lost: %s", self._own.lease.subnet, taken)
                return False
            self._own = entry
        return True

    def _tell(self, config: FlannelConfig) -> None:
        assert self._own is not None
        mine = self._own.lease
        # Who claims what another host has, is the later one.
        others, wrong = reachable(config, mine, _in_order(self._entries))
        for words in wrong:
            if words not in self._wrong:
                log.warning("flannel: passed over: %s", words)
        self._wrong = tuple(wrong)
        view = View(config, mine, tuple(others))
        if view != self._told:
            self._told = view
            self._changed(view)

    def _say(self, words: str) -> None:
        if words != self._said:
            log.warning("flannel: %s", words)
        self._said = words


def _in_order(entries: Mapping[str, Entry]) -> list[Lease]:
    """The leases as they came."""
    return [e.lease for e in sorted(entries.values(), key=lambda entry: (entry.at.create_revision, entry.at.key))]
