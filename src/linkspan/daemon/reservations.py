"""Addresses that belong to identities, as the front doors see them; and those whose rest is over, given up."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping

from linkspan.daemon.identity import now
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.reservations import BY_HAND, release_by_hand, reserve_by_hand, rested
from linkspan.errors import LinkspanError
from linkspan.model.cluster import Remote, Reservation
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

log = logging.getLogger(__name__)
_EVERY = 5.0  # seconds


@dataclasses.dataclass(frozen=True, slots=True)
class ReservationView:
    """`container` is the name of the one that has it now, "" for none. `released` is "" while there is one, or was none
    yet; `host` the name of the host where it was used last, "" for this one."""

    reservation: Reservation
    container: str
    released: str
    host: str


class Reservations:
    def __init__(
        self,
        ledger: Ledger,
        mutation: Mutation,
        host: Callable[[], HostFacts],
        whole: Callable[[str], Awaitable[Snapshot]],
    ) -> None:
        """`whole` are the records with all who are on a network."""
        self._ledger, self._mutation, self._host, self._whole = ledger, mutation, host, whole

    async def views(self, ref: str) -> list[ReservationView]:
        """Of a network, in order of identity. Raises NotFound."""
        network = self._ledger.now.network(ref)
        moment = await self._whole(network.id)
        there = {remote.container_id: remote for remote in moment.remotes_at(network)}
        found = (r for r in moment.reservations.values() if r.network_id == network.id)
        return [_view(moment, one, there) for one in sorted(found, key=lambda one: one.identity)]

    async def reserve(self, ref: str, identity: str, address: str) -> None:
        """Raises InvalidArgument, Conflict, NotFound."""
        network = self._ledger.now.network(ref)
        own = self._host().host_id
        await self._change(lambda: Change((reserve_by_hand(self._ledger.now, network, identity, address, own),)))

    async def release(self, ref: str, identity: str) -> None:
        """Raises Conflict where a container has it, NotFound."""
        network = self._ledger.now.network(ref)
        await self._change(lambda: Change((release_by_hand(self._ledger.now, network, identity),)))

    async def run(self) -> None:
        """Until cancelled. Those that cannot be given up now are tried again."""
        while True:
            await asyncio.sleep(_EVERY)
            if writes := tuple(rested(self._ledger.now, now(), self._host().host_id)):
                try:
                    await self._mutation.carry_out(Change(writes))
                except LinkspanError as error:
                    log.info("addresses whose rest is over are not given up yet: %s", error)

    async def _change(self, decide: Callable[[], Change]) -> None:
        await asyncio.shield(self._mutation.decide(decide))


def _view(moment: Snapshot, one: Reservation, there: Mapping[str, Remote]) -> ReservationView:
    holder = moment.containers.get(one.holder) or there.get(one.holder)
    host = moment.hosts.get(one.host_id)
    return ReservationView(
        one,
        holder.name if holder else one.holder[:12],
        "" if one.released == BY_HAND else one.released,
        host.name if host else "",
    )
