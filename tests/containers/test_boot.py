"""The order of a boot."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.containers.boot import boot_order, cannot_do_without, needs
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig, RestartPolicy, State
from linkspan.model.snapshot import Snapshot, put


def container(id_: str, created: str = "", *, starts: bool = True, link: str = "", **host: str) -> Container:
    policy = RestartPolicy(name="always" if starts else "no")
    links = (f"{link}:alias",) if link else None
    return Container(
        id=id_,
        name=f"name-{id_}",
        created=created or id_,
        image_id="",
        config=Config(),
        host_config=HostConfig(restart_policy=policy, links=links, **host),  # type: ignore[arg-type]
        state=State(status="exited"),
    )


def ordered(*containers: Container) -> list[str]:
    return [c.id for c in boot_order(Snapshot().after(map(put, containers)))]


def test_as_they_were_made_where_nobody_needs_anybody() -> None:
    assert ordered(container("a", "3"), container("b", "1"), container("c", "2")) == ["b", "c", "a"]
    assert ordered(container("a", starts=False), container("b")) == ["b"]


def test_after_those_that_are_needed_whatever_their_age() -> None:
    for need in ({"network_mode": "container:z"}, {"pid_mode": "container:z"}, {"ipc_mode": "container:z"}):
        assert ordered(container("a", **need), container("z")) == ["z", "a"]
    assert ordered(container("a", link="z"), container("b"), container("z")) == ["z", "a", "b"]


def test_along_a_chain_also_through_who_does_not_start_by_itself() -> None:
    chain = (
        container("a", network_mode="container:b"),
        container("b", pid_mode="container:name-c"),
        container("c", starts=False, link="d"),
        container("d"),
    )
    assert ordered(*chain) == ["d", "b", "a"]


def test_links_on_user_defined_networks_are_by_name() -> None:
    snapshot = Snapshot().after([put(container("z"))])
    named = Container(
        id="a",
        name="a",
        created="0",
        image_id="",
        config=Config(),
        host_config=HostConfig(restart_policy=RestartPolicy(name="always")),
        networks={"n": EndpointSettings(links=("name-z:db", "nobody:x"))},
        state=State(status="exited"),
    )
    snapshot = snapshot.after([put(named)])
    assert needs(snapshot, named) == {"z"} and [c.id for c in boot_order(snapshot)] == ["z", "a"]
    assert cannot_do_without(snapshot, named) == frozenset()  # names come and go
    legacy = container("l", link="z", network_mode="container:gone")
    assert cannot_do_without(snapshot, legacy) == {"z"}


def test_a_long_chain_and_a_circle_come_to_an_end() -> None:
    chain = [container(f"{n:04}", network_mode=f"container:{n + 1:04}") for n in range(3000)]
    assert ordered(*chain) == [f"{n:04}" for n in reversed(range(3000))]
    circle = (container("a", link="b"), container("b", link="c"), container("c", link="a"))
    assert sorted(ordered(*circle)) == ["a", "b", "c"]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh-"), max_size=8))
def test_each_once_and_none_before_what_it_needs(edges: dict[str, str]) -> None:
    acyclic = {one: other for one, other in edges.items() if other > one}
    containers = [container(id_, link=acyclic.get(id_, "").strip("-")) for id_ in edges]
    found = ordered(*containers)
    assert sorted(found) == sorted(edges)
    for one, other in acyclic.items():
        assert other not in edges or found.index(other) < found.index(one)
