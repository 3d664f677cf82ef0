"""What is decided for a mesh: addresses, who may guess, and which hosts have a member of the store."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.engine.mesh.addresses import RANGE, endpoints, mesh_addresses
from linkspan.engine.mesh.authorities import PATIENCE, following, is_time, of_one_store, recovered
from linkspan.engine.mesh.guessing import ALL, EACH, Guessing
from linkspan.engine.mesh.members import GONE, Add, Candidate, Promote, Remove, Seat, Step, next_step, wanted
from linkspan.errors import InvalidArgument
from linkspan.state.host import HostInterface

# -- addresses ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1), unique=True, max_size=40), st.text())
def test_every_host_has_addresses_of_its_own(hosts: list[str], mesh_id: str) -> None:
    taken: list[str] = []
    for host in hosts:
        address, address6 = mesh_addresses(mesh_id, host, taken)
        assert {address, address6}.isdisjoint(taken)
        taken += [address, address6]
        assert ipaddress.ip_address(address) in RANGE and ipaddress.ip_address(address6).is_private
        assert mesh_addresses(mesh_id, host, ()) == mesh_addresses(mesh_id, host, ["10.0.0.1"])
    assert len({str(ipaddress.ip_network(f"{a}/48", strict=False)) for a in taken if ":" in a}) <= 1


ETH0 = HostInterface("eth0", addresses=("10.0.0.4/24", "fd00::4/64", "fe80::1/64"))
ETH1 = HostInterface("eth1", addresses=("192.168.7.4/24",))
LO = HostInterface("lo", loopback=True, addresses=("127.0.0.1/8", "100.127.0.9/32"))
DOCKER = HostInterface("docker0", addresses=("172.17.0.1/16",), kind="bridge")
OURS = HostInterface("ls-mesh", addresses=("100.127.0.9/32", "fd12::9/128"))


def test_where_a_host_may_be_reached() -> None:
    found = endpoints([LO, ETH1, ETH0, DOCKER, OURS], ["eth0"], "", 6784, ("100.127.0.9", "fd12::9"))
    assert found == ("10.0.0.4:6784", "[fd00::4]:6784", "192.168.7.4:6784")
    assert endpoints([ETH0, ETH1], (), "eth1", 6784) == ("192.168.7.4:6784",)
    assert endpoints([ETH0, ETH1], (), "fd00::4", 6784) == ("[fd00::4]:6784",)
    with pytest.raises(InvalidArgument, match="--advertise eth9: this host has no such interface"):
        endpoints([ETH0], (), "eth9", 6784)


# -- guessing ----------------------------------------------------------------------------------------------------------


def test_a_few_wrong_tokens_from_one_place_and_nobody_else_suffers() -> None:
    guessing = Guessing()
    for n in range(EACH):
        assert guessing.may_try("10.0.0.1", n)
        assert guessing.was_wrong("10.0.0.1", n) == n + 1
    assert not guessing.may_try("10.0.0.1", 5) and not guessing.may_try("::ffff:10.0.0.1", 5)
    assert guessing.may_try("10.0.0.2", 5)
    assert not guessing.may_try("10.0.0.1", 59.9) and guessing.may_try("10.0.0.1", 60)


def test_who_has_one_address_of_a_subnet_has_all_of_them() -> None:
    guessing = Guessing()
    for n in range(EACH):
        guessing.was_wrong(f"2001:db8::{n + 1:x}", 0)
    assert not guessing.may_try("2001:db8::ffff", 1) and guessing.may_try("2001:db8:0:1::1", 1)
    assert not guessing.may_try("2001:db8::1%eth0", 1)


def test_many_places_together_are_limited_too() -> None:
    guessing = Guessing()
    for n in range(ALL):
        guessing.was_wrong(f"10.0.{n}.1", 0)
    assert not guessing.may_try("192.0.2.1", 1) and guessing.may_try("192.0.2.1", 60)


# -- members of the store ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Store:
    """A store as its leader sees it, without anything of etcd; a step that etcd would refuse fails."""

    hosts: tuple[Candidate, ...]
    seats: tuple[Seat, ...]

    @property
    def voters(self) -> tuple[Seat, ...]:
        return tuple(seat for seat in self.seats if not seat.learner)

    @property
    def leader(self) -> str:
        return next(seat.host_id for seat in self.voters if not seat.silent)

    def works(self) -> bool:
        return sum(not seat.silent for seat in self.voters) > len(self.voters) // 2

    def after(self, step: Step) -> Store:
        match step:
            case Add(host_id):
                host = next(h for h in self.hosts if h.host_id == host_id)
                assert not any(s.learner or s.host_id == host_id for s in self.seats) and not host.silent
                return dataclasses.replace(self, seats=(*self.seats, Seat(f"m-{host_id}", host_id, learner=True)))
            case Promote(seat):
                assert seat.learner and not seat.silent
                kept = dataclasses.replace(seat, learner=False)
                return dataclasses.replace(self, seats=(*(s for s in self.seats if s != seat), kept))
            case Remove(seat):
                assert seat.host_id != self.leader
                return dataclasses.replace(self, seats=tuple(s for s in self.seats if s != seat))

    def step(self) -> Step | None:
        return next_step(self.hosts, self.seats, self.leader)


SILENCE = st.sampled_from([0.0, 0.0, 0.0, 1.0, GONE / 2, GONE + 1])


@st.composite
def stores(draw: st.DrawFn) -> Store:
    """Any that works: some hosts with seats, some without, some seats of hosts that were taken out."""
    names = [f"h{n}" for n in range(draw(st.integers(1, 7)))]
    hosts = tuple(Candidate(name, f"2026-01-0{n + 1}", draw(SILENCE) if n else 0.0) for n, name in enumerate(names))
    seated = draw(st.integers(1, min(5, len(names))))
    seats = [Seat(f"m-{host.host_id}", host.host_id, silent=host.silent) for host in hosts[:seated]]
    for n in range(draw(st.integers(0, 2))):
        seats.append(Seat(f"gone{n}", "", silent=draw(SILENCE)))
    if draw(st.booleans()) and seated < len(hosts):
        learner = hosts[seated]
        seats.append(Seat(f"m-{learner.host_id}", learner.host_id, learner=True, silent=learner.silent))
    store = Store(hosts, tuple(seats))
    return store if store.works() else dataclasses.replace(store, seats=(seats[0],))


@given(stores())
def test_every_step_leaves_a_store_that_works_and_they_end(store: Store) -> None:
    for _ in range(30):
        step = store.step()
        if step is None:
            break
        store = store.after(step)
        assert store.works()
    assert store.step() is None
    answering = [host for host in store.hosts if not host.silent]
    if len(answering) == len(store.hosts):
        assert len(store.voters) == wanted(len(store.hosts)) and all(seat.host_id for seat in store.voters)


@given(stores())
def test_nobody_who_was_silent_for_a_moment_loses_a_vote(store: Store) -> None:
    step = store.step()
    if isinstance(step, Remove) and not step.seat.learner and step.seat.host_id:
        assert step.seat.silent > GONE or not any(seat.silent for seat in store.voters)


def _hosts(count: int, **silent: float) -> tuple[Candidate, ...]:
    return tuple(Candidate(f"h{n}", f"2026-01-0{n}", silent.get(f"h{n}", 0.0)) for n in range(1, count + 1))


def _seats(*names: str, **silent: float) -> tuple[Seat, ...]:
    return tuple(Seat(f"m-{name}", name, silent=silent.get(name, 0.0)) for name in names)


def test_two_hosts_have_one_member_and_the_third_brings_two_more() -> None:
    assert Store(_hosts(2), _seats("h1")).step() is None
    store = Store(_hosts(3), _seats("h1"))
    steps = []
    while step := store.step():
        steps.append(step)
        store = store.after(step)
    assert [type(step) for step in steps] == [Add, Promote, Add, Promote]
    assert {seat.host_id for seat in store.voters} == {"h1", "h2", "h3"}


def test_with_the_third_host_away_one_member_stays_alone() -> None:
    assert Store(_hosts(3, h3=5.0), _seats("h1")).step() is None


def test_one_that_is_gone_for_good_is_replaced_where_there_is_another() -> None:
    gone = {"h2": GONE + 1}
    assert Store(_hosts(3, **gone), _seats("h1", "h2", "h3", **gone)).step() is None
    assert Store(_hosts(4, h2=GONE - 1), _seats("h1", "h2", "h3", h2=GONE - 1)).step() is None
    store = Store(_hosts(4, **gone), _seats("h1", "h2", "h3", **gone))
    step = store.step()
    assert isinstance(step, Remove) and step.seat.host_id == "h2"
    assert store.after(step).step() == Add("h4")


def test_who_was_taken_out_has_no_vote() -> None:
    step = Store(_hosts(2), (*_seats("h1", "h2"), Seat("m-x", "", silent=9.0))).step()
    assert isinstance(step, Remove) and step.seat.member_id == "m-x"


def test_a_host_that_never_started_its_member_makes_room() -> None:
    learner = Seat("m-h2", "h2", learner=True, silent=10.0)
    waiting = Store(_hosts(3), (*_seats("h1"), learner))
    assert waiting.step() is None
    stuck = dataclasses.replace(learner, silent=61.0)
    assert Store(_hosts(3), (*_seats("h1"), stuck)).step() == Remove(stuck)


# -- authorities -------------------------------------------------------------------------------------------------------

HOSTS = ("h1", "h2", "h3", "h4", "h5")


@given(st.integers(0, 10_000_000), st.integers(0, 1000))
def test_what_was_recovered_counts_for_more_than_all_that_came_before(number: int, more: int) -> None:
    others = number
    for _ in range(more):
        others = following(others)
    assert recovered(number) > number and not of_one_store(number, recovered(number))
    assert of_one_store(recovered(number), following(recovered(number)))
    if of_one_store(number, others):
        assert recovered(number) > others


@given(
    st.dictionaries(st.sampled_from(HOSTS), st.integers(0, 2), min_size=1),
    st.lists(st.sampled_from((*HOSTS, "")), unique=True, max_size=5),
    st.sets(st.sampled_from((*HOSTS, "gone"))),
    st.floats(0, 2 * PATIENCE),
)
def test_hosts_go_over_to_an_authority_only_where_the_store_goes_on(
    newest: dict[str, int], voters: list[str], answering: set[str], waited: float
) -> None:
    ready = {host for host, number in newest.items() if number}
    late = {host for host in answering & newest.keys() if host not in ready}
    wanted = len(ready.intersection(voters)) > len(voters) / 2 and (not late or waited > PATIENCE)
    assert is_time(1, newest, voters, answering, waited) == wanted


def test_who_has_one_to_come_has_those_before_it() -> None:
    assert is_time(1, {"h1": 1, "h2": 2}, ["h1", "h2", ""], {"h1", "h2", "h3"}, 0)
    assert not is_time(2, {"h1": 1, "h2": 2}, ["h1", "h2", ""], {"h1", "h2"}, 2 * PATIENCE)
