"""Rules of nftables as the kernel takes them: each a list of expressions over registers.

They are written as nft itself writes them, so that `nft list ruleset` shows them as rules again. Formats:
linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from linkspan.kernel.netlink import attribute, be32, nested, text
from linkspan.state.guard import (
    DESTINATION4,
    DESTINATION6,
    DESTINATION_PORT,
    FAMILY,
    ICMP_CODE,
    ICMP_TYPE,
    PROTOCOL,
    SOURCE4,
    SOURCE6,
    SOURCE_PORT,
    Among,
    GuardRule,
    Is,
    Match,
)

_REGISTER = be32(1, 1)  # of what loads: into register 1
_FROM = be32(1, 1)  # of what compares: from there
_NETWORK, _TRANSPORT = 1, 2
_META = {FAMILY: (15, 1), PROTOCOL: (16, 1)}  # key, length
_PROTOCOL, _IIFNAME, _OIFNAME, _RTCLASSID = 1, 6, 7, 13
_PAYLOAD = {  # base, offset, length
    SOURCE4: (_NETWORK, 12, 4),
    DESTINATION4: (_NETWORK, 16, 4),
    SOURCE6: (_NETWORK, 8, 16),
    DESTINATION6: (_NETWORK, 24, 16),
    SOURCE_PORT: (_TRANSPORT, 0, 2),
    DESTINATION_PORT: (_TRANSPORT, 2, 2),
    ICMP_TYPE: (_TRANSPORT, 0, 1),
    ICMP_CODE: (_TRANSPORT, 1, 1),
}
_FAMILIES = {4: 2, 6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6
_OF_FAMILY = {SOURCE4: 4, DESTINATION4: 4, SOURCE6: 6, DESTINATION6: 6}
_EQUAL, _UNEQUAL, _AT_LEAST = 0, 1, 5
_INVERTED = 1  # NFT_LOOKUP_F_INV
_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
_ESTABLISHED_RELATED = 0x2 | 0x4
_LOGS = (10, 5)  # lines a second, and how many at once
_WARNING = 4


def rule(found: GuardRule) -> bytes:
    """The list of a rule's expressions."""
    parts = [_matched(match) for match in found.matches]
    if found.log:
        parts += [_limited(), _expression("log", text(2, found.log), be32(5, _WARNING))]
    if found.ports:
        parts += [_loaded(DESTINATION_PORT), looked_up(found.ports)]
    if found.jump:
        parts.append(judged("jump", found.jump))
    elif found.verdict:
        parts.append(judged(found.verdict))
    return b"".join(parts)


def verdict(word: str, chain: str = "") -> bytes:
    """The data of a verdict: of a rule, or of an element of a map."""
    return nested(2, be32(1, _VERDICTS[word] & 0xFFFFFFFF), text(2, chain) if chain else b"")


def judged(word: str, chain: str = "") -> bytes:
    return _expression("immediate", be32(1, 0), nested(2, verdict(word, chain)))


def looked_up(map_: str) -> bytes:
    """What register 1 holds is looked up in a map of verdicts."""
    return _expression("lookup", text(1, map_), be32(2, 1), be32(3, 0))


def established() -> bytes:
    masked = nested(4, attribute(1, struct.pack("=I", _ESTABLISHED_RELATED))), nested(5, attribute(1, bytes(4)))
    return b"".join(
        (
            _expression("ct", _REGISTER, be32(2, 0)),
            _expression("bitwise", _FROM, be32(2, 1), be32(3, 4), *masked),
            _compared(bytes(4), _UNEQUAL),
        )
    )


def interface(*, incoming: bool) -> bytes:
    """The interface's name is loaded."""
    return _expression("meta", _REGISTER, be32(2, _IIFNAME if incoming else _OIFNAME))


def is_routed() -> bytes:
    """The packet has a way, which the stack gave it: whatever is said of its realm. (Else the rule ends.)"""
    return _expression("meta", _REGISTER, be32(2, _RTCLASSID)) + _compared(bytes(4), _AT_LEAST)


def is_arp() -> bytes:
    return _expression("meta", _REGISTER, be32(2, _PROTOCOL)) + _compared(b"\x08\x06")


def is_discovery() -> bytes:
    """Router or neighbour discovery of IPv6, by a frame's bytes: an address is announced so."""
    return b"".join(
        (
            _expression("meta", _REGISTER, be32(2, _PROTOCOL)),
            _compared(b"\x86\xdd"),
            _bytes(_NETWORK, 6, 1),
            _compared(bytes((58,))),
            _bytes(_NETWORK, 40, 1),
            _ranged(bytes((133,)), bytes((137,)), _EQUAL),
        )
    )


def is_loopback(*, incoming: bool) -> bytes:
    return interface(incoming=incoming) + _compared(b"lo".ljust(16, b"\0"))


def _matched(match: Match) -> bytes:
    if isinstance(match, Among):
        of_family = _matched(Is(FAMILY, _OF_FAMILY[match.field], _OF_FAMILY[match.field]))
        flags = be32(5, _INVERTED) if match.negated else b""
        return of_family + _loaded(match.field) + _expression("lookup", text(1, match.set), be32(2, 1), flags)
    length = (_META.get(match.field) or _PAYLOAD[match.field])[-1]
    first, last = (
        (_FAMILIES[value] if match.field == FAMILY else value).to_bytes(length, "big")
        for value in (match.first, match.last)
    )
    if first == last:
        return _loaded(match.field) + _compared(first, _UNEQUAL if match.negated else _EQUAL)
    return _loaded(match.field) + _ranged(first, last, _UNEQUAL if match.negated else _EQUAL)


def _loaded(field: str) -> bytes:
    if field in _META:
        return _expression("meta", _REGISTER, be32(2, _META[field][0]))
    return _bytes(*_PAYLOAD[field])


def _bytes(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _REGISTER, be32(2, base), be32(3, offset), be32(4, length))


def _ranged(first: bytes, last: bytes, operation: int) -> bytes:
    bounds = nested(3, attribute(1, first)), nested(4, attribute(1, last))
    return _expression("range", _FROM, be32(2, operation), *bounds)


def _compared(value: bytes, operation: int = _EQUAL) -> bytes:
    return _expression("cmp", _FROM, be32(2, operation), nested(3, attribute(1, value)))


def _limited() -> bytes:
    rate, most = _LOGS
    numbers = (attribute(kind, value.to_bytes(8, "big")) for kind, value in ((1, rate), (2, 1)))
    return _expression("limit", *numbers, be32(3, most))


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *data))
