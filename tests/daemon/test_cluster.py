"""Hosts that share a store: whatever happens to them and to it, no address is held twice, and in the end all agree."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from linkspan.daemon.cluster.cluster import Cluster, own_host
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mesh.register import Register
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.drivers.bridge import BridgeDriver
from linkspan.engine.change import Change, network_event
from linkspan.engine.join import Surroundings, disconnect, join, leave
from linkspan.engine.networks import remove_network
from linkspan.engine.publication import published
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError, NotFound, Unavailable
from linkspan.ipam.ports import PortSpace
from linkspan.kernel.fake import FakeKernel
from linkspan.model.cluster import Reservation
from linkspan.model.container import Container, EndpointIpamConfig, EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.state.host import Underlay
from linkspan.store.etcd.contract import Compacted
from linkspan.store.etcd.fake import FakeClient, FakeEtcd
from linkspan.store.etcd.values import Lease, TxnResult
from linkspan.store.memory import MemoryStore
from tests.engine.conftest import World

ROOT = "/linkspan/v1/"
DRIVERS = {driver.name: driver for driver in (BridgeDriver(),)}
Steps = Callable[["Hosts"], Awaitable[None]]


class Member:
    """The inside of a daemon in a cluster, on a fake kernel; its records outlive it."""

    def __init__(self, etcd: FakeEtcd, number: int) -> None:
        self.name, self.id = f"h{number}", f"host-{number}"
        self.etcd, self.address = etcd, f"10.211.55.{number}"
        self.world = World()
        self.world._ids = (f"{number:x}{next_:07x}".ljust(64, "0") for next_ in range(1, 1 << 20))
        self.store = MemoryStore()
        self.kernel = FakeKernel()
        self.events = Events()
        self.told: list[str] = []
        self.events.follow(lambda event: self.told.append(f"{event.kind} {event.action}"))
        self.up = False
        self.everything = False
        self.interfaces: dict[str, str] = {}

    async def start(self, *, away: bool = False) -> None:
        """With `away`, while the store cannot be reached."""
        self.client = self.etcd.client()
        if away:
            self.client.cut_off()
        self.ledger = Ledger(self.store)
        self.programmer = Programmer(lambda: self.kernel)
        self.mutation = Mutation(self.ledger, self.programmer, DRIVERS, self.events, lambda *_: None)
        self.cluster = Cluster(
            self.client,
            "etcd://fake",
            ROOT,
            own_host(self.id, self.name, Underlay("eth0", self.address), "t"),
            now=lambda: self.ledger.now,
            follow=self.mutation.take_over,
            change=lambda writes: self.mutation.carry_out(Change(tuple(writes))),
            evict=self.evict,
            settled=lambda: self.ledger.told,
            everything=self.everything,
            interfaces=self.interfaces,
        )
        self.mutation.cluster = self.cluster
        self.up = True
        await self.cluster.start()

    async def end(self) -> None:
        if self.up:
            self.up = False
            await self.cluster.close()
            self.programmer.close()

    async def evict(self, endpoint: Endpoint, address: str) -> None:
        container = self.ledger.now.containers[endpoint.container_id]
        network = self.ledger.now.networks[endpoint.network_id]
        await self.mutation.decide(lambda: disconnect(self.ledger.now, container, network))

    def around(self) -> Surroundings:
        return Surroundings(DRIVERS, "/run/netns", PortSpace(), self.world.ids(4), self.id)

    async def run(self, name: str, network: str = "back") -> str:
        """Starts a container on a network; its address."""
        if name not in self.ledger.now.container_names:
            self.world.now = self.ledger.now
            self.ledger.commit([put(self.world.container(name, network))])
        container = self.container(name)
        await self.mutation.decide(lambda: join(self.ledger.now, container, self.around()))
        return self.ledger.now.endpoints_in(container)[0].address

    async def stop(self, name: str) -> None:
        await self.mutation.carry_out(leave(self.ledger.now, self.container(name)))

    def container(self, name: str) -> Container:
        return self.ledger.now.container(name)

    async def create(
        self, name: str, subnet: str = "10.9.0.0/24", *, exclusive: bool = False, parent: str = ""
    ) -> Network:
        network = Network(
            id=self.world.ids(1)[0],
            name=name,
            driver="bridge",
            created="",
            scope="global",
            bridge=f"br-{name}",
            pools=(Pool(subnet=subnet, gateway=f"{subnet.rpartition('.')[0]}.1"),),
            exclusive_blocks=exclusive,
            parent=parent,
        )

        def decide() -> Change:
            if any(other.name == name for other in self.ledger.now.networks.values()):
                raise Conflict(f"network with name {name} already exists")
            return Change((put(network),), (network_event("create", network),))

        await self.mutation.decide(decide)
        return network

    async def remove(self, name: str) -> None:
        await self.mutation.decide(lambda: remove_network(self.ledger.now, self.ledger.now.network(name)))

    def has(self) -> dict[str, str]:
        """Its own endpoints: their containers' names and addresses."""
        now = self.ledger.now
        return {now.containers[e.container_id].name: e.address for e in now.endpoints.values()}

    def knows(self) -> dict[str, str]:
        """Every endpoint on the networks that it follows, and its own."""
        return self.has() | {remote.name: remote.address for remote in self.ledger.now.remotes.values()}

    async def finds(self) -> dict[str, str]:
        """Every endpoint of the cluster."""
        whole = await self.cluster.whole()
        return self.has() | {remote.name: remote.address for remote in whole.remotes.values()}

    async def forget(self, network: Network) -> None:
        """As after a minute without anybody here on it."""
        await self.cluster._follower.unsubscribe(network.id)


