"""What goes into etcd and what comes out of it. A revision numbers every change of the whole store, from 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias

Target: TypeAlias = Literal["create", "mod", "version", "value", "lease"]
Relation: TypeAlias = Literal["=", "!=", "<", ">"]


@dataclasses.dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it is at some revision. `version` counts its changes since it was created; `lease` is 0 for none."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Compare:
    """One guard of a transaction: what is there `relation` `operand`. Revisions of an absent key are 0, and it has no
    value that any comparison of values holds for."""

    key: str
    target: Target
    relation: Relation
    operand: int | bytes
    prefix: bool = False  # of every key that begins so; where there is none, as of an absent one


def absent(key: str) -> Compare:
    return Compare(key, "create", "=", 0)


def present(key: str) -> Compare:
    return Compare(key, "create", ">", 0)


def empty(prefix: str) -> Compare:
    """There is no key that begins so."""
    return Compare(prefix, "create", "=", 0, prefix=True)


def unchanged(known: KeyValue) -> Compare:
    """The key was not written, deleted or made anew since."""
    return Compare(known.key, "mod", "=", known.mod_revision)


def holds(key: str, value: bytes) -> Compare:
    return Compare(key, "value", "=", value)


@dataclasses.dataclass(frozen=True, slots=True)
class Get:
    key: str
    prefix: bool = False  # every key that begins so


@dataclasses.dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0  # the key goes with it


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    key: str
    prefix: bool = False


Operation: TypeAlias = Get | Put | Delete


@dataclasses.dataclass(frozen=True, slots=True)
class TxnResult:
    """Which branch was carried out, and the store's revision after it. `read`: what each of its Gets found, by key."""

    succeeded: bool
    revision: int
    read: tuple[tuple[KeyValue, ...], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Some of what is under a prefix, in the order of keys. All pages of one listing are of one revision."""

    revision: int
    found: Sequence[KeyValue]


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A key was put, or deleted: then of `now` only `key` and `mod_revision` mean something."""

    now: KeyValue
    deleted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Changes:
    """All that happened under a prefix up to `revision`, and after what was told of it before; nothing, where only time
    has passed."""

    prefix: str
    revision: int
    events: Sequence[Event]


@dataclasses.dataclass(frozen=True, slots=True)
class Watching:
    """The watch goes on, over this member; nothing was lost."""

    member: str


@dataclasses.dataclass(frozen=True, slots=True)
class Interrupted:
    """Changes are not heard of for now."""

    reason: str


Told: TypeAlias = Changes | Watching | Interrupted


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """`ttl` in seconds, as granted: etcd may give more than was asked for."""

    id: int
    ttl: int


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseState:
    """`remaining` seconds, and the keys that go with it."""

    remaining: int
    granted: int
    keys: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class MemberStatus:
    """A member of the cluster as one of our addresses leads to it. `failure` says why it does not answer."""

    address: str
    failure: str = ""
    id: str = ""
    leader: str = ""  # the id of whom it takes for the leader, "" where it knows of none
    version: str = ""
    revision: int = 0
    size: int = 0  # bytes of its database
    errors: tuple[str, ...] = ()  # its own alarms


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A member as the cluster itself lists it. One that was added and has not started yet has neither name nor
    `client_urls`; a learner has no vote."""

    id: str
    name: str
    client_urls: tuple[str, ...]
    peer_urls: tuple[str, ...] = ()
    learner: bool = False
