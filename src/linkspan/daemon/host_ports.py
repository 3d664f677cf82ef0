"""Changes that take host ports and addresses, carried out: which ports are free is known for certain only when they are
bound, and which addresses, on a wire that others share, only when it was asked."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from itertools import count

from linkspan.daemon.cluster.contract import Overtaken
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.detection import Occupied, was_given
from linkspan.engine.join import NoPart, external_connectivity, port_requests
from linkspan.errors import PortInUse, PortUnavailable
from linkspan.ipam.ports import chosen_freely
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint

log = logging.getLogger(__name__)
Busy = frozenset[tuple[str, str, int]]  # (protocol, address, port)


async def carry_out(mutation: Mutation, container: Container, decide: Callable[[Busy], Change]) -> Change:
    """A port of free choice that another process turns out to hold is chosen again: `decide` is told of those. So is an
    address of free choice that a stranger on its wire has: that is remembered by whoever has asked. A part of a network
    that this host is about to get is waited for.

    Answers the change that was carried out. Raises PortUnavailable with Docker's words around it, Occupied.
    """
    async with mutation.turn(container):
        return await _carry_out(mutation, container, decide)


async def _carry_out(mutation: Mutation, container: Container, decide: Callable[[Busy], Change]) -> Change:
    busy: Busy = frozenset()
    attempts = count(1)
    waited: set[str] = set()
    while True:
        try:
            change = await mutation.decided(functools.partial(decide, busy))
        except NoPart as error:
            if error.network_id in waited:
                raise
            waited.add(error.network_id)
            await mutation.part(error.network_id)
            continue
        try:
            await mutation.carry_out(change)
            return change
        except Overtaken as error:
            await mutation.catch_up(error, next(attempts))
        except Occupied as error:
            asking = next((w.record for w in change.writes if isinstance(w.record, Container)), container)
            if was_given(asking, error.question):
                raise
            log.warning("%s; another one is chosen", error)
        except PortUnavailable as error:
            taken = (error.protocol, error.address, error.port)
            asking = next((w.record for w in change.writes if isinstance(w.record, Container)), container)
            requests = port_requests(asking)
            for endpoint in (w.record for w in change.writes if isinstance(w.record, Endpoint)):
                for binding in endpoint.bindings:
                    if (binding.protocol, binding.address, binding.port) != taken:
                        continue
                    if not isinstance(error, PortInUse) or not chosen_freely(requests, binding):
                        raise external_connectivity(container, endpoint.id, error) from error
            if taken in busy:
                raise
            busy |= {taken}