class Hosts:
    def __init__(self, count: int) -> None:
        self.etcd = FakeEtcd()
        self.members = [Member(self.etcd, number + 1) for number in range(count)]

    def __getitem__(self, index: int) -> Member:
        return self.members[index]

    def on(self, network: Network, apart: Member) -> set[str]:
        """Ids of the endpoints that the store has on a network, without those of one host."""
        found = self.etcd.find(f"{ROOT}endpoints/{network.id}/", True)
        return {item.key.rpartition("/")[2] for item in found if apart.id.encode() not in item.value}

    async def agree(self) -> None:
        """Everybody knows the same, and the store holds what each of them should have published and nothing else."""
        await until(lambda: not self._disagreement(), self._disagreement)

    def _disagreement(self) -> str:
        for member in self.members:
            now = member.ledger.now
            if left := set(now.endpoints_on) - set(now.subscriptions):
                return f"{member.name} does not follow {left}"
            known = {(r.network_id, r.name, r.address, r.host_id) for r in now.remotes.values()}
            there = {
                (e.network_id, other.ledger.now.containers[e.container_id].name, e.address, other.id)
                for other in self.members
                for e in other.ledger.now.endpoints.values()
                if other is not member and e.network_id in now.subscriptions
            }
            if known != there:
                return f"{member.name} knows {known}, there are {there}"
        wanted = {
            ROOT + key: entry.value
            for member in self.members
            for key, entry in published(member.ledger.now, member.cluster.own).items()
        }
        apart = ("records/alive/", "records/serial", "records/networks/", "schema")
        held = {
            item.key: item.value
            for item in self.etcd.find(ROOT, True)
            if not item.key.removeprefix(ROOT).startswith(apart)
        }
        return "" if held == wanted else f"the store holds {sorted(held)}, it should {sorted(wanted)}"


async def until(holds: Callable[[], bool], why: Callable[[], str] = lambda: "") -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(why())


def play(steps: Steps, count: int = 3) -> None:
    async def whole() -> None:
        hosts = Hosts(count)
        try:
            for member in hosts.members:
                await member.start()
            await asyncio.wait_for(steps(hosts), 60)
        finally:
            for member in hosts.members:
                await member.end()

    asyncio.run(whole())


