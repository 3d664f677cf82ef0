"""DNS messages as bytes, as much of them as answering for local names needs: RFC 1035, and EDNS's size (RFC 6891).

Whatever comes from outside is taken apart by `parse` and `shorten`, from which only Malformed escapes. What is
forwarded stays the bytes that it was.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

A, PTR, MX, AAAA, OPT = 1, 12, 15, 28, 41
IN, ANY_CLASS = 1, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
LARGEST = 65535

_PLAIN = 512  # bytes of a UDP answer to whoever does not say what it takes
_OURS = 1232  # bytes of a query that we take by UDP: what passes every path unfragmented
_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_RESPONSE, _OPCODE, _TRUNCATED, _DESIRED, _AVAILABLE = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
_SAME_NAME = b"\xc0\x0c"  # a pointer to the name in the question
_OPTION = b"\0" + _RECORD.pack(OPT, _OURS, 0, 0)


class Malformed(Exception):
    """Not a message that can be answered; `rcode` is what to say, None where saying anything would be wrong."""

    def __init__(self, rcode: int | None) -> None:
        super().__init__(rcode)
        self.rcode = rcode


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One question. `name` is lower-case text without the final dot, "" for the root; None where a label has what no
    name of ours has: a dot, or bytes beyond ASCII."""

    id: int
    flags: int
    name: str | None
    type: int
    class_: int
    question: bytes  # as it came, to be repeated in its upper and lower case
    size: int  # bytes of the largest UDP answer that the client takes
    extended: bool  # it speaks EDNS


def parse(message: bytes) -> Query:
    """A query with its one question. Raises Malformed."""
    if len(message) < _HEADER.size:
        raise Malformed(None)
    id_, flags, questions, *sections = _HEADER.unpack_from(message)
    if flags & _RESPONSE:
        raise Malformed(None)
    if flags & _OPCODE:
        raise Malformed(NOTIMP)
    if questions != 1:
        raise Malformed(FORMERR)
    labels, offset = _labels(message)
    type_, class_ = _QUESTION.unpack_from(message, offset)
    end = offset = offset + _QUESTION.size
    size, extended = _PLAIN, False
    for _ in range(sum(sections)):
        record_type, record_class, offset = _record(message, offset)
        if record_type == OPT:
            size, extended = max(record_class, _PLAIN), True
    return Query(id_, flags, _text(labels), type_, class_, message[_HEADER.size : end], size, extended)


def refusal(message: bytes, rcode: int) -> bytes:
    """An answer that says no more than that, to a message of at least a header; the question is not repeated."""
    id_, flags = struct.unpack_from("!HH", message)
    return _HEADER.pack(id_, flags & (_OPCODE | _DESIRED) | _RESPONSE | _AVAILABLE | rcode, 0, 0, 0, 0)


def reply(query: Query, rcode: int, answers: Sequence[bytes] = (), *, limit: int = LARGEST) -> bytes:
    """An answer of ours in at most `limit` bytes: the records that find no room are left out, and it says so."""
    option = _OPTION if query.extended else b""
    room = limit - _HEADER.size - len(query.question) - len(option)
    body = b"".join(answers)
    flags = query.flags & _DESIRED | _RESPONSE | _AVAILABLE | rcode
    count = len(answers)
    if len(body) > room:
        count, used = 0, 0
        for answer in answers:
            if used + len(answer) > room:
                break
            count, used = count + 1, used + len(answer)
        body, flags = body[:used], flags | _TRUNCATED
    return _HEADER.pack(query.id, flags, 1, count, 0, len(option) // len(_OPTION)) + query.question + body + option


def address_record(address: bytes, ttl: int) -> bytes:
    """An A or AAAA record, by the length of the packed address, for the name in the question."""
    return _SAME_NAME + _RECORD.pack(A if len(address) == 4 else AAAA, IN, ttl, len(address)) + address


def pointer_record(name: str, ttl: int) -> bytes:
    """A PTR record for the name in the question. ValueError where `name` is none in DNS."""
    data = pack_name(name)
    return _SAME_NAME + _RECORD.pack(PTR, IN, ttl, len(data)) + data


def pack_name(name: str) -> bytes:
    """ValueError where it cannot be a name in DNS: a label of more than 63 bytes, or an empty one; more than 255."""
    labels = [label.encode("ascii") for label in name.split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"not a name in DNS: {name}")
    packed = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(packed) > 255:
        raise ValueError(f"not a name in DNS: {name}")
    return packed


def answers_to(query: Query, id_: bytes, answer: bytes) -> bool:
    """Whether `answer` is one to this question, sent under that id."""
    if len(answer) < _HEADER.size or answer[:2] != id_ or not answer[2] & _RESPONSE >> 8:
        return False
    if answer[4:6] == b"\0\0":
        return rcode(answer) != NOERROR  # a server that failed may leave the question out
    return answer[_HEADER.size : _HEADER.size + len(query.question)].lower() == query.question.lower()


def rcode(answer: bytes) -> int:
    return answer[3] & 0xF


def truncated(answer: bytes) -> bool:
    return bool(answer[2] & _TRUNCATED >> 8)


def shorten(answer: bytes, query: Query, limit: int) -> bytes:
    """A forwarded answer in at most `limit` bytes: as many of its answer records as fit, and it says that it is cut.

    An answer that fits is left as it is. Raises Malformed where it cannot be taken apart.
    """
    if len(answer) <= limit:
        return answer
    id_, flags, questions, count, *_ = _HEADER.unpack_from(answer)
    start = _HEADER.size
    for _ in range(questions):
        start = _skip_name(answer, start) + _QUESTION.size
    option = _OPTION if query.extended else b""
    if start + len(option) > limit:
        raise Malformed(FORMERR)
    kept, end = 0, start
    for _ in range(count):
        _, _, offset = _record(answer, end)
        if offset + len(option) > limit:
            break
        kept, end = kept + 1, offset
    head = _HEADER.pack(id_, flags | _TRUNCATED, questions, kept, 0, len(option) // len(_OPTION))
    return head + answer[_HEADER.size : end] + option


def _labels(message: bytes) -> tuple[list[bytes], int]:
    """The labels of the question's name, and the offset behind it. There is nothing before it to point to."""
    labels: list[bytes] = []
    offset = _HEADER.size
    while True:
        if offset >= len(message):
            raise Malformed(FORMERR)
        length = message[offset]
        if length > 63 or offset + 1 + length > _HEADER.size + 255:
            raise Malformed(FORMERR)
        offset += 1
        if not length:
            break
        labels.append(message[offset : offset + length])
        offset += length
    if offset + _QUESTION.size > len(message):
        raise Malformed(FORMERR)
    return labels, offset


def _text(labels: list[bytes]) -> str | None:
    if any(b"." in label or not label.isascii() for label in labels):
        return None
    return b".".join(labels).decode("ascii").lower()


def _record(message: bytes, offset: int) -> tuple[int, int, int]:
    """(type, class, the offset behind it) of a record."""
    offset = _skip_name(message, offset)
    if offset + _RECORD.size > len(message):
        raise Malformed(FORMERR)
    type_, class_, _, length = _RECORD.unpack_from(message, offset)
    offset += _RECORD.size + length
    if offset > len(message):
        raise Malformed(FORMERR)
    return type_, class_, offset


def _skip_name(message: bytes, offset: int) -> int:
    while offset < len(message):
        length = message[offset]
        if not length:
            return offset + 1
        if length >= 0xC0:
            return offset + 2
        if length > 63:
            break
        offset += 1 + length
    raise Malformed(FORMERR)
