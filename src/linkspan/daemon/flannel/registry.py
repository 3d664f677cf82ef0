"""flannel's keys in etcd: read and written as flanneld 0.18 and later does, each change guarded by what was read."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import AsyncGenerator, Mapping

from linkspan.errors import InvalidArgument, LinkspanError, NotFound
from linkspan.model.flannel import TTL, FlannelConfig, Lease, lease_key, lease_value, parse_config, parse_lease
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.values import Delete, KeyValue, Put, Told, absent, unchanged

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A lease, and its key as it was read."""

    lease: Lease
    at: KeyValue


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """All leases by the last part of their keys, and the revision at which they were so."""

    entries: Mapping[str, Entry]
    revision: int


class Registry:
    """`prefix` is flannel's, `/coreos.com/network`. What etcd raises goes through."""

    def __init__(self, etcd: Etcd, prefix: str, *, ttl: int = TTL) -> None:
        self._etcd, self._ttl = etcd, ttl
        self._config = f"{prefix.rstrip('/')}/config"
        self._subnets = f"{prefix.rstrip('/')}/subnets/"

    async def config(self) -> FlannelConfig:
        """Raises NotFound where nobody has written one, InvalidArgument where it cannot be used."""
        found = await self._etcd.get(self._config)
        if found is None:
            raise NotFound(f"there is no flannel config in etcd at {self._config}")
        return parse_config(found.value.decode(errors="replace"))

    async def offer_config(self, text: str) -> FlannelConfig:
        """Writes the configuration if there is none; answers the one that holds."""
        await self._etcd.txn([absent(self._config)], [Put(self._config, text.encode())])
        return await self.config()

    async def list(self) -> Listing:
        page = await self._etcd.list(self._subnets)
        entries = {}
        for item in page.found:
            if entry := self.read(item):
                entries[self.name(item)] = entry
        return Listing(entries, page.revision)

    def watch(self, after: int) -> AsyncGenerator[Told, None]:
        return self._etcd.watch(self._subnets, after=after)

    def name(self, item: KeyValue) -> str:
        return item.key.removeprefix(self._subnets)

    def read(self, item: KeyValue) -> Entry | None:
        """None, and a word in the log, where somebody has written something else there."""
        try:
            return Entry(parse_lease(self.name(item), item.value, reserved=not item.lease), item)
        except InvalidArgument as error:
            log.warning("passed over: %s", error)
            return None

    async def create(self, lease: Lease) -> bool:
        """False where somebody else was quicker."""
        return await self._write(lease, None)

    async def rewrite(self, known: Entry, lease: Lease) -> bool:
        """The lease anew, for another day; a reservation stays one. False where it is not as it was read any more."""
        return await self._write(lease, known)

    async def delete(self, known: Entry) -> bool:
        deleted = (await self._etcd.txn([unchanged(known.at)], [Delete(known.at.key)])).succeeded
        if deleted and known.at.lease:
            with contextlib.suppress(LinkspanError):  # no key hangs on it any more; it would end by itself in a day
                await self._etcd.revoke(known.at.lease)
        return deleted

    async def _write(self, lease: Lease, known: Entry | None) -> bool:
        key = self._subnets + lease_key(lease)
        granted = 0 if known and known.lease.reserved else (await self._etcd.grant(self._ttl)).id
        written = False
        try:
            guard = unchanged(known.at) if known else absent(key)
            written = (await self._etcd.txn([guard], [Put(key, lease_value(lease), lease=granted)])).succeeded
        finally:
            # What no key hangs on any more need not wait for its end.
            idle = known.at.lease if written and known else granted if not written else 0
            if idle:
                await self._etcd.revoke(idle)
        return written