def test_what_one_does_all_know() -> None:
    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back")
        await hosts[1].cluster.caught_up(hosts.etcd.revision)
        address = await hosts[1].run("web")
        await hosts.agree()
        await until(lambda: hosts[2].told == ["network create"])  # said a moment after it is known
        assert (hosts[2].knows(), await hosts[2].finds()) == ({}, {"web": address})
        mine = await hosts[2].run("mine")
        assert hosts[2].knows() == {"web": address, "mine": mine}
        await hosts.agree()
        assert hosts[1].knows() == hosts[2].knows()
        await hosts[1].stop("web")
        await hosts.agree()
        assert hosts[2].knows() == {"mine": mine}
        all_of_it = ["network create", "network connect", "network disconnect"]  # to connect is its own
        await until(lambda: hosts[2].told == all_of_it)
        await hosts[2].stop("mine")
        await hosts.agree()
        assert await hosts[0].finds() == {}
        await hosts[2].remove("back")
        await hosts.agree()
        with pytest.raises(NotFound):
            hosts[0].ledger.now.network("back")

    play(steps)


def test_all_at_once_get_different_addresses() -> None:
    """A subnet of four blocks, three hosts, and more containers than the blocks of any of them hold."""

    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back", "10.9.0.0/27")
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
        starts = [member.run(f"{member.name}-{n}") for n in range(9) for member in hosts.members]
        addresses = await asyncio.gather(*starts)
        assert len(set(addresses)) == 27
        await hosts.agree()
        assert await hosts[0].run("a") and await hosts[1].run("b")
        with pytest.raises(Conflict, match="no available IPv4 addresses"):
            await asyncio.gather(hosts[0].run("c"), hosts[2].run("d"), hosts[1].run("e"))

    play(steps)


@pytest.mark.parametrize("seed", range(12))
def test_all_at_once_get_the_last_addresses(seed: int) -> None:
    """As many as there are: that all are held is no reason to refuse anybody while somebody may have to give way."""
    dice = random.Random(seed)

    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back", "10.9.0.0/27")
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
            member.client.txn = slow(member.client.txn, dice)
        addresses = await asyncio.gather(*(hosts[n % 3].run(f"c{n}") for n in range(29)))
        assert len(set(addresses)) == 29
        await hosts.agree()
        for member in hosts.members:
            with pytest.raises(Conflict, match="no available IPv4 addresses"):
                await member.run("late")

    play(steps)


def test_the_last_address_is_not_used_up_while_who_asks_for_it_may_be_refused() -> None:
    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back", "10.9.0.0/30")  # the gateway, and one more
        publish = hosts[0].cluster.publish

        async def refused(*_: object) -> None:
            hosts[0].cluster.publish = publish  # type: ignore[method-assign]
            await asyncio.sleep(0.05)
            raise Unavailable("not now")

        hosts[0].cluster.publish = refused  # type: ignore[method-assign]
        first, second = await asyncio.gather(hosts[0].run("a"), hosts[0].run("b"), return_exceptions=True)
        assert isinstance(first, Unavailable) and second == "10.9.0.2"
        with pytest.raises(Conflict, match="no available IPv4 addresses"):
            await hosts[0].run("c")  # nobody asks for anything any more

    play(steps, 1)


def slow(work: Callable[..., Awaitable[TxnResult]], dice: random.Random) -> Callable[..., Awaitable[TxnResult]]:
    """A store that takes its time, now more and now less."""

    async def late(*arguments: Any, **options: Any) -> TxnResult:
        await asyncio.sleep(dice.random() / 50)
        done = await work(*arguments, **options)
        await asyncio.sleep(dice.random() / 50)
        return done

    return late


def test_who_joins_a_network_that_is_just_being_removed_is_either_on_it_or_told() -> None:
    async def steps(hosts: Hosts) -> None:
        for turn in range(20):
            await hosts[0].create("back")
            await hosts[1].cluster.caught_up(hosts.etcd.revision)
            done = await asyncio.gather(hosts[0].remove("back"), hosts[1].run("web"), return_exceptions=True)
            assert sum(isinstance(one, LinkspanError) for one in done) == 1, (turn, done)
            if not isinstance(done[1], LinkspanError):
                await hosts[1].stop("web")
                await hosts[0].cluster.caught_up(hosts.etcd.revision)
                await hosts[0].remove("back")
            await hosts[1].cluster.caught_up(hosts.etcd.revision)
            hosts[1].ledger.commit([drop(hosts[1].container("web"))])
            await hosts.agree()

    play(steps, 2)


