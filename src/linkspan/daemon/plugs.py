"""The verbs of interfaces given by hand, as the front doors call them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from linkspan.daemon.dhcp import DhcpClients
from linkspan.daemon.identity import new_id
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.join import sandbox_owner
from linkspan.engine.plug_request import PlugRequest
from linkspan.engine.plugs import plug, set_vlan, unplug
from linkspan.errors import Conflict, InvalidArgument, LinkspanError
from linkspan.model.container import Container
from linkspan.model.plug import Plug
from linkspan.runtime import inside
from linkspan.state.host import HostFacts

# The programs that may be run in a container's namespace, by pipework's words for them.
_PROGRAMS = {"route": ("ip", "route"), "rule": ("ip", "rule"), "tc": ("tc",)}


class Plugs:
    """`ref` is a container's name, id or unique prefix of an id. One that uses another's network means that one."""

    def __init__(
        self,
        ledger: Ledger,
        mutation: Mutation,
        lifecycle: Lifecycle,
        dhcp: DhcpClients,
        *,
        host: Callable[[], HostFacts],
        look_again: Callable[[], Awaitable[None]],
    ) -> None:
        """`host` is what is known of the host; `look_again` renews it."""
        self._ledger, self._mutation, self._lifecycle = ledger, mutation, lifecycle
        self._dhcp, self._host, self._look_again = dhcp, host, look_again

    async def plug(self, ref: str, asked: PlugRequest) -> Plug:
        """Gives a container an interface; where it runs and DHCP is asked for, with the address that comes of that.

        Raises what cannot be, with nothing changed.
        """
        return await self._lifecycle.to_its_end(self._plug(ref, asked))

    async def _plug(self, ref: str, asked: PlugRequest) -> Plug:
        await self._look_again()
        id_ = new_id()

        def decide(container: Container) -> Change:
            return plug(self._ledger.now, container, asked, self._host(), id_)

        with self._dhcp.expecting(id_):
            await self._change(ref, decide)
            owner = self._owner(ref)
            if asked.dhcp and self._ledger.now.sandbox(owner):
                await self._lease(owner.id, id_)
        owner = self._owner(ref)
        made = next(one for one in owner.plugs if one.id == id_)
        sandbox = self._ledger.now.sandbox(owner)
        self._lifecycle.publish("plug", owner, interface=made.interface, parent=made.parent)
        return made.addressed(sandbox.id) if sandbox else made

    async def _lease(self, container_id: str, plug_id: str) -> None:
        """Waits for the first address. Without the container's lock: that is for whom the address comes in by."""
        try:
            await self._dhcp.first(plug_id)
        except LinkspanError:
            container = self._ledger.now.containers.get(container_id)
            if made := next((one for one in container.plugs if one.id == plug_id), None) if container else None:
                await self._change(container_id, lambda container: unplug(container, made.interface))
            raise

    async def unplug(self, ref: str, interface: str) -> None:
        await self._change(ref, lambda container: unplug(container, interface))
        self._lifecycle.publish("unplug", self._owner(ref), interface=interface)

    async def set_vlan(self, ref: str, bridge: str, interface: str, vlan: str) -> None:
        await self._change(ref, lambda container: set_vlan(container, bridge, interface, vlan))

    async def run(self, ref: str, program: str, arguments: Sequence[str]) -> inside.Ended:
        """`ip route`, `ip rule` or `tc` of the host, in the container's network. What they change ends with the run of
        the container."""
        if program not in _PROGRAMS:
            raise InvalidArgument(f"unknown program {program!r}: use {', '.join(_PROGRAMS)}")
        container = self._owner(ref)
        sandbox = self._ledger.now.sandbox(container)
        if sandbox is None:
            raise Conflict(f"container {container.name} is not running")
        if sandbox.kind == "host":
            raise InvalidArgument(f"container {container.name} has no network of its own: it uses the host's")
        return await inside.run(sandbox.path, (*_PROGRAMS[program], *arguments))

    def _owner(self, ref: str) -> Container:
        return sandbox_owner(self._ledger.now, self._ledger.now.container(ref))

    async def _change(self, ref: str, decide: Callable[[Container], Change]) -> None:
        id_ = self._owner(ref).id

        async def change() -> None:
            async with self._lifecycle.lock(id_):
                await self._mutation.carry_out(decide(self._ledger.now.container(id_)))

        await self._lifecycle.to_its_end(change())
