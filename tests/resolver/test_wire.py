"""DNS packets, held against dnspython; and nothing but our own error escapes, whatever comes."""

from __future__ import annotations

import contextlib

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkspan.resolver import wire

LABELS = st.text(alphabet="abcXYZ019-_", min_size=1, max_size=63)
NAMES = st.lists(LABELS, max_size=4).map(".".join).filter(lambda name: len(name) < 250)
TYPES = st.sampled_from(["A", "AAAA", "MX", "PTR", "SRV", "TXT", "HTTPS", "ANY", "SOA"])


def question(name: str, type_: str = "A", size: int | None = None) -> bytes:
    """A query as dnspython packs it; with EDNS where a size is given."""
    options = {} if size is None else {"use_edns": 0, "payload": size}
    return dns.message.make_query(f"{name}.", type_, **options).to_wire()


@given(NAMES, TYPES, st.none() | st.integers(0, 65535))
def test_a_query_is_what_dnspython_packed(name: str, type_: str, size: int | None) -> None:
    packed = question(name, type_, size)
    query = wire.parse(packed)
    message = dns.message.from_wire(packed)
    assert (query.id, query.name, query.type) == (message.id, name.lower(), dns.rdatatype.from_text(type_))
    assert (query.extended, query.size) == (size is not None, max(size or 0, 512))
    assert query.flags & 0x0100 and query.class_ == wire.IN


@given(NAMES, st.lists(st.binary(min_size=4, max_size=4), max_size=40), st.none() | st.integers(0, 4096))
def test_a_reply_is_read_by_dnspython(name: str, addresses: list[bytes], size: int | None) -> None:
    query = wire.parse(question(name, "A", size))
    records = [wire.address_record(address, 600) for address in addresses]
    packed = wire.reply(query, wire.NOERROR, records, limit=query.size)
    message = dns.message.from_wire(packed)
    assert len(packed) <= query.size and message.id == query.id
    assert message.question[0].name.to_text(omit_final_dot=True).lower() == name.lower() or not name
    assert message.flags & dns.flags.QR and message.flags & dns.flags.RA and message.flags & dns.flags.RD
    assert (message.edns == 0) == (size is not None)
    found = [record.to_text() for rrset in message.answer for record in rrset]
    wanted = [".".join(map(str, address)) for address in addresses]
    whole = 12 + len(query.question) + 16 * len(addresses) + (11 if size is not None else 0) <= query.size
    assert bool(message.flags & dns.flags.TC) == wire.truncated(packed) == (not whole)
    assert set(found) <= set(wanted) and (not whole or set(found) == set(wanted))
    assert all(rrset.ttl == 600 for rrset in message.answer)


def test_other_records() -> None:
    query = wire.parse(question("2.0.18.172.in-addr.arpa", "PTR"))
    message = dns.message.from_wire(wire.reply(query, wire.NOERROR, [wire.pointer_record("web.own", 600)]))
    assert message.answer[0].to_text() == "2.0.18.172.in-addr.arpa. 600 IN PTR web.own."
    query = wire.parse(question("web", "AAAA"))
    message = dns.message.from_wire(
        wire.reply(query, wire.NOERROR, [wire.address_record(b"\xfd" + bytes(14) + b"\1", 600)])
    )
    assert message.answer[0].to_text() == "web. 600 IN AAAA fd00::1"
    message = dns.message.from_wire(wire.reply(query, wire.NXDOMAIN))
    assert message.rcode() == dns.rcode.NXDOMAIN and not message.answer


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["x" * 60] * 5), "ümlaut"])
def test_what_is_no_name_in_dns(name: str) -> None:
    with pytest.raises(ValueError):
        wire.pack_name(name)


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (question("web")[:2] + b"\x81" + question("web")[3:], None),  # an answer
        (question("web")[:2] + b"\x29" + question("web")[3:], wire.NOTIMP),  # an update
        (question("web")[:4] + b"\0\2" + question("web")[6:], wire.FORMERR),  # two questions
        (question("web")[:4] + b"\0\0" + question("web")[6:], wire.FORMERR),  # none
        (question("web")[:14], wire.FORMERR),  # cut in the name
        (question("web")[:-1], wire.FORMERR),  # cut in the class
        (question("web")[:12] + b"\xc0\x0c" + question("web")[17:], wire.FORMERR),  # a name that points to itself
        (question("web")[:12] + b"\x40" * 8, wire.FORMERR),  # a label of a kind that there is not
        (question("web")[:12] + (b"\x3f" + b"x" * 63) * 5 + b"\0\0\1\0\1", wire.FORMERR),  # a name of 320 bytes
        (question("web", size=1232)[:-4], wire.FORMERR),  # cut in the option
        (question("web")[:10] + b"\0\1" + question("web")[12:], wire.FORMERR),  # a record that is not there
        (question("web")[:10] + b"\xff\xff" + question("web")[12:] + b"\0" * 11, wire.FORMERR),
    ],
)
def test_malformed(packet: bytes, rcode: int | None) -> None:
    with pytest.raises(wire.Malformed) as caught:
        wire.parse(packet)
    assert caught.value.rcode == rcode
    if rcode is not None:
        message = dns.message.from_wire(wire.refusal(packet, rcode))
        assert message.rcode() == rcode and message.id == int.from_bytes(packet[:2], "big")


