"""What the daemon and the resolver's process say to each other: JSON, one message a line.

The process speaks first (Hello), then the daemon sends Changes, each of which is answered by Done once it is in force.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources

import msgspec

from linkspan.state.names import NameKey, NameRecord

LONGEST = 1 << 26  # bytes of a message: some 200,000 endpoints


class Hello(msgspec.Struct, frozen=True):
    version: str
    pid: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """`everything`: what is not put is to go."""

    number: int
    put: tuple[NameRecord, ...] = ()
    drop: tuple[NameKey, ...] = ()
    everything: bool = False
    end: bool = False  # another process has taken over: answer no more


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """`failed` are the records that could not be carried out, and why; they are as if they had not been put."""

    number: int
    failed: tuple[tuple[NameKey, str], ...] = ()


def line(message: Hello | Change | Done) -> bytes:
    return msgspec.json.encode(message) + b"\n"


@functools.cache
def version() -> str:
    """Of what this process runs. Another one is replaced: it may mean something else by the same messages."""
    digest = hashlib.sha256()
    for package in ("linkspan.resolver", "linkspan.state", "linkspan.kernel"):
        for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
