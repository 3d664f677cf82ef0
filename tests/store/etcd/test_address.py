"""The cluster's address and certificates as users type them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument
from linkspan.store.etcd.address import ClusterAddress, MemberAddress, Tls, parse_cluster, parse_tls


@pytest.mark.parametrize(
    ("text", "members", "prefix"),
    [
        ("etcd://h1:2379,h2:2380,h3", [("h1", 2379), ("h2", 2380), ("h3", 2379)], "/linkspan"),
        ("etcd://10.0.0.1", [("10.0.0.1", 2379)], "/linkspan"),
        ("etcd://[fd00:0::1]:4001,[::1]", [("fd00::1", 4001), ("::1", 2379)], "/linkspan"),
        ("etcd://etcd-1.example.com.:2379/", [("etcd-1.example.com.", 2379)], "/linkspan"),
        ("etcd://h1/teams/blue/", [("h1", 2379)], "/teams/blue"),
    ],
)
def test_cluster(text: str, members: list[tuple[str, int]], prefix: str) -> None:
    parsed = parse_cluster(text)
    assert parsed == ClusterAddress(tuple(MemberAddress(*member) for member in members), prefix)
    assert parse_cluster(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h1:2379", "it has to begin with etcd://"),
        ("http://h1:2379", "it has to begin with etcd://"),
        ("etcd://", "a host is missing"),
        ("etcd://h1,,h2", "a host is missing"),
        ("etcd://h1:0", '"h1:0": "0" is no port'),
        ("etcd://h1:", '"h1:": "" is no port'),
        ("etcd://h1:65536", '"65536" is no port'),
        ("etcd://h1:\u0663", "is no port"),
        ("etcd://h 1", '"h 1" is no host name and no address'),
        ("etcd://fd00::1", "an IPv6 address goes in brackets"),
        ("etcd://[fd00::1", "is not a host and a port"),
        ("etcd://[fd00::1]x", "is not a host and a port"),
        ("etcd://[fd00::x]:1", '"fd00::x" is no IPv6 address'),
        ("etcd://me:secret@h1", "a user name is not supported"),
        ("etcd://h1,h2,h1:2379", "h1:2379 is there twice"),
        ("etcd://h1?x=1", "there is no query in it"),
        ("etcd://h1//", 'the prefix "//" is not a path'),
        ("etcd://h1/a b", 'the prefix "/a b" is not a path'),
    ],
)
def test_a_wrong_cluster_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_cluster(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("invalid cluster address")
    assert "secret" not in str(caught.value)


@given(st.text(alphabet="etcd:/[],hf01 .@?-\u00fc", max_size=30))
def test_whatever_is_typed(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert parse_cluster(str(parse_cluster("etcd://" + text))).members


def test_tls() -> None:
    assert parse_tls("ca=/a,cert=/b,key=/c,name=etcd.example") == Tls("/a", "/b", "/c", "etcd.example")
    assert parse_tls("ca=/a") == Tls("/a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", '"" is none of'),
        ("/ca.pem", '"/ca.pem" is none of'),
        ("cert=/a,key=/b", "ca=FILE is missing"),
        ("ca=/a,cert=/b", "cert= and key= go together"),
        ("ca=/a,key=/b", "cert= and key= go together"),
        ("ca=,cert=/b", "ca= is empty"),
        ("ca=/a,ca=/b", "ca= is there twice"),
    ],
)
def test_a_wrong_tls_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_tls(text)
    assert words in str(caught.value)
