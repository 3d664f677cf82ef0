"""The JSON of etcd's HTTP gateway: bytes as base64, 64-bit numbers as text, and whatever is zero is left out.

https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from linkspan.errors import Internal
from linkspan.store.etcd.values import Compare, Event, Get, KeyValue, Member, Operation, Put

T = TypeVar("T")
MOST_OPERATIONS = 128  # in one branch of a transaction, where etcd was not told otherwise
EVERYTHING = b"\x00"  # as the end of a range: every key from the first one on

_TARGETS = {
    "create": ("CREATE", "create_revision"),
    "mod": ("MOD", "mod_revision"),
    "version": ("VERSION", "version"),
    "value": ("VALUE", "value"),
    "lease": ("LEASE", "lease"),
}
_RELATIONS = {"=": "EQUAL", "!=": "NOT_EQUAL", "<": "LESS", ">": "GREATER"}


class Header(msgspec.Struct, frozen=True):
    cluster_id: int = 0
    member_id: int = 0
    revision: int = 0


class RawKey(msgspec.Struct, frozen=True):
    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    lease: int = 0

    def plain(self) -> KeyValue:
        return KeyValue(
            text_of(self.key), self.value, self.create_revision, self.mod_revision, self.version, self.lease
        )


class RangeAnswer(msgspec.Struct, frozen=True):
    header: Header = Header()
    kvs: list[RawKey] = []
    more: bool = False


class PutAnswer(msgspec.Struct, frozen=True):
    header: Header = Header()


class DeleteAnswer(msgspec.Struct, frozen=True):
    header: Header = Header()
    deleted: int = 0


class OneAnswer(msgspec.Struct, frozen=True):
    """To one operation of a transaction."""

    response_range: RangeAnswer | None = None


class TxnAnswer(msgspec.Struct, frozen=True):
    header: Header = Header()
    succeeded: bool = False
    responses: list[OneAnswer] = []


class GrantAnswer(msgspec.Struct, frozen=True):
    ID: int
    TTL: int


class KeepAliveResult(msgspec.Struct, frozen=True):
    TTL: int = 0  # of a lease that is gone


class TtlAnswer(msgspec.Struct, frozen=True):
    TTL: int = 0
    grantedTTL: int = 0
    keys: list[bytes] = []


class StatusAnswer(msgspec.Struct, frozen=True):
    header: Header = Header()
    version: str = ""
    dbSize: int = 0
    leader: int = 0
    errors: list[str] = []


class RawMember(msgspec.Struct, frozen=True):
    ID: int = 0
    name: str = ""
    clientURLs: list[str] = []
    peerURLs: list[str] = []
    isLearner: bool = False

    def plain(self) -> Member:
        return Member(f"{self.ID:x}", self.name, tuple(self.clientURLs), tuple(self.peerURLs), self.isLearner)


class MembersAnswer(msgspec.Struct, frozen=True):
    members: list[RawMember] = []


class RawEvent(msgspec.Struct, frozen=True):
    kv: RawKey
    type: str = "PUT"

    def plain(self) -> Event:
        return Event(self.kv.plain(), self.type == "DELETE")


class WatchResult(msgspec.Struct, frozen=True):
    header: Header = Header()
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    cancel_reason: str = ""
    compact_revision: int = 0
    fragment: bool = False  # the rest of this is in the next one
    events: list[RawEvent] = []


class Failure(msgspec.Struct, frozen=True):
    """An error, as an answer of its own or within a stream."""

    message: str = ""
    error: str = ""
    code: int = 2  # of gRPC
    grpc_code: int = 0


class Streamed(msgspec.Struct, frozen=True):
    """One line of a watch."""

    result: WatchResult | None = None
    error: Failure | None = None


class StreamedKeepAlive(msgspec.Struct, frozen=True):
    result: KeepAliveResult | None = None
    error: Failure | None = None


def decode(body: bytes | bytearray | memoryview, type_: type[T]) -> T:
    """Raises Internal where it is something else."""
    try:
        return msgspec.json.decode(body, type=type_, strict=False)
    except ValueError as error:  # of msgspec, or of bytes that are no text
        raise Internal(f"etcd: what it answers is not what it should be: {error}") from None


def encode(request: dict[str, Any]) -> bytes:
    """Bytes become base64; numbers may be numbers."""
    return msgspec.json.encode(request)


def key_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def text_of(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def span(prefix: str) -> dict[str, Any]:
    """The range of keys that begin with a prefix."""
    key = key_of(prefix)
    return {"key": key or EVERYTHING, "range_end": end_of(key)}


def end_of(prefix: bytes) -> bytes:
    """The first key after all that begin so."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else EVERYTHING


def _one(key: str, prefix: bool) -> dict[str, Any]:
    return span(key) if prefix else {"key": key_of(key)}


def raw_compare(guard: Compare) -> dict[str, Any]:
    target, field = _TARGETS[guard.target]
    compared = {"target": target, "result": _RELATIONS[guard.relation], field: guard.operand}
    return _one(guard.key, guard.prefix) | compared


def raw_operation(operation: Operation) -> dict[str, Any]:
    if isinstance(operation, Get):
        return {"request_range": _one(operation.key, operation.prefix)}
    if isinstance(operation, Put):
        return {"request_put": raw_put(operation)}
    return {"request_delete_range": _one(operation.key, operation.prefix)}


def raw_operations(operations: Sequence[Operation]) -> list[dict[str, Any]]:
    """One branch of a transaction. Where it writes more than etcd takes at once, and reads nothing, in transactions
    within it: their operations are counted by themselves, and all of it is one change as before."""
    raw = [raw_operation(operation) for operation in operations]
    if len(raw) <= MOST_OPERATIONS or any(isinstance(operation, Get) for operation in operations):
        return raw
    within = MOST_OPERATIONS // 2
    return [{"request_txn": {"success": raw[at : at + within]}} for at in range(0, len(raw), within)]


def raw_put(put: Put) -> dict[str, Any]:
    return {"key": key_of(put.key), "value": put.value, **({"lease": put.lease} if put.lease else {})}
