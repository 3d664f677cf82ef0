"""Blocks of addresses: each host from its own, and none twice."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.ipam.blocks import block_length, free_block
from linkspan.model.network import Pool


@pytest.mark.parametrize(
    ("subnet", "length"),
    [
        ("10.0.0.0/8", 26),
        ("10.0.0.0/22", 26),
        ("10.0.0.0/24", 28),
        ("10.0.0.0/25", 29),
        ("10.0.0.0/28", 29),
        ("10.0.0.0/29", 0),
        ("10.0.0.0/30", 0),
        ("fd00::/64", 122),
        ("fd00::/120", 124),
        ("fd00::/126", 0),
    ],
)
def test_how_large_a_block_is(subnet: str, length: int) -> None:
    assert block_length(Pool(subnet=subnet)) == length


def test_a_range_is_what_is_cut() -> None:
    pool = Pool(subnet="10.0.0.0/16", ip_range="10.0.7.0/24")
    assert ipaddress.ip_network(free_block(pool, (), "a")).subnet_of(ipaddress.ip_network("10.0.7.0/24"))


@given(st.sampled_from(["10.0.0.0/24", "10.0.0.0/22", "fd00::/112", "10.0.0.0/27"]), st.lists(st.text(), max_size=40))
def test_each_host_gets_one_of_its_own_until_all_are_taken(subnet: str, hosts: list[str]) -> None:
    pool, taken = Pool(subnet=subnet), list[str]()
    whole = ipaddress.ip_network(subnet)
    count = 1 << (block_length(pool) - whole.prefixlen)
    for number, host in enumerate(hosts):
        found = free_block(pool, [*taken, "fe80::/64", "192.168.0.0/24"], host)
        if number >= count:
            assert found == ""
            continue
        block = ipaddress.ip_network(found)
        assert block.subnet_of(whole) and not any(block.overlaps(ipaddress.ip_network(other)) for other in taken)
        taken.append(found)
