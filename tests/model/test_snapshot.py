"""Snapshots: the indexes never fall out of step with the records, and every set of writes can be taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.cluster import Block, Host, Remote, Reservation
from linkspan.model.container import (
    Config,
    Container,
    EndpointIpamConfig,
    EndpointSettings,
    HostConfig,
    PortBinding,
)
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.pages import place
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.model.volume import Volume


def container(id_: str, name: str, links: tuple[str, ...] = ()) -> Container:
    host = HostConfig(links=tuple(f"{link}:alias-{link}" for link in links))
    return Container(
        id=id_, name=name, created="1" if id_ == "b" else "2", image_id="", config=Config(), host_config=host
    )


few = st.sampled_from("abc")
attachments = st.builds(
    lambda address, mac: EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address=address), mac_address=mac),
    st.sampled_from(["", "10.0.0.1", "10.0.0.2", "nonsense"]),
    st.sampled_from(["", "02:00:00:00:00:01", "02-00-00-00-00-0A"]),
)
asking = st.builds(
    lambda id_, name, networks, ports: Container(
        id=id_,
        name=name,
        created="1" if id_ == "b" else "2",
        image_id="",
        config=Config(),
        host_config=HostConfig(
            port_bindings={"80/tcp": tuple(PortBinding(host_port=p) for p in ports), "53/udp": (PortBinding(),)}
        ),
        networks=networks,
    ),
    few,
    few,
    st.dictionaries(few, attachments, max_size=2),
    st.lists(st.sampled_from(["1", "2", "2000", "3-4", ""]), max_size=2),
)
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
    asking,
    st.builds(Network, id=few, name=few, driver=st.just("bridge"), created=st.just("")),
    st.builds(Sandbox, id=few, container_id=few, kind=st.just("own"), path=st.just("")),
    endpoints,
    st.builds(Volume, name=few, created=st.just(""), mountpoint=st.just("")),
    st.builds(Host, id=few, name=few),
    st.builds(Remote, id=few, network_id=few, host_id=few, container_id=few, name=few, address=addresses),
    st.builds(Block, id=few, network_id=few, subnet=st.just("10.0.0.0/26"), host_id=few),
    st.builds(Reservation, id=few.map("/{}".format), network_id=few, identity=few, address=addresses),
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
    own = (snapshot.networks, snapshot.volumes, snapshot.containers, snapshot.sandboxes, snapshot.endpoints)
    kinds = (*own, snapshot.hosts, snapshot.remotes, snapshot.blocks, snapshot.reservations)
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
        snapshot.claims,
        snapshot.hosts,
        snapshot.remotes,
        snapshot.blocks,
        snapshot.reservations,
        snapshot.elsewhere,
        snapshot.blocks_on,
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
            others = [*snapshot.remotes.values(), *snapshot.reservations.values()]
            elsewhere = any(o.network_id == network and o.address == f"10.0.0.{number & 255}" for o in others)
            here = (network, number) in snapshot.address_holders
            assert bool(snapshot.held_addresses(network, page) & bit) == (here or elsewhere)
    for protocol in ("tcp", "udp"):
        for address in ("0.0.0.0", "127.0.0.1", "10.0.0.1", "::", "::1", "fd00::1", "*"):
            held = snapshot.held_ports(protocol, address, 0)
            for port in range(1, 4):
                assert bool(held >> port & 1) == (snapshot.holds_port(protocol, address, port) is not None)


@given(written)
def test_claims_are_what_the_containers_were_given(writes: list[Write]) -> None:
    snapshot = Snapshot().after(writes)
    asked = sorted(snapshot.containers.values(), key=lambda c: (c.created, c.id))
    for network in "abc":
        for number, text in enumerate(("10.0.0.0", "10.0.0.1", "10.0.0.2"), 0x0A000000):
            owners = [
                c.id
                for c in asked
                if network in c.networks and (i := c.networks[network].ipam_config) and i.ipv4_address == text
            ]
            assert snapshot.claims.address_owner(network, number) == (owners or [""])[0]
            page, bit = place(number)
            assert bool(snapshot.claims.claimed_addresses(network, page) & bit) == bool(owners)
        macs = [c.id for c in asked if network in c.networks and c.networks[network].mac_address.endswith("0A")]
        assert snapshot.claims.mac_owner(network, "02:00:00:00:00:0a") == (macs or [""])[0]
    given = {b.host_port for c in asked for b in (c.host_config.port_bindings or {}).get("80/tcp") or ()}
    for port in (1, 2, 3, 4, 2000):
        page, bit = place(port)
        assert bool(snapshot.claims.claimed_ports("tcp", page) & bit) == (str(port) in given)
        assert not snapshot.claims.claimed_ports("udp", page)


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
