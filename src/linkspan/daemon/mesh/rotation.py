"""Another authority in the place of the one that is in force, as who is to be locked out may have its key.

A host makes it and announces it in the store, by number and fingerprint. Its key is in no store, as whoever has the old
one can read that: hosts ask each other for it where they let others in, and prove who they are by their WireGuard keys.
Once those that answer have it, each by itself goes over, all at once: etcd reads whom to trust only when it starts, and
for as long as two were trusted nobody would be locked out. So the store cannot be used for some seconds, as in a net
that is parted, and nothing else stands still.

A host that was away meanwhile finds nobody in the store any more who trusts it. So whom this host does not hear in the
store it asks directly which authority is in force, and follows the one that has the higher number. That is also how
members of the store that come back follow one that went on without them (`mesh recover`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from linkspan.daemon.mesh import messages
from linkspan.daemon.mesh.asking import want
from linkspan.daemon.mesh.assembly import Assembly, parse_member
from linkspan.daemon.mesh.certificates import Authority, shared_secret
from linkspan.daemon.mesh.credentials import Credentials
from linkspan.daemon.mesh.messages import Given, Wanted
from linkspan.daemon.mesh.register import Announced, Register
from linkspan.daemon.mesh.seat import Seat
from linkspan.engine.mesh.authorities import following, is_time, of_one_store
from linkspan.errors import Conflict, Forbidden, LinkspanError, Unavailable
from linkspan.model.cluster import Host
from linkspan.model.mesh import JOIN_PORT
from linkspan.store.etcd.client import EtcdClient

log = logging.getLogger(__name__)
_LOOK = 2.0  # seconds between two looks at what is announced
_PAUSE = 1.0  # seconds, in which every host gets to know what this one does
_SEEK = 5.0  # seconds between two questions to a host that is not heard in the store
_SEEK_SOON = 1.0  # where nobody is
_SETTLED = 30.0  # seconds after which a host that has started knows whom it hears
_AT_ONCE = 16  # hosts that are asked
_WITHIN = 60.0  # seconds for all
_AGAIN = 0.2  # seconds between two looks whether the store can be used


class Rotation:
    def __init__(
        self,
        etcd: EtcdClient,
        credentials: Credentials,
        seat: Seat,
        register: Register,
        assembly: Assembly,
        *,
        hosts: Callable[[], Sequence[Host]],
        heard: Callable[[], Collection[str]],
        caught_up: Callable[[int], Awaitable[None]],
        restate: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`hosts` are all of the mesh, this one among them; `heard` the ids of those that answer in the store, none
        where it cannot be used; `caught_up` returns once the hosts are those of a revision of the store; `restate` is
        called when this host is to say something else of itself."""
        self._etcd, self._credentials, self._seat = etcd, credentials, seat
        self._register, self._assembly = register, assembly
        self._hosts, self._heard, self._caught_up = hosts, heard, caught_up
        self._restate, self._clock = restate, clock
        self._one = asyncio.Lock()  # thing after the other
        self._look_now = asyncio.Event()
        self._changed = asyncio.Event()
        self._held_since = 0.0  # time.monotonic; 0 is not yet known
        self._strange: set[str] = set()  # hosts that do not know this one, which was said

    def look(self) -> None:
        """Soon: something may have changed."""
        self._look_now.set()

    # -- a new one ----------------------------------------------------------------------------------------------------

    async def make(self, number_after: Callable[[int], int] = following) -> int:
        """Makes another authority, which all hosts go over to from now on. Its number. Raises Conflict where another
        host does so at the same time."""
        async with self._one:
            own, announced = self._seat.own, await self._register.announced()
            number = number_after(max(own.newest, announced.number if announced else 0))
            authority = Authority.make(own.mesh_id, self._clock())
            self._credentials.take(number, authority)
            made = Announced(number=number, fingerprint=authority.fingerprint, by=own.host_id)
            await self._caught_up(await self._register.announce(made))
            self._hold(number)
        return number

    async def done(self, number: int) -> None:
        """Returns once it is in force here, and the store can be used again. Raises Unavailable where that takes too
        long; it goes on then."""
        try:
            async with asyncio.timeout(_WITHIN):
                while True:
                    self._changed.clear()
                    if self._seat.own.authority >= number and await self._usable():
                        return
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), _AGAIN)
        except TimeoutError:
            newest = {host.name: host.authority for host in self._hosts()}
            lacking = ", ".join(sorted(name for name, held in newest.items() if held < number)) or "none"
            raise Unavailable(
                f"the mesh's new authority is not in force yet after {_WITHIN:g} s, and until it is the old one is: "
                f"hosts that do not have it: {lacking}; it goes on as they answer"
            ) from None

    async def _usable(self) -> bool:
        try:
            return bool(await self._etcd.members_now())
        except LinkspanError:
            return False

    async def change_now(self, number: int) -> None:
        """Without waiting for anybody."""
        async with self._one:
            if self._seat.own.authority < number:
                await self._change(number)

    # -- what is announced --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                async with self._one:
                    await self._once()
            except LinkspanError as error:
                log.debug("mesh: whether there is another authority is not known: %s", error)
            try:
                await asyncio.wait_for(self._look_now.wait(), _LOOK)
            except TimeoutError:
                continue
            self._look_now.clear()

    async def _once(self) -> None:
        announced = await self._register.announced()
        own = self._seat.own
        if announced is None or announced.number <= own.authority:
            return
        number = announced.number
        there = self._credentials.of(number)
        if there is None or there.fingerprint != announced.fingerprint:
            await self._fetch(announced)
        if own.held != number:
            # Who was taken out before it was announced does not get it here, either.
            await self._caught_up(self._register.revision)
            self._hold(number)
        if self._is_time(number):
            await asyncio.sleep(_PAUSE)
            await self._change(number)

    async def _fetch(self, announced: Announced) -> None:
        """From who made it, or who else has it."""
        for host in sorted(self._others(), key=lambda host: host.id != announced.by):
            if host.id != announced.by and host.authority < announced.number:
                continue
            try:
                given = await self._ask(host, announced.number)
                authority = Authority(given.authority, given.authority_key) if given else None
            except LinkspanError as error:
                log.debug("mesh: host %s does not give its authority: %s", host.name, error)
                continue
            if authority and authority.fingerprint == announced.fingerprint:
                self._credentials.take(announced.number, authority)
                return
        raise Unavailable("nobody answers who has the mesh's next authority")

    def _hold(self, number: int) -> None:
        self._seat.keep(held=number)
        self._held_since = time.monotonic()
        self._restate()
        self.look()

    def _is_time(self, number: int) -> bool:
        self._held_since = self._held_since or time.monotonic()  # an earlier daemon has got it
        newest = {host.id: host.authority for host in self._hosts()} | {self._seat.own.host_id: self._seat.own.newest}
        waited = time.monotonic() - self._held_since
        return is_time(number, newest, self._assembly.voters(), self._heard(), waited)

    async def _change(self, number: int) -> None:
        async with self._assembly.still:
            if not of_one_store(self._seat.own.authority, number):
                self._etcd.begun_anew()
            self._credentials.change(number)
            self._etcd.trust(self._credentials.tls())
            self._restate()
            await self._seat.renew()
            self._credentials.clean()
        log.info("mesh: another authority is in force, and none before it (number %d)", number)
        self._changed.set()

    # -- who is not heard in the store --------------------------------------------------------------------------------

    async def seek(self) -> None:
        """For ever: whether they have another authority in force. At first all are asked: in the store of members that
        have come back together, one that goes on without them seems to be there for a while yet."""
        begun = time.monotonic()
        while True:
            heard = self._heard()
            settled = time.monotonic() - begun > _SETTLED
            quiet = [host for host in self._others() if host.id not in heard or not settled]
            for at in range(0, len(quiet), _AT_ONCE):
                await asyncio.gather(*map(self._compare, quiet[at : at + _AT_ONCE]))
            await asyncio.sleep(_SEEK if heard else _SEEK_SOON)

    async def _compare(self, host: Host) -> None:
        own = self._seat.own
        try:
            given = await self._ask(host, 0, (self._credentials.authority.fingerprint,))
            if given is not None and given.number > own.authority:
                async with self._one:
                    await self._follow(host, given)
        except Forbidden:
            if host.id not in self._strange and not self._heard():
                self._strange.add(host.id)
                log.warning(
                    "mesh: host %s has another authority in force, and does not know this host: was this one taken "
                    "out of the mesh? To come back it has to join anew: stop linkspand, and remove the folder mesh "
                    "from its data root",
                    host.name,
                )
        except LinkspanError as error:
            log.debug("mesh: host %s is not heard in the store, nor does it say more: %s", host.name, error)

    async def _follow(self, host: Host, given: Given) -> None:
        own = self._seat.own
        if given.number <= own.authority:
            return  # another one was quicker to say so
        self._credentials.take(given.number, Authority(given.authority, given.authority_key))
        members = tuple(map(parse_member, given.members))
        if not of_one_store(own.authority, given.number):
            log.warning("mesh: host %s went on without this one: what the store has there is what counts", host.name)
            if self._seat.taken and self._seat.address not in members:
                async with self._assembly.still:
                    await self._seat.give_up()
        if members:
            self._seat.keep(members=given.members)
            self._etcd.reach(members)
        await self._change(given.number)

    # -- what hosts ask each other ------------------------------------------------------------------------------------

    async def _ask(self, host: Host, number: int, known: Collection[bytes] = ()) -> Given | None:
        secret = self.secret_with(host.id)
        if secret is None:
            raise Unavailable("it is no host of the mesh")
        return await want((host.address, JOIN_PORT), self._seat.own.host_id, secret, number, known)

    def secret_with(self, host_id: str) -> bytes | None:
        host = next((host for host in self._others() if host.id == host_id), None)
        return shared_secret(self._seat.own.private_key, host.wireguard) if host else None

    def give(self, wanted: Wanted) -> Given:
        own = self._seat.own
        if wanted.version != messages.VERSION:
            raise Unavailable(f"it asks by version {wanted.version} of the protocol, not {messages.VERSION}")
        number = wanted.number or own.authority
        authority = self._credentials.of(number) if number in (own.authority, own.held) else None
        if authority is None:
            raise Conflict(f"this host has no authority of number {number}")
        members = own.members or (str(self._seat.address),)
        return Given(number=number, authority=authority.certificate, authority_key=authority.key, members=members)

    def _others(self) -> list[Host]:
        return [host for host in self._hosts() if host.id != self._seat.own.host_id]
