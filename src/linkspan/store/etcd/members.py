"""All members of the cluster: whom to ask, and what a lost answer means.

One is asked for as long as it answers well, then the next. Every request demands that the member knows of a leader, so
that one that is cut off says so at once instead of letting us wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from linkspan.errors import Forbidden, Internal, Unavailable
from linkspan.store.etcd.address import ClusterAddress, MemberAddress, Tls
from linkspan.store.etcd.contract import Compacted, LeaseGone, OutcomeUnknown
from linkspan.store.etcd.http import Broken, Connection, NotConnected, Stream, connect
from linkspan.store.etcd.trust import Trust
from linkspan.store.etcd.wire import Failure, decode

REQUEST = 3.0  # seconds until a member has answered
_AT_ONCE = 16  # requests, each on a connection of its own
_ROUND = 0.1  # seconds before those are asked again that just now have no leader
_LEADER = {"Grpc-Metadata-Hasleader": "true"}
_ANYBODY: Mapping[str, str] = {}

# gRPC's codes
_CANCELLED, _DEADLINE, _DENIED, _UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = 1, 4, 7, 12, 13, 14, 16
_NOT_BEGUN = ("no leader", "too many requests", "not capable", "not supported for learner", "unhealthy cluster")


class NotBegun(Exception):
    """This member did nothing. `passing`: asking it again in a moment may help."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class TooLarge(Exception):
    """The answer is larger than a member can send: ask for less."""


class Members:
    def __init__(self, cluster: ClusterAddress, tls: Tls | None = None) -> None:
        """Raises InvalidArgument naming a certificate file that cannot be used."""
        self.addresses: Sequence[MemberAddress] = cluster.members
        self._trust = None if tls is None else Trust(tls)
        self._idle: dict[MemberAddress, list[Connection]] = {address: [] for address in cluster.members}
        self._turn = 0  # the number of the member that is asked first
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._closed = False
        self.store = 0  # counts how often it was begun anew

    def reach(self, addresses: Sequence[MemberAddress]) -> None:
        """The members are others now. Whoever was asked last is asked on, if it is still one."""
        turn = self.addresses[self._turn]
        for address in self._idle.keys() - set(addresses):
            for connection in self._idle.pop(address):
                connection.close()
        self.addresses = tuple(addresses)
        self._turn = self.addresses.index(turn) if turn in self.addresses else 0

    async def ask(self, path: str, body: bytes, *, repeatable: bool) -> bytes:
        """The answer of the first member that has one.

        What is not repeatable is sent once: raises OutcomeUnknown where its answer is lost. Raises Unavailable where
        surely nothing was done; Compacted, LeaseGone, Forbidden, Internal as the answer says.
        """
        until = asyncio.get_running_loop().time() + REQUEST
        failures: dict[MemberAddress, str] = {}
        while True:
            passing = False
            for address in self.in_order():
                try:
                    async with self._room:
                        return await self.ask_one(address, path, body)
                except NotBegun as error:
                    failures[address] = str(error)
                    passing |= error.passing
                except Broken as error:
                    if not repeatable:
                        self.avoid(address)
                        raise OutcomeUnknown(_lost(address, str(error))) from None
                    failures[address] = str(error)
                    passing |= error.passing
                self.avoid(address)
            if not passing or asyncio.get_running_loop().time() >= until:
                raise Unavailable(self._no_answer(failures))
            await asyncio.sleep(_ROUND)

    def trust(self, tls: Tls) -> None:
        """From now on it goes by these. Raises InvalidArgument naming a certificate file that cannot be used."""
        self._trust = Trust(tls)
        for address, idle in self._idle.items():
            self._idle[address] = []  # those that are in use are closed by who uses them
            for connection in idle:
                connection.close()

    def _no_answer(self, failures: Mapping[MemberAddress, str]) -> str:
        said = (f"{one}: {failures[one]}" for one in self.addresses if one in failures)
        return "etcd does not answer: " + "; ".join(said)

    def in_order(self) -> Sequence[MemberAddress]:
        """Those that answered last first."""
        return [*self.addresses[self._turn :], *self.addresses[: self._turn]]

    def avoid(self, address: MemberAddress) -> None:
        if self.addresses[self._turn] == address:
            self._turn = (self._turn + 1) % len(self.addresses)

    async def ask_one(self, address: MemberAddress, path: str, body: bytes, *, leader: bool = True) -> bytes:
        """One member's answer. Raises NotBegun or Broken, or what the answer says."""
        try:
            async with self._connection(address) as connection, asyncio.timeout(REQUEST):
                status, answer = await connection.request(path, body, _LEADER if leader else _ANYBODY)
        except NotConnected as error:
            raise NotBegun(str(error)) from None
        except TimeoutError:
            raise Broken(f"no answer within {REQUEST:g} s") from None
        if status != 200:
            raise failed(status, answer)
        return answer

    @contextlib.asynccontextmanager
    async def _connection(self, address: MemberAddress) -> AsyncIterator[Connection]:
        idle = self._idle.setdefault(address, [])
        connection = None
        while idle and connection is None:
            connection = idle.pop()
            if not connection.usable:
                connection.close()
                connection = None
        connection = connection or await connect(address, self._trust)
        try:
            yield connection
        finally:
            if connection.usable and not self._closed and self._idle.get(address) is idle:
                idle.append(connection)
            else:
                connection.close()

    @contextlib.asynccontextmanager
    async def stream(self, address: MemberAddress, path: str, body: bytes) -> AsyncIterator[Stream]:
        """One member's answer as it comes, over a connection of its own. Raises as `ask_one` does."""
        connection: Connection | None = None
        try:
            connection = await connect(address, self._trust)
            async with asyncio.timeout(REQUEST):
                stream = await connection.stream(path, body, _LEADER)
                if stream.status != 200:
                    raise failed(stream.status, b"".join([piece async for piece in stream.pieces]))
            yield stream
        except NotConnected as error:
            raise NotBegun(str(error)) from None
        except TimeoutError:
            raise Broken(f"no answer within {REQUEST:g} s") from None
        finally:
            if connection is not None:
                connection.close()

    def close(self) -> None:
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()


