"""Tokens: what is typed is what was printed, or it is said what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument
from linkspan.model.mesh_token import Token, parse_token

TOKENS = st.builds(
    Token,
    mesh_id=st.binary(min_size=8, max_size=8).map(bytes.hex),
    authority=st.binary(min_size=16, max_size=16),
    secret=st.binary(min_size=16, max_size=16),
)


@given(TOKENS)
def test_it_comes_back(token: Token) -> None:
    text = token.text()
    assert parse_token(f" {text}\n") == token and len(text) == 73
    assert parse_token(text.replace(text[5:], text[5:].upper())) == token


@given(TOKENS, st.integers(0, 67), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_wrong_letter_is_noticed(token: Token, at: int, letter: str) -> None:
    text = token.text()
    wrong = text[: 5 + at] + letter + text[6 + at :]
    if wrong != text and at < 67:  # the last letter has bits to spare
        with pytest.raises(InvalidArgument, match="not whole, or something in it was changed"):
            parse_token(wrong)


@given(st.text())
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_token(f"lsm1-{text}")
    assert len(text) < 12 or text not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "lsm1", "lsm2-aaaa", "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv"]
)
def test_another_kind_of_token(text: str) -> None:
    with pytest.raises(InvalidArgument, match="it begins with lsm1-"):
        parse_token(text)


def test_the_secret_is_not_shown_by_chance() -> None:
    assert "secret" not in repr(Token("00" * 8, b"a" * 16, b"s" * 16))