def test_one_name_one_network() -> None:
    async def steps(hosts: Hosts) -> None:
        done = await asyncio.gather(*(member.create("back") for member in hosts.members), return_exceptions=True)
        assert sum(isinstance(one, Conflict) for one in done) == 2
        await hosts.agree()
        names = [[n.id for n in m.ledger.now.networks.values() if n.scope == "global"] for m in hosts.members]
        assert names[0] == names[1] == names[2] and len(names[0]) == 1

    play(steps)


def test_without_the_store_nothing_new_is_claimed_and_what_was_given_back_is_told_later() -> None:
    async def steps(hosts: Hosts) -> None:
        one = hosts[0]
        await one.create("back")
        address = await one.run("stays")
        await one.run("goes")
        await hosts.agree()
        one.client.cut_off()
        await one.stop("goes")
        await one.stop("stays")
        assert await one.run("stays") == address  # it starts again with what it had
        with pytest.raises(Unavailable):
            await one.run("new")
        with pytest.raises(Unavailable):
            await one.create("more", "10.8.0.0/24")
        assert "goes" in await hosts[1].finds() and "new" not in one.knows()
        await one.end()
        await one.start()  # it is there again while the daemon was not
        await hosts.agree()
        assert await hosts[1].finds() == {"stays": address}
        await one.run("new")

    play(steps)


def test_two_hosts_with_one_address() -> None:
    async def steps(hosts: Hosts) -> None:
        thief = Member(hosts.etcd, 1)
        thief.id = "host-9"
        try:
            with pytest.raises(Conflict, match=r"h1 of the cluster has the address 10\.211\.55\.1 already"):
                await thief.start()
        finally:
            await thief.end()
        await hosts.agree()

    play(steps, 2)


@pytest.mark.parametrize("there", ["/linkspan/somebody/elses", "/linkspan/v2/schema"])
def test_somebody_elses_store(there: str) -> None:
    async def steps(hosts: Hosts) -> None:
        etcd = FakeEtcd()
        await etcd.client().put(there, b"x")
        stranger = Member(etcd, 7)
        try:
            with pytest.raises(Conflict, match="is not this linkspan's"):
                await stranger.start()
        finally:
            await stranger.end()
        assert [item.key for item in etcd.find("/", True)] == [there]

    play(steps, 0)


def test_a_host_that_is_there_before_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be written into one that is empty yet before it is marked as ours: with a word of this host in it, it
    would be a stranger's for ever."""
    asked: list[int] = []
    grant = FakeClient.grant

    async def noted(client: FakeClient, ttl: int) -> Lease:
        asked.append(ttl)
        return await grant(client, ttl)

    monkeypatch.setattr(FakeClient, "grant", noted)

    async def steps(hosts: Hosts) -> None:
        etcd = FakeEtcd()
        early = Member(etcd, 7)
        try:
            await early.start(away=True)
            await asyncio.sleep(0.05)
            assert not asked
            early.client.reconnect()
            await until(early.cluster.usable.is_set)
            await until(lambda: len(etcd.find(f"{ROOT}records/alive/", True)) == 1)
        finally:
            await early.end()

    play(steps, 0)


def test_a_mesh_whose_token_is_asked_for_before_its_store_is_marked() -> None:
    async def steps(hosts: Hosts) -> None:
        etcd = FakeEtcd()
        register = Register(etcd.client(), ROOT, lambda: 0.0)
        secret = await register.secret()
        member = Member(etcd, 7)
        try:
            await member.start()
            assert member.cluster.usable.is_set() and await register.secret() == secret
        finally:
            await member.end()

    play(steps, 0)


def test_a_store_of_another_version() -> None:
    async def steps(hosts: Hosts) -> None:
        etcd = FakeEtcd()
        await etcd.client().put(f"{ROOT}schema", b"linkspan 99")
        stranger = Member(etcd, 7)
        try:
            with pytest.raises(Conflict, match="was written as 'linkspan 99', this linkspand knows 'linkspan 2'"):
                await stranger.start()
        finally:
            await stranger.end()

    play(steps, 0)


