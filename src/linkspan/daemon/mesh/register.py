"""What the mesh keeps in its store besides the records of the cluster: the token, which authority is to be in force,
and whose certificates are worth nothing any more. And there a host that joins is entered, with all that has to be
nobody else's.

    mesh/token          the secret of the token that is valid now
    mesh/authority      the number and fingerprint of the newest authority, and who made it; its key is in no store
    mesh/revoked/HOST   the certificates of a host that was taken out
    mesh/barred/HOST    there for as long as it has not joined anew
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from linkspan.daemon.cluster.joining import check_store
from linkspan.engine.mesh.entry import moment
from linkspan.engine.publication import HOSTNAMES, of_host
from linkspan.errors import Conflict, Unavailable
from linkspan.model.cluster import Host
from linkspan.model.wire import Wire
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.values import Delete, Get, KeyValue, Operation, Put, absent, unchanged

_ATTEMPTS = 5


class _Secret(Wire, frozen=True, kw_only=True):
    secret: bytes
    expires: float = 0.0  # seconds since 1970; 0 is never


class _Revoked(Wire, frozen=True, kw_only=True):
    name: str
    certificates: tuple[str, ...]


class Announced(Wire, frozen=True, kw_only=True):
    """An authority that is to be in force. `fingerprint` as Authority.fingerprint; `by` is the host that made it."""

    number: int
    fingerprint: bytes
    by: str


def barred(host_id: str) -> str:
    """The key that says that a host was taken out, below the root of all keys."""
    return f"mesh/barred/{host_id}"


class Register:
    def __init__(self, etcd: Etcd, root: str, clock: Callable[[], float]) -> None:
        self._etcd, self._root, self._clock = etcd, root, clock
        self._seen: KeyValue | None = None  # what is announced

    # -- the token ----------------------------------------------------------------------------------------------------

    async def secret(self) -> bytes:
        """That of the token, be it over or not; there is one from the first question on."""
        return (await self._read()).secret

    async def expires(self) -> float:
        """When the token's time is over, in seconds since 1970; 0 for never."""
        return (await self._read()).expires

    async def check_token(self) -> None:
        """Raises Conflict where its time is over."""
        found, now = await self._read(), self._clock()
        if found.expires and now > found.expires:
            raise Conflict(
                f"the token was valid until {moment(found.expires)}, and here it is {moment(now)}: "
                "`linkspan mesh token rotate` makes another"
            )

    async def rotate(self, lasts: float = 0) -> bytes:
        made = _Secret(secret=secrets.token_bytes(16), expires=self._clock() + lasts if lasts else 0.0)
        await check_store(self._etcd, self._root)
        await self._etcd.put(self._token, msgspec.json.encode(made))
        return made.secret

    async def _read(self) -> _Secret:
        while (found := await self._etcd.get(self._token)) is None:
            first = _Secret(secret=secrets.token_bytes(16))
            await check_store(self._etcd, self._root)  # in one that is empty yet, the token would be a stranger's
            await self._etcd.txn([absent(self._token)], [Put(self._token, msgspec.json.encode(first))])
        return msgspec.json.decode(found.value, type=_Secret)

    @property
    def _token(self) -> str:
        return f"{self._root}mesh/token"

    # -- the authority ------------------------------------------------------------------------------------------------

    async def announced(self) -> Announced | None:
        """Read where it has changed. None for the first one, which every host has from the start."""
        unread = [unchanged(self._seen) if self._seen else absent(self._authority)]
        found = await self._etcd.txn(unread, [], [Get(self._authority)])
        if not found.succeeded:
            self._seen = next(iter(found.read[0]), None)
        return msgspec.json.decode(self._seen.value, type=Announced) if self._seen else None

    @property
    def revision(self) -> int:
        """Of the store, at which that was announced."""
        return self._seen.mod_revision if self._seen else 0

    async def announce(self, made: Announced) -> int:
        """The revision. Raises Conflict where another host has announced one since `announced`."""
        await check_store(self._etcd, self._root)
        guard = unchanged(self._seen) if self._seen else absent(self._authority)
        done = await self._etcd.txn([guard], [Put(self._authority, msgspec.json.encode(made))])
        if not done.succeeded:
            raise Conflict("another host has made an authority at the same time: try again")
        return done.revision

    @property
    def _authority(self) -> str:
        return f"{self._root}mesh/authority"

    # -- hosts --------------------------------------------------------------------------------------------------------

    async def enter(self, host: Host, authority: int = 0) -> None:
        """A host's record, and its name and addresses as its own. `authority` is the number of the one that it is
        given. Raises Conflict where one is another's, or there is to be another authority."""
        entries = of_host(host)
        claims = [self._root + key for key, entry in entries.items() if entry.claim]
        then: list[Operation] = [Put(self._root + key, entry.value) for key, entry in entries.items()]
        then.append(Delete(self._root + barred(host.id)))
        for _ in range(_ATTEMPTS):
            keys = [self._authority, *claims]
            read = (await self._etcd.txn([], [Get(key) for key in keys])).read
            found = {key: at[0] if at else None for key, at in zip(keys, read, strict=True)}
            announced = found[self._authority]
            if announced and msgspec.json.decode(announced.value, type=Announced).number != authority:
                raise Conflict("the mesh is about to change its authority: try again in a moment")
            for key, at in found.items():
                if key == self._authority:
                    continue
                if at and at.value.decode() != host.id:
                    what = "name" if HOSTNAMES in key else "address"
                    raise Conflict(f"the {what} {key.rpartition('/')[2]} is another host's of the mesh: try again")
            guards = [unchanged(at) if at else absent(key) for key, at in found.items()]
            if (await self._etcd.txn(guards, then)).succeeded:
                return
        raise Unavailable("others join at the same time, over and over: try again")

    async def revoke(self, host: Host) -> None:
        """Its certificates are worth nothing any more, nor are those of earlier lives of it; it publishes nothing."""
        key = f"{self._root}mesh/revoked/{host.id}"
        before = await self._etcd.get(key)
        earlier = msgspec.json.decode(before.value, type=_Revoked).certificates if before else ()
        revoked = _Revoked(name=host.name, certificates=(*earlier, *host.certificates))
        await self._etcd.txn([], [Put(key, msgspec.json.encode(revoked)), Put(self._root + barred(host.id), b"")])

    async def revoked(self) -> list[str]:
        """The serial numbers of all certificates that are worth nothing any more, in order."""
        page = await self._etcd.list(f"{self._root}mesh/revoked/")
        found = [msgspec.json.decode(item.value, type=_Revoked) for item in page.found]
        return sorted({serial for one in found for serial in one.certificates})
