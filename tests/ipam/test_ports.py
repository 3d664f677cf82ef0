"""Host ports: none is ever held twice, everything released can be had again, and Docker's words on refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import PortInUse
from linkspan.ipam.ports import PortSpace, allocate_ports, chosen_freely
from linkspan.model.endpoint import Binding
from linkspan.model.pages import PAGE, place
from linkspan.model.port import ContainerPort, PortRequest, clash

SPACE = PortSpace(first=100, last=109, reserved=frozenset({103}))


def nobody(protocol: str, address: str, page: int) -> int:
    return 0


def everything(protocol: str, address: str, page: int) -> int:
    return (1 << PAGE) - 1


def request(address: str = "0.0.0.0", first: int = 0, last: int | None = None, number: int = 80) -> PortRequest:
    return PortRequest(ContainerPort(number), address, first, first if last is None else last)


def ports(bindings: tuple[Binding, ...]) -> list[int]:
    return [binding.port for binding in bindings]


def test_the_port_asked_for() -> None:
    (binding,) = allocate_ports([request(first=8080)], nobody, SPACE)
    assert binding == Binding(protocol="tcp", address="0.0.0.0", port=8080, container_port=80)


def test_a_held_port_is_refused_with_dockers_words() -> None:
    with pytest.raises(PortInUse, match=r"^Bind for 0\.0\.0\.0:8080 failed: port is already allocated$"):
        allocate_ports([request(first=8080)], everything, SPACE)


def test_the_first_free_one_of_a_range() -> None:
    held = sum(place(port)[1] for port in (8000, 8001))
    found = allocate_ports([request(first=8000, last=8010)], lambda *_: held, SPACE)
    assert ports(found) == [8002]


def test_a_port_given_by_number_is_never_taken_by_one_of_free_choice() -> None:
    assert ports(allocate_ports([request(), request(first=100)], nobody, SPACE)) == [101, 100]


def test_what_somebody_was_given_is_nobodys_by_chance_and_his_who_asks() -> None:
    def claimed(protocol: str, page: int) -> int:
        return place(100)[1] | place(101)[1] if (protocol, page) == ("tcp", 0) else 0

    wanted = [request(), request("10.0.0.1", 100, 104), request(first=101), request(number=81)]
    found = allocate_ports(wanted, nobody, SPACE, claimed)
    assert ports(found) == [104, 102, 101, 105]
    udp = PortRequest(ContainerPort(53, "udp"), "0.0.0.0")
    assert ports(allocate_ports([udp], nobody, SPACE, claimed)) == [100]
    with pytest.raises(PortInUse, match="all ports are already allocated"):
        allocate_ports([request(first=100, last=101)], nobody, SPACE, claimed)


def test_reserved_and_busy_ports_are_passed_over() -> None:
    space = PortSpace(100, 109, frozenset({100}), frozenset({("tcp", "0.0.0.0", 101)}))
    (binding,) = allocate_ports([request()], nobody, space)
    assert binding.port == 102
    assert chosen_freely([request()], binding)
    assert not chosen_freely([request(first=102)], binding)


def test_a_port_given_by_number_is_not_chosen_freely_beside_one_that_is() -> None:
    requests = [request(first=8080), request(), request("10.0.0.1", 8000, 8010)]
    fixed, free, ranged = allocate_ports(requests, nobody, SPACE)
    assert [chosen_freely(requests, binding) for binding in (fixed, free, ranged)] == [False, True, True]
    assert chosen_freely([request("10.0.0.2", 8000), *requests], ranged)


def test_the_same_port_on_two_addresses_but_not_beside_a_wildcard() -> None:
    two = [request("10.0.0.1", 80), request("10.0.0.2", 80)]
    assert ports(allocate_ports(two, nobody, SPACE)) == [80, 80]
    with pytest.raises(PortInUse):
        allocate_ports([request("10.0.0.1", 80), request("0.0.0.0", 80, number=81)], nobody, SPACE)


def test_one_number_for_addresses_that_differ_only_in_the_family() -> None:
    both = [request("127.0.0.1"), request("::1")]
    held = place(100)[1]
    found = allocate_ports(both, lambda _, address, __: held if address == "::1" else 0, SPACE)
    assert ports(found) == [101, 101]
    assert ports(allocate_ports([request("0.0.0.0"), request("127.0.0.1")], nobody, SPACE)) == [100, 101]
    with pytest.raises(PortInUse, match=r"^Bind for \[::1\]:100 failed: port is already allocated$"):
        allocate_ports([request("127.0.0.1", 100), request("::1", 100)], lambda _, a, __: held * (a == "::1"), SPACE)


def test_many_ports_of_free_choice_cost_a_look_at_each_page() -> None:
    asked: list[int] = []

    def held(protocol: str, address: str, page: int) -> int:
        asked.append(page)
        return 1 if page == 32 else 0

    many = [request(number=number) for number in range(1, 2001)]
    assert ports(allocate_ports(many, held, PortSpace())) == list(range(32769, 32769 + 2000))
    assert asked == [32, 33]


def test_a_used_up_range_says_so() -> None:
    with pytest.raises(PortInUse, match="all ports are already allocated"):
        allocate_ports([request(first=8000, last=8001)], everything, SPACE)
    with pytest.raises(PortInUse, match="ephemeral range"):
        allocate_ports([request()], everything, SPACE)


asked = st.builds(
    lambda address, first, number, protocol: PortRequest(ContainerPort(number, protocol), address, first, first),
    st.sampled_from(["*", "0.0.0.0", "::", "10.0.0.1", "10.0.0.2", "fd00::1"]),
    st.sampled_from([0, 0, 100, 101, 102]),
    st.integers(1, 3),
    st.sampled_from(["tcp", "udp"]),
)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.lists(asked, max_size=4)), max_size=20))
def test_no_port_is_held_twice_and_a_released_one_can_be_had_again(
    steps: list[tuple[str, list[PortRequest]]],
) -> None:
    held: dict[str, tuple[Binding, ...]] = {}

    def holder(protocol: str, address: str, page: int) -> int:
        bits = 0
        for b in (b for bindings in held.values() for b in bindings):
            if b.protocol == protocol and clash(b.address, address):
                bits |= place(b.port)[1] if place(b.port)[0] == page else 0
        return bits

    for who, requests in steps:
        before = held.pop(who, None)
        if before is not None:
            # Released, all of it can be had again, exactly as it was.
            again = [
                PortRequest(ContainerPort(b.container_port, b.protocol), b.address, b.port, b.port) for b in before
            ]
            assert set(allocate_ports(again, holder, SPACE)) == set(before)
        try:
            held[who] = allocate_ports(requests, holder, SPACE)
        except PortInUse:
            continue
        taken = [(b.protocol, b.port, b.address) for bindings in held.values() for b in bindings]
        for index, (protocol, port, address) in enumerate(taken):
            for other in taken[index + 1 :]:
                held_twice = (protocol, port) == other[:2] and clash(address, other[2])
                assert not held_twice, (protocol, port, address, other)
