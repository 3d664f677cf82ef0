"""The verbs that change the published ports of a container that is there, as the front doors call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linkspan.daemon.host_ports import Busy, carry_out
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.views import Republished
from linkspan.engine.change import Change
from linkspan.engine.publish import PortBindings, publish, published_ports, withdraw
from linkspan.ipam.ports import PortSpace
from linkspan.model.container import Container
from linkspan.model.endpoint import Binding
from linkspan.model.port import Withdrawal, each_family, with_port


class Publishing:
    """`ref` is a name, an id or a unique prefix of an id. NotFound's text is `No such container: REF`."""

    def __init__(self, ledger: Ledger, mutation: Mutation, lifecycle: Lifecycle) -> None:
        self._ledger, self._mutation, self._lifecycle = ledger, mutation, lifecycle

    async def publish(self, ref: str, bindings: PortBindings) -> Republished:
        """More ports, at once where it runs; answers those that came.

        Raises NotModified where all of it is asked for already, PortInUse with nothing changed.
        """

        def decide(container: Container, space: PortSpace) -> Change:
            return publish(self._ledger.now, container, bindings, space)

        change, before, after = await self._change(ref, decide)
        return self._told("publish", ref, after - before, change)

    async def withdraw(self, ref: str, wanted: Sequence[Withdrawal]) -> Republished:
        """Fewer ports; answers those that went. Raises NotFound with nothing changed."""

        def decide(container: Container, space: PortSpace) -> Change:
            return withdraw(self._ledger.now, container, wanted, space)

        change, before, after = await self._change(ref, decide)
        return self._told("unpublish", ref, before - after, change)

    async def _change(
        self, ref: str, decide: Callable[[Container, PortSpace], Change]
    ) -> tuple[Change, set[Binding], set[Binding]]:
        id_ = self._ledger.now.container(ref).id

        async def change() -> tuple[Change, set[Binding], set[Binding]]:
            async with self._lifecycle.lock(id_):
                container = self._ledger.now.container(id_)
                before = published_ports(self._ledger.now, container)

                def with_free_ports(busy: Busy) -> Change:
                    return decide(container, self._lifecycle.surroundings(0, busy).ports)

                made = await carry_out(self._mutation, container, with_free_ports)
                return made, before, published_ports(self._ledger.now, container)

        return await self._lifecycle.to_its_end(change())

    def _told(self, verb: str, ref: str, changed: set[Binding], change: Change) -> Republished:
        found = tuple(sorted(changed, key=lambda b: (b.container_port, b.protocol, b.address, b.port)))
        said = ",".join(
            f"{with_port(address, b.port)}->{b.container}" for b in found for address in each_family(b.address)
        )
        self._lifecycle.publish(verb, self._ledger.now.container(ref), ports=said)
        return Republished(found, change.warnings)
