"""Sets of numbers that are handed out lowest first, held as pages of bits.

Bit `b` of page `p` stands for the number `p * PAGE + b`. One page is a short integer: a set changes in one place at
little cost, the lowest number that is not held is found a page at a time, and an IPv6 subnet costs no more than what is
held of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

PAGE = 1024
_FULL = (1 << PAGE) - 1


def place(number: int) -> tuple[int, int]:
    """The page of a number, and its bit there."""
    return number // PAGE, 1 << number % PAGE


def free_numbers(first: int, last: int, held: Callable[[int], int]) -> Iterator[int]:
    """The numbers first..last that are not held, in order. `held(page)` is asked for a page when it is come to."""
    low, high = first // PAGE, last // PAGE
    for page in range(low, high + 1):
        free = _FULL & ~held(page)
        if page == low:
            free &= -1 << first % PAGE
        if page == high:
            free &= (2 << last % PAGE) - 1
        yield from numbers(page, free)


def numbers(page: int, bits: int) -> Iterator[int]:
    """Those whose bits of the page are set, in order."""
    while bits:
        bit = bits & -bits
        yield page * PAGE + bit.bit_length() - 1
        bits ^= bit
