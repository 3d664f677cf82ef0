"""Resources as Calico has them, as the front doors see them: the cluster's where there is one, else this host's."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Awaitable, Callable

from linkspan.daemon.identity import now
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.policy.check import Path, check
from linkspan.engine.policy.host import Own
from linkspan.engine.resources import Decision, apply_resources, check_access, delete_resources, listed
from linkspan.errors import NotFound
from linkspan.model.cluster import GLOBAL, LOCAL
from linkspan.model.manifests.kinds import Kind, kind_named
from linkspan.model.manifests.reading import read_resources
from linkspan.model.resource import Resource
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts


class Resources:
    """A kind is named as users do. `network` is what a NetworkPolicy is of; for listing, "" is any."""

    def __init__(
        self,
        ledger: Ledger,
        mutation: Mutation,
        host: Callable[[], HostFacts],
        own: Callable[[], Own],
        whole: Callable[[str], Awaitable[Snapshot]],
        log_hidden: Callable[[], str],
    ) -> None:
        """`whole` are the records with all who are on networks of the cluster; `log_hidden` tells why what rules log is
        not shown."""
        self._ledger, self._mutation, self._host, self._own, self._whole = ledger, mutation, host, own, whole
        self.log_hidden = log_hidden

    async def apply(self, data: bytes, *, force: bool = False) -> Decision:
        """A file of YAML or JSON. With `force` also what cuts hosts off. Raises InvalidArgument, Conflict."""
        asked = await asyncio.to_thread(read_resources, data)
        uids = [str(uuid.uuid4()) for _ in asked]
        scope = GLOBAL if self._mutation.cluster else LOCAL
        moment = f"{now()[:19]}Z"

        def decide() -> Decision:
            host = dataclasses.replace(self._host(), log_hidden=self.log_hidden())
            return apply_resources(self._ledger.now, asked, uids, scope, moment, host)

        return await self._carry_out(decide, force)

    async def delete(self, data: bytes, *, force: bool = False) -> Decision:
        """What a file names. Raises InvalidArgument, Conflict, NotFound, Forbidden."""
        asked = await asyncio.to_thread(read_resources, data)
        return await self._carry_out(lambda: delete_resources(self._ledger.now, asked), force)

    async def delete_named(self, kind: str, name: str, network: str, *, force: bool = False) -> Decision:
        found = kind_named(kind)
        return await self._carry_out(
            lambda: delete_resources(self._ledger.now, [self._one(found, name, network)]), force
        )

    def get(self, kind: str, name: str, network: str) -> Resource:
        """Raises InvalidArgument, NotFound."""
        return self._one(kind_named(kind), name, network)

    async def check(self, source: str, destination: str, protocol: str, port: int) -> list[Path]:
        """Whether one may talk to another. Raises InvalidArgument, NotFound."""
        return check(await self._whole(""), self._host(), source, destination, protocol, port)

    def listed(self, kind: str = "", network: str = "") -> list[Resource]:
        """In order of kind, network and name. Raises InvalidArgument."""
        return list(listed(self._ledger.now, kind_named(kind) if kind else None, network))

    def _one(self, kind: Kind, name: str, network: str) -> Resource:
        id_ = f"{network}/{name}" if kind.of_network else name
        for one in listed(self._ledger.now, kind, ""):
            if one.id == id_:
                return one
        if kind.of_network and not network:
            raise NotFound(f"{kind.name} {name} not found: which network is it of?")
        raise NotFound(f"{kind.name} {id_} not found")

    async def _carry_out(self, decide: Callable[[], Decision], force: bool) -> Decision:
        """What was decided last is what was carried out."""
        decisions: list[Decision] = []

        def change() -> Change:
            decisions.append(decide())
            if not force:
                check_access(self._ledger.now, decisions[-1].change, self._own())
            return decisions[-1].change

        await asyncio.shield(self._mutation.decide(change))
        return decisions[-1]