def test_a_host_that_was_taken_out_and_returns_gives_way() -> None:
    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back", "10.9.0.0/29")  # no blocks: everybody takes the first that is free
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
        address = await hosts[1].run("away")
        await hosts[1].run("also")
        await hosts.agree()
        hosts[1].client.cut_off()
        with pytest.raises(Conflict, match="answers"):
            await hosts[0].cluster.expel("h2", force=False)
        await hosts[0].cluster.expel("h2", force=True)
        await hosts[2].cluster.caught_up(hosts.etcd.revision)
        assert await hosts[2].run("heir") == address
        hosts[1].client.reconnect()
        await hosts.agree()
        found = await hosts[1].finds()
        assert found["heir"] == address and found.keys() == {"heir", "also"}

    play(steps)


def test_who_is_still_starting_is_not_taken_off_its_network() -> None:
    """All that should be published is looked over while one asks for an address that another host turns out to have."""

    async def steps(hosts: Hosts) -> None:
        network = await hosts[0].create("back")
        member = hosts[0]
        publish, held = member.cluster.publish, asyncio.Event()

        async def slow(before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
            await held.wait()
            await publish(before, after, writes)

        member.cluster.publish = slow  # type: ignore[method-assign]
        starting = asyncio.ensure_future(member.run("one"))
        await until(lambda: bool(member.ledger.now.endpoints))
        (address,) = member.knows().values()
        await member.cluster._lost(f"claims/addresses/{network.id}/{address}")
        held.set()
        await starting
        assert list(member.knows()) == ["one"]

    play(steps)


def test_a_network_goes_with_more_reservations_than_a_transaction_takes() -> None:
    async def steps(hosts: Hosts) -> None:
        network = await hosts[0].create("flat", "10.9.0.0/23")
        for n in range(300):
            address = f"10.9.{n // 200}.{10 + n % 200}"
            kept = Reservation(
                id=f"{network.id}/c{n}", network_id=network.id, identity=f"c{n}", address=address, host_id="host-1"
            )
            await hosts[0].mutation.carry_out(Change((put(kept),)))
        now = hosts[0].ledger.now
        leaving = [drop(kept) for kept in now.reservations.values()]
        await hosts[0].mutation.carry_out(Change((*leaving, drop(network))))
        await hosts.agree()
        assert not [item for item in hosts.etcd.find(ROOT, True) if network.id in item.key]

    play(steps)


def test_a_reservation_is_taken_over_by_the_host_that_uses_it() -> None:
    async def steps(hosts: Hosts) -> None:
        network = await hosts[0].create("flat")
        kept = Reservation(
            id=f"{network.id}/db", network_id=network.id, identity="db", address="10.9.0.77", host_id="host-1"
        )
        await hosts[0].mutation.carry_out(Change((put(kept),)))
        await hosts[1].cluster.caught_up(hosts.etcd.revision)
        assert hosts[1].ledger.now.reservations[kept.id] == kept
        moved = Reservation(id=kept.id, network_id=network.id, identity="db", address="10.9.0.77", host_id="host-2")
        await hosts[1].mutation.carry_out(Change((put(moved),)))
        await until(lambda: all(m.ledger.now.reservations[kept.id].host_id == "host-2" for m in hosts.members))
        stolen = Reservation(
            id=f"{network.id}/x", network_id=network.id, identity="x", address="10.9.0.77", host_id="host-1"
        )
        with pytest.raises(Conflict, match=r"another host has the address 10\.9\.0\.77"):
            await hosts[0].mutation.carry_out(Change((put(stolen),)))

    play(steps)


def test_a_network_that_nobody_here_is_on_is_not_removed_while_others_are() -> None:
    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back")
        await hosts[1].cluster.caught_up(hosts.etcd.revision)
        await hosts[1].run("web")
        with pytest.raises(Forbidden, match=r'has active endpoints .*name:"web on h2"'):
            await hosts[0].remove("back")
        await hosts.agree()

    play(steps, 2)


def test_who_is_on_a_network_is_forgotten_once_nobody_here_is_and_read_again_by_who_comes() -> None:
    async def steps(hosts: Hosts) -> None:
        network = await hosts[0].create("back")
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
        await hosts[1].run("web")
        await hosts[0].run("mine")
        await hosts[0].forget(network)  # in vain
        assert hosts[0].knows().keys() == {"web", "mine"}
        hosts[0].client.cut_off()
        await hosts[0].stop("mine")
        await hosts[0].forget(network)  # in vain, too: that it is gone has yet to be told
        assert hosts[0].knows().keys() == {"web"}
        hosts[0].client.reconnect()
        await hosts.agree()
        told = list(hosts[0].told)
        await hosts[0].forget(network)
        assert hosts[0].knows() == {} and not hosts[0].ledger.now.subscriptions
        await hosts[1].run("more")
        await hosts[0].run("mine")
        assert hosts[0].knows().keys() == {"web", "more", "mine"}
        assert hosts[0].told == [*told, "network connect"]  # its own: of what it did not follow it says nothing
        await hosts[1].stop("web")
        await hosts.agree()
        await until(lambda: hosts[0].told == [*told, "network connect", "network disconnect"])

    play(steps, 2)


def test_what_was_left_on_a_network_while_the_store_was_away_is_taken_back_by_the_next_daemon() -> None:
    """It knows nothing but its records, and nobody here is on the network any more."""

    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back")
        await hosts[0].run("web")
        hosts[0].client.cut_off()
        await hosts[0].stop("web")
        await hosts[0].end()
        await hosts[0].start()
        await hosts.agree()
        assert await hosts[1].finds() == {}
        await hosts[1].remove("back")
        await hosts.agree()
        assert not hosts[0].ledger.now.subscriptions

    play(steps, 2)


def test_a_host_whose_interface_has_another_name() -> None:
    async def steps(hosts: Hosts) -> None:
        one, two = hosts.members
        two.interfaces = {"eth0": "ens5"}
        await two.end()
        await two.start()

        def parents() -> list[list[tuple[str, str]]]:
            return [[(n.name, n.parent) for n in m.ledger.now.networks.values() if n.parent] for m in hosts.members]

        back = await one.create("back", parent="eth0")
        await until(lambda: parents() == [[("back", "eth0")], [("back", "ens5")]], lambda: str(parents()))
        labelled = msgspec.structs.replace(two.ledger.now.networks[back.id], labels={"a": "b"})
        await two.mutation.decide(lambda: Change((put(labelled),)))
        await until(lambda: one.ledger.now.networks[back.id].labels == {"a": "b"})
        assert parents() == [[("back", "eth0")], [("back", "ens5")]]
        await two.end()
        await two.start()
        assert parents() == [[("back", "eth0")], [("back", "ens5")]]
        await two.remove("back")
        await two.create("mine", parent="ens5")
        await until(lambda: parents() == [[("mine", "eth0")], [("mine", "ens5")]], lambda: str(parents()))
        with pytest.raises(InvalidArgument, match="eth0 itself cannot be the parent"):
            await two.create("wrong", "10.8.0.0/24", parent="eth0")
        await hosts.agree()

    play(steps, 2)


def test_one_that_follows_everything() -> None:
    """A host whose own programs may ask for any name."""

    async def steps(hosts: Hosts) -> None:
        hosts[1].everything = True
        await hosts[1].end()
        await hosts[1].start()
        await hosts[0].create("back")
        address = await hosts[0].run("web")
        await until(lambda: hosts[1].knows() == {"web": address})
        assert await hosts[1].finds() == {"web": address}
        assert await hosts[1].run("mine")
        await hosts[1].stop("mine")
        await hosts[1].forget(hosts[1].ledger.now.network("back"))  # in vain
        assert await hosts[1].run("mine")
        await hosts[0].stop("web")
        await until(lambda: hosts[1].knows().keys() == {"mine"})

    play(steps, 2)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens(seed: int) -> None:
    """Starts and stops, hosts cut off from the store, lost answers, compaction, daemons killed, networks forgotten: in
    any order. Whoever comes to a network knows who is there."""
    chance = random.Random(seed)

    async def steps(hosts: Hosts) -> None:
        networks = [
            await hosts[0].create(name, f"10.{9 + n}.0.0/{chance.choice([24, 27])}")
            for n, name in enumerate(("back", "front", "side"))
        ]
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
        for _ in range(120):
            member = chance.choice(hosts.members)
            number = chance.randrange(6)
            name, network = f"{member.name}-{number}", networks[number % 3]
            running = name in member.has()
            match chance.randrange(12):
                case 0:
                    member.client.cut_off()
                case 1 | 2:
                    member.client.reconnect()
                case 3:
                    member.client.lose_next_answer()
                case 4:
                    with contextlib.suppress(Compacted):
                        await hosts.etcd.client().compact(hosts.etcd.revision)
                case 5:
                    await member.end()
                    await member.start()
                case 6:
                    await member.forget(network)
                case _:
                    new = not running and not member.cluster._follower.follows(network.id)
                    before = hosts.on(network, member)
                    work = member.stop(name) if running else member.run(name, network.name)
                    with contextlib.suppress(Unavailable, Conflict, Forbidden):
                        await asyncio.wait_for(work, 5)
                        if new:
                            assert before & hosts.on(network, member) <= set(member.ledger.now.remotes)
            holders = [
                (e.network_id, e.address)
                for one in hosts.members
                for e in one.ledger.now.endpoints.values()
                if e.address
            ]
            assert len(holders) == len(set(holders))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        for member in hosts.members:
            member.client.reconnect()
        await hosts.agree()

    play(steps)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_at_once(seed: int) -> None:
    """Four clients at each host, a store that takes its time, and hardly more addresses than containers: what was
    granted is nobody else's at any moment, and in the end all agree."""
    chance = random.Random(seed)

    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back", f"10.9.0.0/{chance.choice([27, 28])}")
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
            member.client.txn = slow(member.client.txn, chance)

        async def client(member: Member, number: int) -> None:
            name = f"{member.name}-{number}"
            for _ in range(12):
                if chance.random() < 0.1:
                    member.client.lose_next_answer()
                work = member.stop(name) if name in member.has() else member.run(name)
                with contextlib.suppress(Unavailable, Conflict, Forbidden):
                    await work
                granted = [
                    (e.network_id, e.address)
                    for m in hosts.members
                    for e in m.ledger.told.endpoints.values()
                    if e.id in m.ledger.now.endpoints  # not just being given back
                ]
                assert len(granted) == len(set(granted))

        await asyncio.gather(*(client(member, number) for member in hosts.members for number in range(5)))
        await hosts.agree()

    play(steps)


def holders(hosts: Hosts) -> list[tuple[str, str]]:
    return [(e.network_id, e.address) for m in hosts.members for e in m.ledger.now.endpoints.values() if e.address]


def test_a_host_alone_gives_out_what_it_holds_and_nothing_else() -> None:
    async def steps(hosts: Hosts) -> None:
        one, two = hosts.members
        await one.create("back", "10.9.0.0/24", exclusive=True)  # blocks of 16
        await one.create("other", "10.8.0.0/24", exclusive=True)
        await two.cluster.caught_up(hosts.etcd.revision)
        await one.run("a")
        await two.run("b")
        one.client.cut_off()
        with pytest.raises(Unavailable):
            await one.run("unsure")  # it does not know for sure yet that its block is its own
        one.client.reconnect()
        await until(lambda: not one.cluster._publisher.refusal)
        await one.cluster.hold()
        await hosts.agree()
        (block,) = [b for b in one.ledger.now.blocks.values() if b.host_id == one.id]
        one.client.cut_off()
        await one.end()
        await one.start(away=True)  # what it holds it knows without the store
        alone = [await one.run(f"c{n}") for n in range(12)]
        assert all(ipaddress.ip_address(address) in ipaddress.ip_network(block.subnet) for address in alone)
        with pytest.raises(Unavailable):
            await one.run("elsewhere", "other")  # nobody here is on it
        with pytest.raises((Unavailable, Conflict)):
            for n in range(12, 16):
                await one.run(f"c{n}")  # nor is there an end of addresses that are not its own
        theirs = [await two.run(f"d{n}") for n in range(12)]
        assert len({*alone, *theirs}) == 24
        one.client.reconnect()
        await hosts.agree()
        assert {two.knows()[f"c{n}"] for n in range(12)} == set(alone)

    play(steps, 2)


def test_an_address_of_anothers_block_cannot_be_had_by_asking_for_it() -> None:
    async def steps(hosts: Hosts) -> None:
        one, two = hosts.members
        await one.create("back", "10.9.0.0/24", exclusive=True)
        await two.cluster.caught_up(hosts.etcd.revision)
        address = ipaddress.ip_address(await one.run("a"))
        await two.cluster.caught_up(hosts.etcd.revision)
        two.world.now = two.ledger.now
        asking = two.world.container("b", "back")
        settings = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address=str(address + 1)))
        two.ledger.commit([put(msgspec.structs.replace(asking, networks=dict.fromkeys(asking.networks, settings)))])
        with pytest.raises(Forbidden, match=r"which host h1 gives out"):
            await two.run("b")

    play(steps, 2)


