"""Who of the hosts has a member of the store: followed by every host, and looked after by the one whose member leads.

What the store itself lists is what counts. A host that finds itself listed starts a member, one that is listed no more
ends it; and everybody asks those that are there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence

from linkspan.daemon.mesh.seat import Seat, peer_url
from linkspan.engine.mesh import members
from linkspan.engine.mesh.members import Add, Candidate, Promote, Remove, next_step
from linkspan.errors import LinkspanError
from linkspan.model.cluster import Host
from linkspan.store.etcd.address import PORT, MemberAddress
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.values import Member

log = logging.getLogger(__name__)
_LOOK = 2.0  # seconds between two looks
_SOON = 0.3  # while something is under way


class Assembly:
    def __init__(
        self,
        etcd: EtcdClient,
        seat: Seat,
        hosts: Callable[[], Sequence[Host]],
        answering: Callable[[], Collection[str]],
        *,
        gone: float = members.GONE,
    ) -> None:
        """`hosts` are all of the mesh, this one among them; `answering` the ids of those that answer; `gone` seconds
        after which who does not is replaced."""
        self._etcd, self._seat, self._hosts, self._answering, self._gone = etcd, seat, hosts, answering, gone
        self._silent: dict[str, float] = {}  # host or member id → since when (time.monotonic)
        self.listed: Sequence[Member] = ()
        self._look_now = asyncio.Event()
        self.still = asyncio.Lock()  # while it is held, nothing is changed from here

    def look(self) -> None:
        """Soon: something has changed."""
        self._look_now.set()

    def voters(self) -> list[str]:
        """Ids of the hosts that have a vote in the store, "" for one that is no host any more; none where they are not
        known yet."""
        by_url = {peer_url(host.address): host.id for host in self._hosts()}
        voting = [member for member in self.listed if not member.learner]
        return [next((by_url[url] for url in m.peer_urls if url in by_url), "") for m in voting]

    async def run(self) -> None:
        """For ever."""
        while True:
            pause = _LOOK
            try:
                async with self.still:
                    under_way = await self._once()
                pause = _SOON if under_way else _LOOK
            except LinkspanError as error:
                log.debug("mesh: the store's members are not known: %s", error)
            try:
                await asyncio.wait_for(self._look_now.wait(), pause)
            except TimeoutError:
                continue
            self._look_now.clear()

    async def _once(self) -> bool:
        """Whether something is under way."""
        self.listed = listed = await self._etcd.members_now()
        self._follow(listed)
        own = next((m for m in listed if peer_url(self._seat.own.address) in m.peer_urls), None)
        if own is None:
            if self._seat.taken:
                log.warning("mesh: this host's member of the store was removed by the others")
                await self._seat.give_up()
            return False
        if not self._seat.taken or self._seat.own.member_id not in ("", own.id):
            others = [f"{member.name}={url}" for member in listed if member.name for url in member.peer_urls]
            await self._seat.begin(",".join(others))
            log.info("mesh: this host has a member of the store now, as one of %d", len(listed))
        self._seat.keep(member_id=own.id)
        return await self._lead(listed, own)

    def _follow(self, listed: Sequence[Member]) -> None:
        """Those with a vote are asked from now on, and found again after a restart."""
        voting = [m for m in listed if m.client_urls and not m.learner]
        addresses = [address for m in voting for url in m.client_urls if (address := _address(url))]
        if addresses and set(addresses) != set(self._etcd.addresses):
            self._etcd.reach(addresses)
        if addresses:
            self._seat.keep(members=tuple(sorted(map(str, addresses))))

    async def _lead(self, listed: Sequence[Member], own: Member) -> bool:
        """Where this host's member leads, the next step towards as many members as there should be."""
        status = await self._etcd.status_of(self._seat.address)
        if status.failure or status.leader != own.id:
            self._silent.clear()
            return False
        hosts = {host.id: host for host in self._hosts()}
        by_url = {peer_url(host.address): host.id for host in hosts.values()}
        at = {m.id: next((by_url[url] for url in m.peer_urls if url in by_url), "") for m in listed}
        answers = await asyncio.gather(*(self._answers(m, hosts.get(at[m.id])) for m in listed))
        for member, answer in zip(listed, answers, strict=True):
            self._note(member.id, answer)
        for host_id in hosts:
            self._note(host_id, host_id in self._answering() or host_id == self._seat.own.host_id)
        seats = [members.Seat(m.id, at[m.id], m.learner, self._for(m.id)) for m in listed]
        candidates = [Candidate(host.id, host.created, self._for(host.id)) for host in hosts.values()]
        step = next_step(candidates, seats, self._seat.own.host_id, self._gone)
        if step is None:
            return False
        names = {host.id: host.name for host in hosts.values()}
        try:
            match step:
                case Add(host_id):
                    await self._etcd.add_learner(peer_url(hosts[host_id].address))
                    log.info("mesh: host %s is to have a member of the store", names[host_id])
                case Promote(seat):
                    await self._etcd.promote(seat.member_id)
                    log.info("mesh: the store's member on host %s has a vote now", names[seat.host_id])
                case Remove(seat):
                    await self._etcd.remove_member(seat.member_id)
                    whose = names.get(seat.host_id, "that was taken out")
                    log.warning("mesh: the store's member on host %s was removed", whose)
        except LinkspanError as error:
            log.debug("mesh: the store's members stay as they are: %s", error)  # a learner is not ready yet, say
        return True

    async def _answers(self, member: Member, host: Host | None) -> bool:
        """One that was just added is waited for, too."""
        if host is None or not member.client_urls:
            return False
        return not (await self._etcd.status_of(MemberAddress(host.address, PORT))).failure

    def _note(self, id_: str, answers: bool) -> None:
        if answers:
            self._silent.pop(id_, None)
        else:
            self._silent.setdefault(id_, time.monotonic())

    def _for(self, id_: str) -> float:
        """Seconds of silence; more than none from the first on."""
        since = self._silent.get(id_)
        return 0.0 if since is None else max(time.monotonic() - since, 0.001)


def _address(url: str) -> MemberAddress | None:
    place = url.removeprefix("https://")
    host, _, port = place.rpartition(":")
    return MemberAddress(host.strip("[]"), int(port)) if host and port.isdigit() else None


def parse_member(text: str) -> MemberAddress:
    """`ADDRESS:PORT`, as it is kept."""
    host, _, port = text.rpartition(":")
    return MemberAddress(host.strip("[]"), int(port))
