"""Who sees which name from where."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.resolver import wire
from linkspan.resolver.zone import Answer, Zone
from linkspan.state.names import HostListener, Listening, Named, NameRecord
from tests.resolver.test_wire import question


def named(
    id_: str,
    sandbox: str,
    network: str,
    names: tuple[str, ...],
    *addresses: str,
    links: Mapping[str, str] | None = None,
    rank: tuple[int, bool, str] | None = None,
) -> Named:
    return Named(
        id=id_,
        sandbox=sandbox,
        network=f"id of {network}",
        network_name=network,
        names=names,
        host_name=names[0] if names else id_,
        addresses=addresses,
        links=links or {},
        rank=rank or (0, False, network),
    )


def zone(*records: NameRecord) -> Zone:
    made = Zone()
    for record in records:
        made.put(record)
    return made


def ask(found: Zone, sandbox: str, name: str, type_: str = "A") -> list[str] | None:
    """The answer as text; None where somebody else is to be asked."""
    query = wire.parse(question(name, type_))
    answer = found.answer(sandbox, query)
    return None if answer is None else texts(query, answer)


def texts(query: wire.Query, answer: Answer) -> list[str]:
    message = dns.message.from_wire(wire.reply(query, answer.rcode, answer.records))
    return [record.to_text() for rrset in message.answer for record in rrset]


WEB = named("e1", "s1", "own", ("web", "www", "0123456789ab", "host-of-web"), "172.18.0.2")
DB = named("e2", "s2", "own", ("db", "www", "abcdef012345"), "172.18.0.3", "fd00::3")
FAR = named("e3", "s3", "other", ("far", "db", "far.away"), "172.19.0.2")
BOTH = (
    named("e4", "s4", "own", ("both",), "172.18.0.9", links={"store": "db", "web": "db", "gone": "nobody"}),
    named("e5", "s4", "other", ("both",), "172.19.0.9"),
)
ALL = zone(WEB, DB, FAR, *BOTH, *(Listening(id=id_, path="") for id_ in ("s1", "s2", "s3", "s4")))


@pytest.mark.parametrize("name", ["web", "WEB", "0123456789ab", "host-of-web", "web.own", "Web.OWN", "host-of-web.own"])
def test_names_of_a_neighbour(name: str) -> None:
    assert ask(ALL, "s2", name) == ["172.18.0.2"]


def test_whose_names_are_seen() -> None:
    assert ask(ALL, "s3", "web") is None
    assert ask(ALL, "s3", "web.own") is None
    assert ask(ALL, "s2", "far") is ask(ALL, "s2", "far.other") is None
    assert ask(ALL, "s1", "web") == ["172.18.0.2"]  # its own
    assert ask(ALL, "s3", "far.away") == ask(ALL, "s3", "far.away.other") == ["172.19.0.2"]
    assert ask(ALL, "s1", "example.com") is None and ask(ALL, "s1", "") is None
    assert ask(ALL, "unknown", "web") is None


def test_an_alias_of_several() -> None:
    assert set(ask(ALL, "s1", "www") or ()) == {"172.18.0.2", "172.18.0.3"}


def test_families_and_other_types() -> None:
    """A name of ours has addresses; that it has nothing else is said, and nobody else is asked."""
    assert ask(ALL, "s1", "db", "AAAA") == ["fd00::3"]
    for type_ in ("AAAA", "MX", "TXT", "SRV", "HTTPS", "ANY"):
        assert ask(ALL, "s1", "web", type_) == []
    six = zone(named("e", "s", "own", ("six",), "fd00::6"))
    assert ask(six, "s", "six") == []
    assert ask(ALL, "s1", "nobody", "MX") is None


def test_reverse() -> None:
    assert ask(ALL, "s2", "2.0.18.172.in-addr.arpa", "PTR") == ["web.own."]
    assert ask(ALL, "s1", ipaddress.ip_address("fd00::3").reverse_pointer.upper(), "PTR") == ["db.own."]
    assert ask(ALL, "s3", "2.0.18.172.in-addr.arpa", "PTR") is None
    assert ask(ALL, "s1", "1.1.1.1.in-addr.arpa", "PTR") is None
    assert ask(ALL, "s1", "web", "PTR") == []


def test_links_are_one_sandboxs_own_and_come_first() -> None:
    assert ask(ALL, "s4", "store") == ["172.18.0.3"]
    assert ask(ALL, "s4", "STORE", "AAAA") == ["fd00::3"]
    assert ask(ALL, "s4", "store.own") == ["172.18.0.3"]
    assert ask(ALL, "s4", "web") == ["172.18.0.3"]  # what it calls so, not who is called so
    assert ask(ALL, "s4", "gone") is None
    assert ask(ALL, "s1", "store") is None


def test_the_order_of_networks() -> None:
    """The one that leads out comes first, as for its gateway."""
    assert ask(ALL, "s4", "both") == ["172.19.0.9"] and ask(ALL, "s4", "both.own") == ["172.18.0.9"]
    first = named("e4", "s4", "own", ("both",), "172.18.0.9", rank=(-1, False, "own"))
    assert ask(zone(first, BOTH[1]), "s4", "both") == ["172.18.0.9"]


def test_dots_in_names_of_networks() -> None:
    dotted = zone(named("e1", "s", "net.of.dots", ("a.b",), "10.0.0.1"))
    assert ask(dotted, "s", "a.b.net.of.dots") == ask(dotted, "s", "a.b") == ["10.0.0.1"]
    assert ask(dotted, "s", "a.b.net.of") is None


def test_names_that_are_none_in_dns() -> None:
    """They can be had all the same; nobody can ask for them, and the reverse is one that can be said."""
    long = zone(named("e1", "s", "own", ("x" * 64, "y" * 300, "short"), "10.0.0.1"))
    assert ask(long, "s", "1.0.0.10.in-addr.arpa", "PTR") == ["short.own."]
    assert ask(zone(named("e1", "s", "own", ("x" * 64,), "10.0.0.1")), "s", "1.0.0.10.in-addr.arpa", "PTR") is None


def test_from_the_host() -> None:
    def host(name: str, type_: str = "A") -> tuple[int, list[str]]:
        query = wire.parse(question(name, type_))
        answer = ALL.host_answer(query)
        return answer.rcode, texts(query, answer)

    assert host("web.own.linkspan") == host("WEB.own.LINKSPAN") == (wire.NOERROR, ["172.18.0.2"])
    assert host("db.own.linkspan", "AAAA") == (wire.NOERROR, ["fd00::3"])
    assert host("web.own.linkspan", "TXT") == host("linkspan", "SOA") == (wire.NOERROR, [])
    assert host("www.own.linkspan")[0] == host("web.linkspan")[0] == host("nobody.own.linkspan")[0] == wire.NXDOMAIN
    assert host("2.0.18.172.in-addr.arpa", "PTR") == (wire.NOERROR, ["web.own.linkspan."])
    for other in ("web", "web.own", "example.com", "notlinkspan", "1.1.1.1.in-addr.arpa"):
        assert host(other, "PTR" if other.endswith("arpa") else "A")[0] == wire.REFUSED


RECORDS = st.one_of(
    st.builds(
        named,
        st.sampled_from("abcdef"),
        st.sampled_from(["s1", "s2"]),
        st.sampled_from(["own", "other"]),
        st.lists(st.sampled_from(["web", "db", "www"]), unique=True).map(tuple),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
    ),
    st.builds(Listening, id=st.sampled_from(["s1", "s2"]), path=st.just("/x"), outward=st.booleans()),
    st.builds(HostListener, address=st.just("127.0.0.55"), port=st.sampled_from([53, 5353])),
)


@given(st.lists(st.tuples(st.booleans(), RECORDS)))
def test_what_is_known_depends_on_what_is_there_and_not_on_how_it_came(steps: list[tuple[bool, NameRecord]]) -> None:
    there: dict[tuple[str, str], NameRecord] = {}
    grown = Zone()
    for put, record in steps:
        there.pop(record.key, None)
        if put:
            grown.put(record)
            there[record.key] = record
        else:
            grown.drop(record.key)
    fresh = zone(*there.values())
    assert grown.keys() == fresh.keys() == set(there)
    assert vars(grown) == vars(fresh)
    for key in list(there):
        grown.drop(key)
    assert vars(grown) == vars(Zone())