def test_a_host_with_many_blocks_gives_back_what_is_left_over() -> None:
    async def steps(hosts: Hosts) -> None:
        one = hosts[0]
        await one.create("back", "10.9.0.0/24", exclusive=True)
        for n in range(40):
            await one.run(f"c{n}")
        await one.cluster.hold()
        mine = len(one.ledger.now.blocks)
        assert mine >= 3
        for n in range(1, 40):
            await one.stop(f"c{n}")
        await one.cluster.give_back()
        assert 1 <= len(one.ledger.now.blocks) < mine
        await hosts.agree()

    play(steps, 1)


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_both_sides_of_a_parted_mesh_go_on(seed: int) -> None:
    """Two hosts of five without the store, three with it, over and over; daemons die meanwhile, answers are lost and
    blocks change hands. No address is ever held twice; who holds a block gives out of it; and when they meet again
    everybody keeps what it has. In the end one host is taken out while it is away."""
    chance = random.Random(seed)

    async def some(hosts: Hosts, members: Sequence[Member], count: int) -> int:
        """So many steps. How many containers were started by hosts that could ask nobody."""
        alone = 0
        for _ in range(count):
            member = chance.choice(members)
            name = f"{member.name}-{chance.randrange(9)}"
            match chance.randrange(14):
                case 0:
                    away = member.client.away
                    await member.end()
                    await member.start(away=away)
                case 1:
                    member.client.lose_next_answer()
                case 2 | 3:
                    await member.cluster.hold()
                case 4:
                    await member.cluster.give_back()
                case _ if name in member.has():
                    await asyncio.wait_for(member.stop(name), 5)
                case _:
                    free, away = room(member), member.client.away
                    try:
                        await asyncio.wait_for(member.run(name), 5)
                        alone += away
                    except (Unavailable, Conflict) as error:
                        assert not (away and free), error
            held = holders(hosts)
            assert len(held) == len(set(held))
        return alone

    def room(member: Member) -> int:
        """Addresses that it may give out without asking."""
        now = member.ledger.now
        network = now.network("back")
        held = [b for b in now.blocks_of(network) if b.host_id == member.id and b.held]
        room = sum(ipaddress.ip_network(block.subnet).num_addresses - 2 for block in held)  # the subnet's ends
        used = sum(1 for _ in now.endpoints_at(network))
        return max(0, room - used) if used else 0

    async def steps(hosts: Hosts) -> None:
        # Sixteen blocks of 16 addresses, or eight of 8: then there are more containers than one host's share.
        await hosts[0].create("back", chance.choice(["10.9.0.0/24", "10.9.0.0/26"]), exclusive=True)
        for member in hosts.members:
            await member.cluster.caught_up(hosts.etcd.revision)
        alone = 0
        for _ in range(4):
            await some(hosts, hosts.members, 30)
            for member in hosts.members:
                await member.cluster.hold()
            away = chance.sample(hosts.members, 2)
            for member in away:
                member.client.cut_off()
            alone += await some(hosts, hosts.members, 40)
            had = [member.has() for member in hosts.members]
            for member in away:
                member.client.reconnect()
            await hosts.agree()
            assert had == [member.has() for member in hosts.members]
        assert alone
        lost = hosts.members.pop()
        lost.client.cut_off()
        for _ in range(2):  # of the first attempt the answer may be lost
            with contextlib.suppress(Unavailable, NotFound):
                await hosts[0].cluster.expel(lost.name, force=True)
        await some(hosts, [lost], 5)
        await some(hosts, hosts.members, 40)
        await hosts.agree()
        await lost.end()

    play(steps, 5)
