"""Snapshots: the indexes never fall out of step with the records, and every set of writes can be taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.container import Config, Container, HostConfig
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.pages import place
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.model.volume import Volume


def container(id_: str, name: str, links: tuple[str, ...] = ()) -> Container:
    host = HostConfig(links=tuple(f"{link}:alias-{link}" for link in links))
    return Container(id=id_, name=name, created="", image_id="", config=Config(), host_config=host)


few = st.sampled_from("abc")
addresses = st.sampled_from(["", "10.0.0.1", "10.0.0.2"])
bindings = st.builds(
    Binding,
    protocol=st.sampled_from(["tcp", "udp"]),
    address=st.sampled_from(["0.0.0.0", "127.0.0.1", "::", "::1", "*"]),
    port=st.integers(0, 3),
    container_port=st.just(80),
)
endpoints = st.builds(
    Endpoint,
    id=few,
    network_id=few,
    sandbox_id=few,
    container_id=few,
    address=addresses,
    bindings=st.lists(bindings, max_size=3, unique=True).map(tuple),
)
records = st.one_of(
    st.builds(container, few, few, st.lists(few, max_size=2, unique=True).map(tuple)),
    st.builds(Network, id=few, name=few, driver=st.just("bridge"), created=st.just("")),
    st.builds(Sandbox, id=few, container_id=few, kind=st.just("own"), path=st.just("")),
    endpoints,
    st.builds(Volume, name=few, created=st.just(""), mountpoint=st.just("")),
)


def consistent(writes: list[Write]) -> list[Write]:
    """As the engine writes: an endpoint never moves, a sandbox neither, names and addresses are held once."""
    kept, snapshot = [], Snapshot()
    for write in writes:
        new, old = write.record, snapshot.get(write.kind, write.id)
        if isinstance(new, Endpoint):
            holder = [e for e in snapshot.endpoints.values() if e.id != new.id]
            moved = isinstance(old, Endpoint) and (old.network_id, old.container_id) != (
                new.network_id,
                new.container_id,
            )
            if moved or any((e.network_id, e.address) == (new.network_id, new.address) and e.address for e in holder):
                continue
        if isinstance(new, Sandbox) and (snapshot.sandbox_of.get(new.container_id) or old):
            continue
        if isinstance(new, Container) and snapshot.container_names.get(new.name, new.id) != new.id:
            continue
        kept.append(write)
        snapshot = snapshot.after([write])
    return kept


written = st.lists(st.one_of(records.map(put), records.map(drop)), max_size=20).map(consistent)


def rebuilt(snapshot: Snapshot) -> Snapshot:
    kinds = (snapshot.networks, snapshot.volumes, snapshot.containers, snapshot.sandboxes, snapshot.endpoints)
    return Snapshot().after(put(record) for kind in kinds for record in kind.values())


def without_order(snapshot: Snapshot) -> list[object]:
    """The order of endpoints and bindings is history; who holds what is not."""
    return [
        snapshot.containers,
        snapshot.networks,
        snapshot.sandboxes,
        snapshot.endpoints,
        snapshot.volumes,
        snapshot.container_names,
        snapshot.sandbox_of,
        {key: sorted(value) for key, value in snapshot.endpoints_of.items()},
        snapshot.endpoints_on,
        snapshot.address_holders,
        {key: sorted(value) for key, value in snapshot.port_holders.items()},
        snapshot.address_pages,
        snapshot.port_pages,
    ]


@given(written)
def test_indexes_are_those_of_the_records(writes: list[Write]) -> None:
    snapshot = Snapshot().after(writes)
    assert without_order(snapshot) == without_order(rebuilt(snapshot))


@given(written)
def test_pages_say_what_the_holders_say(writes: list[Write]) -> None:
    snapshot = Snapshot().after(writes)
    for network in "abc":
        for number in range(0x0A000000, 0x0A000004):
            page, bit = place(number)
            assert bool(snapshot.held_addresses(network, page) & bit) == ((network, number) in snapshot.address_holders)
    for protocol in ("tcp", "udp"):
        for address in ("0.0.0.0", "127.0.0.1", "10.0.0.1", "::", "::1", "fd00::1", "*"):
            held = snapshot.held_ports(protocol, address, 0)
            for port in range(1, 4):
                assert bool(held >> port & 1) == (snapshot.holds_port(protocol, address, port) is not None)


@given(written, written)
def test_the_inverse_leads_back(before: list[Write], writes: list[Write]) -> None:
    start = Snapshot().after(before)
    writes = consistent(before + writes)[len(before) :]
    after = start.after(writes)
    assert without_order(after.after(start.inverse(writes))) == without_order(start)


def test_containers_are_found_by_id_name_and_unique_prefix() -> None:
    snapshot = Snapshot().after([put(container("abc1", "web")), put(container("abc2", "db"))])
    assert snapshot.container("web").id == snapshot.container("/web").id == snapshot.container("abc1").id == "abc1"
    assert snapshot.container("abc2").name == "db"
    with pytest.raises(InvalidArgument, match="Multiple IDs found with provided prefix: abc"):
        snapshot.container("abc")
    for missing in ("abd", "", "nobody"):
        with pytest.raises(NotFound, match=f"No such container: {missing}"):
            snapshot.container(missing)


def test_a_wildcard_holds_every_address_of_a_port() -> None:
    def published(id_: str, address: str) -> Write:
        binding = Binding(protocol="tcp", address=address, port=80, container_port=80)
        return put(Endpoint(id=id_, network_id="n", sandbox_id="s", container_id=id_, bindings=(binding,)))

    everywhere = Snapshot().after([published("a", "0.0.0.0")])
    assert everywhere.holds_port("tcp", "127.0.0.1", 80) == "a"
    one = Snapshot().after([published("a", "127.0.0.1")])
    assert one.holds_port("tcp", "0.0.0.0", 80) == "a"
    assert one.holds_port("tcp", "10.0.0.1", 80) is None
    assert one.holds_port("udp", "127.0.0.1", 80) is None


def test_a_container_is_found_by_the_name_of_a_link_to_it() -> None:
    snapshot = Snapshot().after([put(container("a", "db")), put(container("b", "web", ("a", "gone")))])
    assert snapshot.container("web/alias-a").name == snapshot.container("/web/alias-a").name == "db"
    assert snapshot.linked_by["a"] == ("b",)
    for missing in ("web/alias-gone", "web/other", "db/alias-a", "web/"):
        with pytest.raises(NotFound, match=f"No such container: {missing}"):
            snapshot.container(missing)