def _lost(address: MemberAddress, why: str) -> str:
    return f"etcd: the answer to a change was lost ({address}: {why}); it may have been carried out"


def failed(status: int, answer: bytes) -> Exception:
    """The error that an answer with this status stands for."""
    try:
        failure = decode(answer, Failure)
    except Internal:
        words = answer.decode(errors="replace").strip()
        if "HTTP request to an HTTPS server" in words:
            return NotBegun("it speaks TLS: certificates are needed (--cluster-tls)")
        if status == 404:
            return NotBegun("there is no HTTP gateway of etcd 3.4 or newer")
        return NotBegun(f"it answers with HTTP status {status}: {words[:100]}")
    return failed_as(failure)


def failed_as(failure: Failure) -> Exception:
    words = (failure.message or failure.error).removeprefix("etcdserver: ")
    code = failure.grpc_code or failure.code
    if any(part in words for part in _NOT_BEGUN):
        return NotBegun(f"it says: {words}", passing=True)
    if "larger than max" in words:
        return TooLarge(words)
    if "compacted" in words:
        return Compacted(f"etcd: {words}")
    if "lease not found" in words:
        return LeaseGone(f"etcd: {words}")
    if code in (_DENIED, _UNAUTHENTICATED) or "user name is empty" in words:
        return Forbidden(f"etcd does not let us in: {words}")
    if code in (_CANCELLED, _DEADLINE, _INTERNAL, _UNAVAILABLE):
        return Broken(f"it says: {words}", passing=True)
    if code == _UNIMPLEMENTED:
        return NotBegun(f"it says: {words}")
    return Internal(f"etcd refuses: {words}")
