"""Changes that take host ports, carried out: which ports are free is known for certain only when they are bound."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from linkspan.daemon.cluster.contract import Overtaken
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.join import external_connectivity, port_requests
from linkspan.errors import PortInUse, PortUnavailable
from linkspan.ipam.ports import chosen_freely
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint

Busy = frozenset[tuple[str, str, int]]  # (protocol, address, port)


async def carry_out(mutation: Mutation, container: Container, decide: Callable[[Busy], Change]) -> Change:
    """A port of free choice that another process turns out to hold is chosen again: `decide` is told of those.

    Answers the change that was carried out. Raises PortUnavailable with Docker's words around it.
    """
    busy: Busy = frozenset()
    attempts = count(1)
    while True:
        change = decide(busy)
        try:
            await mutation.carry_out(change)
            return change
        except Overtaken as error:
            await mutation.catch_up(error, next(attempts))
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
