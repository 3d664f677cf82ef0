"""What a sandbox lets in and out, as values: the chains and sets of the nft table `inet linkspan-policy` in it. The
host has one, too, where policies are about its own interfaces.

Chains and maps of ports are named after what they hold, those that they lead to included, and sets after whom they are
meant to hold. So what guards have in common has one name in all of them, and the rules of a chain never change.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import TypeAlias

HOST = ""  # the host's own namespace
TABLE = "linkspan-policy"  # of nftables, of the families inet and netdev
VERSION = "1"  # of the chains that every guard has, and of what rules become in the kernel

# What a rule looks at. Addresses and ports are the packet's own, whichever end is the sandbox's.
SOURCE4, SOURCE6, DESTINATION4, DESTINATION6 = "ip saddr", "ip6 saddr", "ip daddr", "ip6 daddr"
SOURCE_PORT, DESTINATION_PORT = "th sport", "th dport"
FAMILY, PROTOCOL = "meta nfproto", "meta l4proto"
ICMP_TYPE, ICMP_CODE = "icmp type", "icmp code"  # ICMP's and ICMPv6's alike

ACCEPT, DROP, RETURN = "accept", "drop", "return"


@dataclasses.dataclass(frozen=True, slots=True)
class Is:
    """A field is a number, or is between two; or is not. Family is 4 or 6."""

    field: str
    first: int
    last: int
    negated: bool = False

    def __str__(self) -> str:
        value = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.field} {'!= ' if self.negated else ''}{value}"


@dataclasses.dataclass(frozen=True, slots=True)
class Among:
    """An address is in a set, or is not."""

    field: str
    set: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.field} {'!= ' if self.negated else ''}@{self.set}"


Match: TypeAlias = Is | Among


@dataclasses.dataclass(frozen=True, slots=True)
class GuardRule:
    """All of `matches` hold: the verdict is `accept`, `drop`, `return`, or a chain to `jump` to; with `log`, which is
    the line's prefix, or without any verdict the next rule follows.

    With `ports`, the destination's port is looked up in that map, which says the chain to jump to, if any.
    """

    matches: tuple[Match, ...] = ()
    verdict: str = ""
    jump: str = ""
    log: str = ""
    ports: str = ""

    def __str__(self) -> str:
        words = [str(match) for match in self.matches]
        if self.log:
            words.append(f'limit rate 10/second log prefix "{self.log}"')
        if self.ports:
            words.append(f"{DESTINATION_PORT} vmap @{self.ports}")
        words.append(f"jump {self.jump}" if self.jump else self.verdict)
        return " ".join(filter(None, words))


@dataclasses.dataclass(frozen=True, slots=True)
class GuardChain:
    """A packet that meets its end returns to where the jump came from."""

    name: str
    rules: tuple[GuardRule, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class GuardSet:
    """Addresses, of IP `version` 4 or 6: single ones, or with `spans` subnets and ranges that do not overlap."""

    name: str
    version: int
    spans: bool
    elements: frozenset[str]
    mark: int  # follows from the elements, and differs where they do


@dataclasses.dataclass(frozen=True, slots=True)
class GuardPorts:
    """A map from ranges of ports (first, last, chain), which do not overlap, to chains."""

    name: str
    elements: frozenset[tuple[int, int, str]]


Entry: TypeAlias = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one sandbox. `entries` are its interfaces that have any: the name, the chain for what comes in, the
    chain for what goes out; "" lets everything pass.

    Ours are known by the table's name. As read, a guard has nothing but its `stamp`, which tells what the rest is: it
    is written in the same transaction.
    """

    namespace: str
    stamp: str
    entries: tuple[Entry, ...] = ()
    chains: tuple[GuardChain, ...] = ()
    sets: tuple[GuardSet, ...] = ()
    ports: tuple[GuardPorts, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("guard", self.namespace)


@dataclasses.dataclass(frozen=True, slots=True)
class Seal:
    """What programs in a sandbox send at an interface past the stack, by packet sockets, goes nowhere, but for ARP
    and IPv6's neighbour discovery: no guard would see it. Known by its table, `netdev linkspan-policy`."""

    namespace: str
    interface: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("seal", self.namespace, self.interface)


def stamp(entries: Iterable[Entry], sets: Iterable[GuardSet]) -> str:
    """32 hexadecimal digits, the same in every process. What chains hold, their names say."""
    parts = [VERSION, *map(repr, entries), *(f"{one.name} {one.mark:x}" for one in sets)]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
