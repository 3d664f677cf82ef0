"""Which subnet a host takes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import Conflict
from linkspan.ipam.flannel import CANDIDATES, choose_subnet, overlapping, reachable
from linkspan.model.flannel import Lease, parse_config

CONFIG = parse_config('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.10.0", "SubnetMax": "10.5.20.0"}')
NOTHING = ("", "")


def first(_: int) -> int:
    return 0


def last(count: int) -> int:
    return count - 1


def test_a_free_subnet_of_the_first_hundred_is_picked() -> None:
    wide = parse_config('{"Network": "10.0.0.0/8"}')
    assert choose_subnet(wide, (), "192.0.2.1", NOTHING, first).subnet == "10.0.1.0/24"
    assert choose_subnet(wide, (), "192.0.2.1", NOTHING, last).subnet == f"10.0.{CANDIDATES}.0/24"
    taken = [
        Lease("10.5.10.0/24", "192.0.2.2"),
        Lease("10.5.11.128/25", "192.0.2.3"),
        Lease("10.5.12.0/22", "192.0.2.4"),
    ]
    assert choose_subnet(CONFIG, taken, "192.0.2.1", NOTHING, first).subnet == "10.5.16.0/24"
    assert choose_subnet(CONFIG, taken, "192.0.2.1", NOTHING, last).subnet == "10.5.20.0/24"


def test_a_lease_of_ours_is_kept_and_one_that_the_configuration_forbids_is_given_up() -> None:
    mine, unfit = Lease("10.5.12.0/24", "192.0.2.1"), Lease("10.5.99.0/24", "192.0.2.1")
    choice = choose_subnet(CONFIG, [unfit, mine], "192.0.2.1", NOTHING, first)
    assert (choice.subnet, choice.held, choice.unfit) == ("10.5.12.0/24", mine, (unfit,))
    choice = choose_subnet(CONFIG, [unfit], "192.0.2.1", NOTHING, first)
    assert (choice.subnet, choice.held, choice.unfit) == ("10.5.10.0/24", None, (unfit,))


def test_of_two_leases_of_ours_the_one_that_containers_have_addresses_of() -> None:
    two = [Lease("10.5.12.0/24", "192.0.2.1"), Lease("10.5.13.0/24", "192.0.2.1")]
    assert choose_subnet(CONFIG, two, "192.0.2.1", ("10.5.13.0/24", ""), first).subnet == "10.5.13.0/24"


def test_the_subnet_of_before_is_taken_again_unless_somebody_has_it() -> None:
    before = ("10.5.15.0/24", "")
    assert choose_subnet(CONFIG, (), "192.0.2.1", before, first).subnet == "10.5.15.0/24"
    stolen = [Lease("10.5.15.0/24", "192.0.2.2")]
    assert choose_subnet(CONFIG, stolen, "192.0.2.1", before, first).subnet == "10.5.10.0/24"
    assert choose_subnet(CONFIG, (), "192.0.2.1", ("10.5.99.0/24", ""), first).subnet == "10.5.10.0/24"


def test_a_reservation_is_somebody_s() -> None:
    reserved = [Lease("10.5.10.0/24", "192.0.2.2", reserved=True)]
    assert choose_subnet(CONFIG, reserved, "192.0.2.1", NOTHING, first).subnet == "10.5.11.0/24"
    assert choose_subnet(CONFIG, reserved, "192.0.2.2", NOTHING, first).held == reserved[0]


def test_no_subnet_left_is_said() -> None:
    all_ = [Lease(f"10.5.{number}.0/24", f"192.0.2.{number}") for number in range(10, 21)]
    with pytest.raises(Conflict, match=r"out of subnets: every /24 from 10\.5\.10\.0 to 10\.5\.20\.0"):
        choose_subnet(CONFIG, all_, "192.0.2.1", NOTHING, first)


def test_both_ip_versions() -> None:
    dual = parse_config('{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48"}')
    taken = [Lease("10.5.1.0/24", "192.0.2.2", "fd00:5:0:1::/64")]
    choice = choose_subnet(dual, taken, "192.0.2.1", NOTHING, first)
    assert (choice.subnet, choice.subnet6) == ("10.5.2.0/24", "fd00:5:0:2::/64")
    without = [Lease("10.5.1.0/24", "192.0.2.1")]
    assert choose_subnet(dual, without, "192.0.2.1", NOTHING, first).unfit == tuple(without)
    before = ("10.5.7.0/24", "fd00:5:0:7::/64")
    assert choose_subnet(dual, taken, "192.0.2.1", before, first).subnet6 == "fd00:5:0:7::/64"


def test_of_two_leases_with_a_subnet_in_common_the_earlier_one_holds() -> None:
    """Their keys differ where the other subnet of the two does, so that etcd has both."""
    dual = parse_config('{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48"}')
    one = Lease("10.5.1.0/24", "192.0.2.1", "fd00:5:0:1::/64")
    two = Lease("10.5.2.0/24", "192.0.2.2", "fd00:5:0:1::/64")
    three = Lease("10.5.1.0/24", "192.0.2.3", "fd00:5:0:3::/64")
    four = Lease("10.5.2.0/24", "192.0.2.4", "fd00:5:0:4::/64")  # in common with one that does not hold
    there = [one, two, three, four]
    assert overlapping(there) == [two, three]
    assert choose_subnet(dual, there, one.public_ip, NOTHING, first).held == one
    choice = choose_subnet(dual, there, two.public_ip, NOTHING, first)
    assert (choice.held, choice.unfit) == (None, (two,))
    assert overlapping([one, three, four, Lease(choice.subnet, two.public_ip, choice.subnet6)]) == [three]
    # A fifth host has routes to those that hold.
    fifth = Lease("10.5.9.0/24", "192.0.2.9", "fd00:5:0:9::/64")
    found, wrong = reachable(dual, fifth, there)
    assert found == [one, four]
    assert wrong == [
        "lease 10.5.2.0/24 of 192.0.2.2: it overlaps another host's",
        "lease 10.5.1.0/24 of 192.0.2.3: it overlaps another host's",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(20, 26)), max_size=40),
    st.integers(0, 1000),
)
def test_what_is_chosen_overlaps_nobody_s(taken: list[tuple[int, int]], number: int) -> None:
    leases = [
        Lease(str(ipaddress.ip_network(f"10.5.{third}.0/{length}", strict=False)), f"192.0.2.{at}")
        for at, (third, length) in enumerate(taken)
    ]
    try:
        subnet = choose_subnet(CONFIG, leases, "192.0.3.1", NOTHING, lambda count: number % count).subnet
    except Conflict:
        free = [f"10.5.{third}.0/24" for third in range(10, 21)]
        assert all(any(_overlap(one, lease.subnet) for lease in leases) for one in free)
    else:
        assert CONFIG.v4.fits(subnet) and not any(_overlap(subnet, lease.subnet) for lease in leases)


def _overlap(one: str, other: str) -> bool:
    return ipaddress.IPv4Network(one).overlaps(ipaddress.IPv4Network(other))
