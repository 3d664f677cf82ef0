"""What a host tells its cluster, and how it allocates there."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from linkspan.drivers.available import DRIVERS
from linkspan.engine.join import Surroundings, connect, disconnect, join, leave
from linkspan.engine.names import NameSettings, name_record, render_names, touched_names
from linkspan.engine.networks import create_network, remove_network
from linkspan.engine.publication import (
    Entry,
    expelled,
    gone,
    keys_of,
    owner,
    published,
    published_touched,
    read,
    shared,
)
from linkspan.engine.request import NetworkRequest
from linkspan.errors import Conflict, Forbidden
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.ipam.ports import PortSpace
from linkspan.model.cluster import Block, Host, Remote, Reservation
from linkspan.model.container import EndpointIpamConfig, EndpointSettings
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from tests.engine.conftest import HOST, World

OWN = Host(id="h1", name="one", address="10.211.55.4")
OTHER = Host(id="h2", name="two", address="10.211.55.5")
MEMBER = msgspec.structs.replace  # records are changed by it, facts by dataclasses


class Cluster(World):
    """A host of a cluster: its networks are global where they can be."""

    def __init__(self, host_id: str = "h1") -> None:
        super().__init__()
        self.host_id = host_id

    def network(self, name: str, subnet: str = "10.9.0.0/24", driver: str = "bridge") -> Network:
        made = Network(
            id=self.ids(1)[0],
            name=name,
            driver=driver,
            created="",
            scope="global",
            bridge=f"br-{name}",
            pools=(Pool(subnet=subnet, gateway=str(ipaddress.ip_network(subnet)[1])),),
        )
        self.now = self.now.after([put(made)])
        return made

    def surroundings(self) -> Surroundings:
        return Surroundings(DRIVERS, "/run/netns", PortSpace(), self.ids(8), self.host_id)

    def start(self, name: str, network: Network) -> tuple[Write, ...]:
        change = join(self.now, self.container(name, network.name), self.surroundings())
        self.now = self.now.after(change.writes)
        return change.writes


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_an_endpoint_is_published_with_a_claim_to_its_address_and_block(cluster: Cluster) -> None:
    network = cluster.network("back")
    writes = cluster.start("web", network)
    (endpoint,) = cluster.now.endpoints.values()
    (block,) = cluster.now.blocks.values()
    entries = published(cluster.now, OWN)
    assert set(entries) == {
        "records/hosts/h1",
        "claims/underlays/10.211.55.4",
        f"endpoints/{network.id}/{endpoint.id}",
        f"claims/addresses/{network.id}/{endpoint.address}",
        f"records/blocks/{network.id}/{block.subnet}",
    }
    assert entries[f"claims/addresses/{network.id}/{endpoint.address}"] == Entry(
        f"h1/{endpoint.container_id}".encode(), True
    )
    assert ipaddress.ip_address(endpoint.address) in ipaddress.ip_network(block.subnet)
    remote = read(f"endpoints/{network.id}/{endpoint.id}", entries[f"endpoints/{network.id}/{endpoint.id}"].value)
    assert isinstance(remote, Remote) and (remote.name, remote.host_id, owner(remote)) == ("web", "h1", "h1")
    assert set(keys_of(remote)) <= set(entries)
    assert b'"Labels"' not in msgspec.json.encode(remote) and remote.labels == {}
    touched = published_touched(cluster.now, writes, OWN)
    assert touched == {key: entry for key, entry in entries.items() if "hosts" not in key and "und" not in key}


def test_a_local_network_is_nobody_elses_business(cluster: Cluster) -> None:
    container = cluster.container("web")
    cluster.now = cluster.now.after(join(cluster.now, container, cluster.surroundings()).writes)
    assert set(published(cluster.now, OWN)) == {"records/hosts/h1", "claims/underlays/10.211.55.4"}
    assert shared(Snapshot(), map(put, cluster.now.networks.values())) == {}


def test_a_container_that_starts_again_claims_nothing_new(cluster: Cluster) -> None:
    network = cluster.network("back")
    cluster.start("web", network)
    before = published(cluster.now, OWN)
    container = cluster.now.container("web")
    cluster.now = cluster.now.after(leave(cluster.now, container).writes)
    cluster.now = cluster.now.after(join(cluster.now, container, cluster.surroundings()).writes)
    claims = [{k: e for k, e in entries.items() if e.claim} for entries in (before, published(cluster.now, OWN))]
    assert claims[0] == claims[1]


def test_hosts_take_addresses_from_blocks_of_their_own_and_then_from_others() -> None:
    one, two = Cluster("h1"), Cluster("h2")
    network = one.network("back", "10.9.0.0/27")  # four blocks of eight
    two.now = two.now.after([put(network)])
    taken: dict[str, str] = {}
    for number in range(29):  # 32, less the subnet's own, broadcast and the gateway
        here, there = (one, two) if number % 3 else (two, one)
        writes = here.start(f"c{number}", network)
        for write in writes:
            match write.record:
                case Block():
                    there.now = there.now.after([write])
        (endpoint,) = [w.record for w in writes if w.kind == "endpoint"]
        assert endpoint.address not in taken
        taken[endpoint.address] = here.host_id
        told = Remote(
            id=endpoint.id,
            network_id=network.id,
            host_id=here.host_id,
            container_id=endpoint.container_id,
            name=f"c{number}",
            address=endpoint.address,
        )
        there.now = there.now.after([put(told)])
    assert {b.host_id for b in one.now.blocks.values()} == {"h1", "h2"} and len(one.now.blocks) == 4
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        one.start("more", network)


def test_strict_blocks_are_not_left(cluster: Cluster) -> None:
    network = msgspec.structs.replace(cluster.network("lease", "10.9.0.0/16"), strict_blocks=True)
    cluster.now = cluster.now.after([put(network)])
    with pytest.raises(Conflict):
        cluster.start("early", network)


def test_an_address_of_another_host_is_not_to_be_had(cluster: Cluster) -> None:
    network = cluster.network("back")
    remote = Remote(
        id="r",
        network_id=network.id,
        host_id="h2",
        container_id="c",
        name="db",
        address="10.9.0.7",
        mac="02:42:0a:09:00:07",
    )
    cluster.now = cluster.now.after([put(remote)])
    cluster.start("web", cluster.network("front", "10.8.0.0/24"))
    web = cluster.now.container("web")
    asked = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="10.9.0.7"))
    with pytest.raises(Forbidden, match=r"10\.9\.0\.7 is the address of container db on another host"):
        connect(cluster.now, web, network, asked, cluster.surroundings())
    with pytest.raises(Forbidden, match="is that of container db on another host"):
        connect(cluster.now, web, network, EndpointSettings(mac_address=remote.mac), cluster.surroundings())


def test_an_address_asked_for_claims_no_block(cluster: Cluster) -> None:
    network = cluster.network("back")
    cluster.start("web", cluster.network("front", "10.8.0.0/24"))
    web = cluster.now.container("web")
    asked = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="10.9.0.200"))
    change = connect(cluster.now, web, network, asked, cluster.surroundings())
    assert not [w for w in change.writes if w.kind == "block"]
    cluster.now = cluster.now.after(change.writes)
    assert f"claims/addresses/{network.id}/10.9.0.200" in published(cluster.now, OWN)
    cluster.now = cluster.now.after(disconnect(cluster.now, cluster.now.container("web"), network).writes)
    assert f"claims/addresses/{network.id}/10.9.0.200" not in published(cluster.now, OWN)


def test_a_subnet_in_the_way_of_the_hosts_own_network_is_said_when_somebody_joins(cluster: Cluster) -> None:
    network = cluster.network("back", "172.17.8.0/24")
    with pytest.raises(Conflict, match="lies: give one of them another subnet"):
        cluster.start("web", network)


def test_names_of_other_hosts_are_answered_while_somebody_here_could_ask(cluster: Cluster) -> None:
    network = cluster.network("back")
    remote = Remote(
        id="r", network_id=network.id, host_id="h2", container_id="c", name="db", names=("db",), address="10.9.0.7"
    )
    cluster.now = cluster.now.after([put(OTHER), put(remote)])
    settings = NameSettings()
    assert ("endpoint", "r") not in render_names(cluster.now, settings)
    before = cluster.now
    writes = cluster.start("web", network)
    assert render_names(cluster.now, settings)["endpoint", "r"].names == ("db",)  # type: ignore[union-attr]
    assert ("endpoint", "r") in touched_names(before, cluster.now, writes)
    before, cluster.now = cluster.now, cluster.now.after([drop(remote)])
    assert ("endpoint", "r") in touched_names(before, cluster.now, [drop(remote)])
    assert name_record(cluster.now, ("endpoint", "r"), settings) is None


def test_networks_are_shared(cluster: Cluster) -> None:
    network = cluster.network("back")
    key = f"records/networks/{network.id}"
    assert read(key, shared(Snapshot(), [put(network)])[key] or b"") == network
    assert shared(cluster.now, [drop(network)]) == {key: None}
    assert gone(key) == ("network", network.id)
    assert gone(f"records/blocks/{network.id}/10.9.0.0/28") == ("block", f"{network.id}/10.9.0.0/28")
    assert gone(f"endpoints/{network.id}/e") == ("remote", "e")
    assert gone("records/alive/h1") == ("", "")
    assert gone(f"claims/addresses/{network.id}/10.9.0.2") == ("", "")


def test_a_network_with_somebody_on_another_host_is_in_use(cluster: Cluster) -> None:
    network = cluster.network("back")
    remote = Remote(id="r", network_id=network.id, host_id="h2", container_id="c", name="db", address="10.9.0.7")
    cluster.now = cluster.now.after([put(OTHER), put(remote)])
    with pytest.raises(Forbidden, match='name:"db on two"'):
        remove_network(cluster.now, network)


def test_who_is_taken_out_leaves_its_reservations(cluster: Cluster) -> None:
    network = cluster.network("flat")
    block = Block(id=f"{network.id}/10.9.0.0/28", network_id=network.id, subnet="10.9.0.0/28", host_id="h2")
    kept = Reservation(id=f"{network.id}/db", network_id=network.id, identity="db", address="10.9.0.7", host_id="h2")
    remote = Remote(id="r", network_id=network.id, host_id="h2", container_id="c", name="db", address="10.9.0.7")
    now = cluster.now.after(map(put, (OTHER, block, kept, remote)))
    after = now.after(expelled(now, "h2"))
    assert not after.hosts and not after.remotes and not after.blocks
    assert list(after.reservations.values()) == [kept]


def test_a_reserved_address_is_its_identitys(cluster: Cluster) -> None:
    network = cluster.network("flat")
    cluster.start("web", network)
    (endpoint,) = cluster.now.endpoints.values()
    kept = Reservation(
        id=f"{network.id}/web", network_id=network.id, identity="web", address=endpoint.address, host_id="h1"
    )
    cluster.now = cluster.now.after([put(kept)])
    entries = published(cluster.now, OWN)
    assert entries[f"claims/addresses/{network.id}/{endpoint.address}"] == Entry(b"=web", True)
    assert f"records/reservations/{network.id}/web" in entries


def test_overlay_needs_no_swarm_but_a_cluster(cluster: Cluster) -> None:
    request = NetworkRequest(id="n" * 64, name="x", driver="bridge", scope="global")
    with pytest.raises(Forbidden, match="a cluster is not active"):
        create_network(cluster.now, request, DRIVERS, DEFAULT_SOURCES, HOST)
