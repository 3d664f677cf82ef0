"""Sets of processors as the kernel writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from linkspan.errors import InvalidArgument
from linkspan.model.processors import parse_numbers, write_numbers


@given(some.frozensets(some.integers(0, 8191), min_size=1))
def test_what_is_written_reads_back(numbers: frozenset[int]) -> None:
    assert parse_numbers(write_numbers(numbers)) == numbers


def test_the_shortest_form() -> None:
    assert write_numbers(frozenset({0, 1, 2, 5, 7, 8})) == "0-2,5,7-8"


@pytest.mark.parametrize("text", ["", ",", "a", "-1", "1-", "3-1", "0,", "99999", "٣", "1-2-3", " 1"])
def test_mistakes(text: str) -> None:
    with pytest.raises(InvalidArgument, match="for cpuset mems"):
        parse_numbers(text, "mems")
