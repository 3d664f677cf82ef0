"""The gateway's JSON: ranges of keys, and whatever else may be answered."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import Internal, LinkspanError
from linkspan.store.etcd.http import Broken
from linkspan.store.etcd.members import NotBegun, TooLarge, failed
from linkspan.store.etcd.wire import (
    EVERYTHING,
    MembersAnswer,
    RangeAnswer,
    StatusAnswer,
    Streamed,
    TtlAnswer,
    TxnAnswer,
    decode,
    end_of,
    key_of,
    text_of,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["header", "kvs", "key", "error", "message", "code", "result", "events", "kv", "TTL", "keys"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_the_end_of_a_prefix(prefix: bytes, key: bytes) -> None:
    end = end_of(prefix)
    if end == EVERYTHING:
        assert not prefix.strip(b"\xff")
    else:
        assert (prefix <= key < end) == key.startswith(prefix)


@given(st.binary(max_size=10))
def test_keys_are_text_and_back(key: bytes) -> None:
    assert key_of(text_of(key)) == key


@pytest.mark.parametrize("type_", [RangeAnswer, TxnAnswer, TtlAnswer, StatusAnswer, MembersAnswer, Streamed])
@given(body=BODIES)
def test_whatever_is_answered(type_: type[object], body: bytes) -> None:
    with contextlib.suppress(Internal):  # which the client says in words
        assert isinstance(decode(body, type_), type_)


@given(st.sampled_from([400, 404, 503]), BODIES)
def test_whatever_is_answered_as_an_error(status: int, body: bytes) -> None:
    assert isinstance(failed(status, body), LinkspanError | NotBegun | Broken | TooLarge)
