"""Addresses come in order, are never held twice, and can all be had again."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import Conflict, Forbidden, InvalidArgument
from linkspan.ipam.addresses import allocate_address, default_gateway
from linkspan.ipam.names import bridge_name, mac_address, parse_mac, veth_name
from linkspan.ipam.pools import DEFAULT_SOURCES, allocate_subnet, check_overlap, parse_source, ula_source
from linkspan.model.network import Pool
from linkspan.model.pages import PAGE, free_numbers

DOCKER0 = Pool(subnet="172.17.0.0/16", gateway="172.17.0.1")
SMALL = Pool(subnet="10.0.0.0/29", gateway="10.0.0.1", auxiliary={"printer": "10.0.0.3"})


def nobody(page: int) -> int:
    return 0


def pages(held: Collection[int]) -> Callable[[int], int]:
    return lambda page: sum(1 << n % PAGE for n in held if n // PAGE == page)


def allocate(pool: Pool, held: Callable[[int], int], wanted: str = "") -> str:
    address, of = allocate_address((pool,), held, wanted)
    assert of == pool
    return address


def number(address: str) -> int:
    return int(ipaddress.ip_address(address))


def test_in_order_after_the_gateway() -> None:
    held: set[int] = set()
    found = []
    for _ in range(3):
        found.append(allocate(DOCKER0, pages(held)))
        held.add(number(found[-1]))
    assert found == ["172.17.0.2", "172.17.0.3", "172.17.0.4"]


def test_neither_network_nor_broadcast_nor_gateway_nor_auxiliary() -> None:
    held: set[int] = set()
    while len(held) < 4:
        held.add(number(allocate(SMALL, pages(held))))
    assert {str(ipaddress.ip_address(n)) for n in held} == {f"10.0.0.{n}" for n in (2, 4, 5, 6)}
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        allocate(SMALL, pages(held))


def test_an_ip_range_limits_the_choice_not_the_user() -> None:
    pool = Pool(subnet="10.0.0.0/24", ip_range="10.0.0.128/28", gateway="10.0.0.1")
    assert allocate(pool, nobody) == "10.0.0.128"
    assert allocate(pool, nobody, "10.0.0.7") == "10.0.0.7"


@pytest.mark.parametrize(
    ("wanted", "kind", "text"),
    [
        ("10.0.0.1", Forbidden, "Address already in use"),
        ("10.0.0.3", Forbidden, "Address already in use"),
        ("10.0.0.0", Forbidden, "Address already in use"),
        ("10.0.0.7", Forbidden, "Address already in use"),
        ("10.9.0.1", InvalidArgument, "no configured subnet"),
        ("10.0.0", InvalidArgument, "invalid IPv4 address: 10.0.0"),
    ],
)
def test_a_choice_that_cannot_be(wanted: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        allocate(SMALL, nobody, wanted)


@given(st.integers(0, 3 * PAGE), st.integers(0, 3 * PAGE), st.sets(st.integers(0, 3 * PAGE)), st.booleans())
def test_free_numbers_are_those_not_held_in_order(first: int, last: int, some: set[int], inverted: bool) -> None:
    held = set(range(3 * PAGE + 1)) - some if inverted else some
    assert list(free_numbers(first, last, pages(held))) == [n for n in range(first, last + 1) if n not in held]


def test_the_choice_costs_a_look_at_a_page_not_at_an_address() -> None:
    asked: list[int] = []

    def full_until(page: int) -> int:
        asked.append(page)
        return (1 << PAGE) - 1 if len(asked) < 5 else 0

    assert allocate(DOCKER0, full_until) == "172.17.16.0"
    assert len(asked) == 5
    wide = Pool(subnet="fd00::/64", gateway="fd00::1")
    assert allocate(wide, nobody) == "fd00::2"
    assert allocate(wide, pages({number("fd00::2")})) == "fd00::3"
    assert allocate(wide, nobody, "fd00:0:0:0:1::") == "fd00::1:0:0:0"


@given(st.integers(0, 8), st.sets(st.integers(1, 7)), st.lists(st.integers(1, 7), max_size=2))
def test_the_preferred_first_then_those_behind_then_from_the_beginning(
    latest: int, some: set[int], preferred: list[int]
) -> None:
    base = number("10.0.0.0")
    order = [*preferred, *range(latest + 1, 7), *range(1, latest + 1)]
    free = [n for n in order if n not in some and n in (2, 4, 5, 6)]

    def choose() -> str:
        return allocate_address(
            [SMALL],
            pages({base + n for n in some}),
            preferred=[base + n for n in preferred],
            behind=lambda pool: base + latest,
        )[0]

    if free:
        assert number(choose()) - base == free[0]
    else:
        with pytest.raises(Conflict):
            choose()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=60))
def test_no_address_is_ever_held_twice_and_everything_released_can_be_had_again(steps: list[tuple[bool, int]]) -> None:
    held: list[int] = []
    for take, which in steps:
        if take:
            try:
                found = number(allocate(SMALL, pages(held)))
            except Conflict:
                assert len(held) == 4
                continue
            assert found not in held
            held.append(found)
        elif held:
            released = held.pop(which % len(held))
            assert number(allocate(SMALL, pages(held), str(ipaddress.ip_address(released)))) == released


def test_default_gateway() -> None:
    assert default_gateway(Pool(subnet="10.0.0.0/24")) == "10.0.0.1"
    assert default_gateway(Pool(subnet="10.0.0.0/24", ip_range="10.0.0.64/26")) == "10.0.0.64"
    assert default_gateway(Pool(subnet="10.0.0.0/24", ip_range="10.0.0.0/26")) == "10.0.0.1"
    assert default_gateway(DOCKER0) == "172.17.0.1"

    assert default_gateway(Pool(subnet="10.0.0.0/24", auxiliary={"router": "10.0.0.1"})) == "10.0.0.2"
    assert default_gateway(Pool(subnet="fd00::/64")) == "fd00::1"
    with pytest.raises(InvalidArgument, match="no available IPv4 address for a gateway"):
        default_gateway(Pool(subnet="10.0.0.0/32", auxiliary={"router": "10.0.0.0"}))


def test_a_subnet_of_two_addresses_has_two() -> None:
    """RFC 3021, RFC 6164: neither of them is the subnet's, or everybody's."""
    for pair in (Pool(subnet="10.0.0.6/31"), Pool(subnet="fd00::6/127")):
        first, second = map(str, ipaddress.ip_network(pair.subnet))
        assert allocate(pair, pages(())) == first and allocate(pair, pages({number(first)})) == second
        with pytest.raises(Conflict):
            allocate(pair, pages({number(first), number(second)}))
    assert default_gateway(Pool(subnet="10.0.0.6/31")) == "10.0.0.6"


def test_pools_are_used_up_one_after_the_other() -> None:
    pools = (SMALL, Pool(subnet="10.0.1.0/30", gateway="10.0.1.1"))
    held = {number(f"10.0.0.{n}") for n in (2, 4, 5, 6)}
    assert allocate_address(pools, pages(held)) == ("10.0.1.2", pools[1])
    assert allocate_address(pools, nobody, "10.0.1.2") == ("10.0.1.2", pools[1])
    with pytest.raises(Conflict, match=r"10\.0\.0\.0/29, 10\.0\.1\.0/30: used up"):
        allocate_address(pools, pages(held | {number("10.0.1.2")}))


def test_default_pools_are_dockers_and_avoid_what_is_taken() -> None:
    assert allocate_subnet(DEFAULT_SOURCES, []) == "172.17.0.0/16"
    assert allocate_subnet(DEFAULT_SOURCES, ["172.17.5.0/24", "172.18.0.0/15"]) == "172.20.0.0/16"
    taken: list[str] = []
    with pytest.raises(InvalidArgument, match="all predefined address pools have been fully subnetted"):
        while True:
            subnet = allocate_subnet(DEFAULT_SOURCES, taken)
            check_overlap(subnet, taken)
            taken.append(subnet)
    assert len(taken) == 31


def test_overlap_is_refused() -> None:
    with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
        check_overlap("10.0.0.0/8", ["10.1.0.0/16"])
    check_overlap("10.0.0.0/16", ["10.1.0.0/16", "fd00::/64"])


def test_pool_sources() -> None:
    assert allocate_subnet([parse_source("10.10.0.0/16", 24)], ["10.10.0.0/24"]) == "10.10.1.0/24"
    for base, size in (("10.10.0.0/16", 8), ("10.10.0.0/16", 31), ("nonsense", 24), ("fd00::/48", 127)):
        with pytest.raises(InvalidArgument, match="invalid default-address-pool"):
            parse_source(base, size)


def test_a_size_of_ones_own_and_ipv6() -> None:
    assert allocate_subnet(DEFAULT_SOURCES, ["172.17.0.0/16"], size=24) == "172.18.0.0/24"
    assert allocate_subnet(DEFAULT_SOURCES, ["172.17.0.0/24", "172.17.1.128/25"], size=24) == "172.17.2.0/24"
    own = ula_source("CK4M:QQYF")
    assert own == ula_source("CK4M:QQYF") != ula_source("another host")
    first = allocate_subnet([own], [], 6)
    assert first.startswith("fd") and first.endswith("::/64") and own.base.prefixlen == 48
    second = allocate_subnet([*DEFAULT_SOURCES, own], [first, "172.17.0.0/16"], 6)
    assert ipaddress.IPv6Network(second)[0] == ipaddress.IPv6Network(first)[0] + 2**64
    with pytest.raises(InvalidArgument, match="have been fully subnetted"):
        allocate_subnet(DEFAULT_SOURCES, [], 6)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=8), st.integers(26, 30))
def test_the_first_subnet_that_fits(held: list[tuple[int, int]], size: int) -> None:
    taken = [str(ipaddress.ip_network((0x0A000000 + at, length), strict=False)) for at, length in held]
    source = parse_source("10.0.0.0/26", size)
    free = [s for s in source.subnets() if not any(s.overlaps(ipaddress.ip_network(t)) for t in taken)]  # type: ignore[arg-type]
    try:
        assert allocate_subnet([source], taken) == str(free[0])
    except InvalidArgument:
        assert not free


def test_names_follow_from_what_they_name() -> None:
    assert mac_address("172.17.0.2") == "02:42:ac:11:00:02"
    assert parse_mac(mac_address("fd00::2")) == mac_address("fd00:0::2") != mac_address("fd00::3")
    assert mac_address("172.17.0.2", lambda mac: mac < "0a") == "0a:42:ac:11:00:02"
    assert veth_name("0123456789abcdef") == "veth0123456789a"
    assert bridge_name("0123456789abcdef") == "br-0123456789ab"
    assert parse_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    for bad in ("02:42:ac:11:00", "01:00:5e:00:00:01", "02:42:ac:11:00:zz", "123"):
        with pytest.raises(InvalidArgument, match="invalid MAC address"):
            parse_mac(bad)