def test_labels_that_no_name_of_ours_has() -> None:
    """A dot inside a label is no dot between labels, and no byte is a letter that it is not."""
    packed = question("web")
    assert wire.parse(packed[:12] + b"\7web.own" + packed[16:]).name is None
    assert wire.parse(packed[:12] + b"\3w\xc3\xbc" + packed[16:]).name is None


@given(st.binary(max_size=600))
@example(question("web", size=512))
def test_any_bytes(packet: bytes) -> None:
    try:
        query = wire.parse(packet)
    except wire.Malformed as error:
        assert error.rcode is None or len(wire.refusal(packet, error.rcode)) == 12
        return
    dns.message.from_wire(wire.reply(query, wire.NOERROR), ignore_trailing=True)


@given(st.data(), NAMES)
def test_any_bytes_changed_in_a_query(data: st.DataObject, name: str) -> None:
    packed = bytearray(question(name, "A", 1232))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(wire.Malformed):
        wire.reply(wire.parse(bytes(packed)), wire.NOERROR)


def answered(query: bytes, count: int, *, id_: int | None = None) -> bytes:
    """An upstream server's answer with so many addresses."""
    message = dns.message.make_response(dns.message.from_wire(query))
    message.flags |= dns.flags.RA
    name = message.question[0].name
    for number in range(count):
        message.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", f'"{number:04d}{"x" * 60}"'))
    if id_ is not None:
        message.id = id_
    return message.to_wire(max_size=65535)


@pytest.mark.parametrize(("size", "limit"), [(None, 512), (600, 600), (1232, 1232), (4096, 4096)])
def test_a_long_answer_is_cut_to_what_the_client_takes(size: int | None, limit: int) -> None:
    packed = question("big.example", "TXT", size)
    query, answer = wire.parse(packed), answered(packed, 100)
    cut = wire.shorten(answer, query, query.size)
    message = dns.message.from_wire(cut)
    assert message.flags & dns.flags.TC and limit - 90 < len(cut) <= limit and wire.truncated(cut)
    assert len(message.answer[0]) > 3 and message.question == dns.message.from_wire(packed).question
    assert wire.shorten(answer, query, wire.LARGEST) == answer


@given(st.binary(min_size=500, max_size=900), st.integers(512, 800))
def test_an_answer_of_any_bytes_is_cut_or_refused(answer: bytes, limit: int) -> None:
    query = wire.parse(question("web"))
    with contextlib.suppress(wire.Malformed):
        assert len(wire.shorten(answer, query, limit)) <= limit


def test_which_answer_is_one_to_the_question() -> None:
    packed = question("WEB.example")
    query, id_ = wire.parse(packed), b"\x12\x34"
    assert wire.answers_to(query, id_, answered(packed, 1, id_=0x1234))
    assert wire.answers_to(query, id_, answered(question("web.example"), 1, id_=0x1234))
    assert wire.answers_to(query, id_, wire.refusal(id_ + packed[2:], wire.SERVFAIL))
    for other in (
        answered(packed, 1, id_=0x1235),
        answered(question("other.example"), 1, id_=0x1234),
        answered(question("WEB.example", "AAAA"), 1, id_=0x1234),
        id_ + packed[2:],
        wire.refusal(id_ + packed[2:], wire.NOERROR),
        b"",
    ):
        assert not wire.answers_to(query, id_, other)
