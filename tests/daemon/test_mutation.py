"""A change is carried out, or nothing of it is left; and a daemon with an empty memory comes to the same state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest

from linkspan.daemon.cluster.contract import Overtaken
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.reconcile import converge
from linkspan.drivers.overlay import OverlayDriver
from linkspan.engine.change import Change
from linkspan.engine.join import join, leave
from linkspan.engine.render import render_all
from linkspan.errors import PortInUse
from linkspan.kernel.fake import FakeKernel
from linkspan.model.cluster import Block, Remote
from linkspan.model.cluster import Host as HostRecord
from linkspan.model.container import Container
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, put
from linkspan.state.host import Underlay
from linkspan.state.objects import BoundPort, Sysctl, Veth
from linkspan.store.memory import MemoryStore
from tests.engine.conftest import DRIVERS, HOST, World

_DRIVERS = {**DRIVERS, "overlay": OverlayDriver(underlay=Underlay("eth0", "10.211.55.4"))}


class Bench:
    """A daemon's inside, on a fake kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel, self.store, self.events = kernel, MemoryStore(), Events()
        self.programmer = Programmer(lambda: kernel)
        self.world = World()
        self.store.commit(_records(self.world.now))
        self.ledger = Ledger(self.store)
        self.followed: list[set[str]] = []
        self.mutation = Mutation(
            self.ledger, self.programmer, _DRIVERS, self.events, lambda _, __, ids: self.followed.append(set(ids))
        )

    def container(self, name: str, network: str = "bridge", **ports: str) -> Container:
        self.world.now = self.ledger.now
        made = self.world.container(
            name, network, ports={port.replace("_", "/"): where for port, where in ports.items()}
        )
        self.ledger.commit([put(made)])
        return made

    async def converge(self) -> int:
        return await converge(self.ledger, self.programmer, _DRIVERS, lambda: HOST)

    def as_recorded(self) -> bool:
        """The kernel holds what the records say, no more and no less; and the store holds the records."""
        wanted = render_all(self.ledger.now, _DRIVERS, HOST)
        return dict(self.kernel.state) == wanted and self.store.load() == self.ledger.now


def _records(snapshot: Snapshot) -> list[Any]:
    return [put(network) for network in snapshot.networks.values()]


def run(steps: Callable[[Bench], Coroutine[Any, Any, None]], kernel: FakeKernel | None = None) -> None:
    bench = Bench(kernel or FakeKernel())
    try:
        asyncio.run(steps(bench))
    finally:
        bench.programmer.close()


def test_there_and_back() -> None:
    async def steps(bench: Bench) -> None:
        assert await bench.converge() > 0
        assert bench.as_recorded()
        before = dict(bench.kernel.state)
        web = bench.container("web", **{"80_tcp": "8080", "53_udp": "127.0.0.1:53"})
        await bench.mutation.carry_out(join(bench.ledger.now, web, bench.world.around()))
        assert bench.as_recorded()
        assert BoundPort("tcp", "0.0.0.0", 8080).key in bench.kernel.state
        await bench.mutation.carry_out(leave(bench.ledger.now, web))
        assert bench.as_recorded()
        assert dict(bench.kernel.state) == before

    run(steps)


def test_a_failed_change_leaves_nothing() -> None:
    async def steps(bench: Bench) -> None:
        await bench.converge()
        records, state = bench.ledger.now, dict(bench.kernel.state)
        web = bench.container("web", **{"80_tcp": "8080", "81_tcp": "8081"})
        heard: list[str] = []
        change = join(bench.ledger.now, web, bench.world.around())
        with pytest.raises(PortInUse, match="8081"):
            await bench.mutation.carry_out(change)
        assert bench.ledger.now == records.after([put(web)])
        assert dict(bench.kernel.state) == state
        assert bench.as_recorded()
        async for event in bench.events.listen(1, 2, lambda _: True):
            heard.append(event.action)
        assert heard == []  # nobody is told of what did not happen

    run(steps, FakeKernel(taken=[BoundPort("tcp", "0.0.0.0", 8081)]))


class Store:
    """The cluster's store, while one publishes to which something else happens."""

    def __init__(self, meanwhile: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._meanwhile: list[Callable[[], Coroutine[Any, Any, None]]] = [meanwhile]
        self._lock = asyncio.Lock()  # one at a time, as they come

    async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
        async with self._lock:
            while self._meanwhile:
                await self._meanwhile.pop()()

    def withdraw(self) -> None:
        pass

    async def follow(self, network_id: str) -> None:
        raise AssertionError

    async def caught_up(self, revision: int, network_id: str = "") -> None:
        raise AssertionError


def spread(bench: Bench) -> Network:
    """An overlay network, and another host with a container on it."""
    network = Network(
        id="f" * 64,
        name="over",
        driver="overlay",
        created="",
        scope="global",
        bridge="br-over",
        vni=4096,
        pools=(Pool(subnet="10.0.0.0/24", gateway="10.0.0.1"),),
    )
    bench.ledger.commit([put(network), put(HostRecord(id="o", name="o", address="10.211.55.5")), elsewhere(2)])
    return network


def elsewhere(last: int) -> Write:
    mac, address = f"02:42:0a:00:00:{last:02x}", f"10.0.0.{last}"
    return put(
        Remote(id=f"r{last}", network_id="f" * 64, host_id="o", container_id="c", name="c", mac=mac, address=address)
    )


def test_what_others_do_while_a_network_is_joined_is_taken_along() -> None:
    """It could not be followed before there was the network's bridge here."""

    async def steps(bench: Bench) -> None:
        await bench.converge()
        spread(bench)
        first = bench.container("first", "over")
        bench.mutation.cluster = Store(
            lambda: bench.mutation.take_over([elsewhere(3), Write("remote", "r2", None)], [])
        )
        await bench.mutation.carry_out(join(bench.ledger.now, first, bench.world.around()))
        assert bench.as_recorded()
        assert ("neighbour", "br-over", "10.0.0.3") in bench.kernel.state

    run(steps)


def test_who_comes_after_one_that_fails_has_what_it_needs() -> None:
    async def steps(bench: Bench) -> None:
        await bench.converge()
        spread(bench)
        fails = bench.container("fails", "over", **{"80_tcp": "8081"})
        second = bench.container("second", "over")
        coming: list[asyncio.Task[None]] = []

        async def another() -> None:
            change = join(bench.ledger.now, second, bench.world.around())
            coming.append(asyncio.create_task(bench.mutation.carry_out(change)))
            await asyncio.sleep(0)  # it waits for its turn at the store
            assert len(bench.ledger.now.endpoints) == 2

        bench.mutation.cluster = Store(another)
        with pytest.raises(PortInUse, match="8081"):
            await bench.mutation.carry_out(join(bench.ledger.now, fails, bench.world.around()))
        await coming[0]
        assert bench.as_recorded()
        assert ("neighbour", "br-over", "10.0.0.2") in bench.kernel.state

    run(steps, FakeKernel(taken=[BoundPort("tcp", "0.0.0.0", 8081)]))


def test_an_empty_memory_comes_to_the_same_state() -> None:
    async def steps(bench: Bench) -> None:
        await bench.converge()
        for name, port in (("a", "8080"), ("b", "8081")):
            made = bench.container(name * 2, **{"80_tcp": port})
            await bench.mutation.carry_out(join(bench.ledger.now, made, bench.world.around()))
        assert await bench.converge() == 0  # the incremental path left nothing to do
        whole = dict(bench.kernel.state)
        for key in [key for key in whole if key[0] in ("nft", "port")]:
            del bench.kernel.state[key]
        bench.ledger = Ledger(bench.store)
        assert await bench.converge() > 0
        assert dict(bench.kernel.state) == whole and bench.as_recorded()

    run(steps)


def test_a_port_that_somebody_took_meanwhile_holds_up_nothing_else() -> None:
    async def steps(bench: Bench) -> None:
        made = bench.container("web", **{"80_tcp": "8080"})
        change = join(bench.ledger.now, made, bench.world.around())
        bench.ledger.commit(change.writes)  # as a daemon left it that was killed
        await bench.converge()
        wanted = render_all(bench.ledger.now, _DRIVERS, HOST)
        del wanted[BoundPort("tcp", "0.0.0.0", 8080).key]
        assert {k: o for k, o in bench.kernel.state.items() if not isinstance(o, Sysctl)} == {
            k: o for k, o in wanted.items() if not isinstance(o, Sysctl)
        }

    run(steps, FakeKernel(taken=[BoundPort("tcp", "0.0.0.0", 8080)]))


def test_what_another_host_has_written_meanwhile_stays_when_a_change_is_taken_back() -> None:
    """Two hosts choose one block of addresses. Whoever is told so decides anew, and knows then whose it is."""
    theirs = Block(id="n/10.9.0.0/28", network_id="n", subnet="10.9.0.0/28", host_id="other")
    mine = msgspec.structs.replace(theirs, host_id="this")
    decided: list[Block | None] = []

    async def steps(bench: Bench) -> None:
        class Quicker:
            async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
                if mine in after.blocks.values():
                    await bench.mutation.take_over([put(theirs)], [])
                    raise Overtaken("another host has the block", 1)

            def withdraw(self) -> None: ...

            async def follow(self, network_id: str) -> None: ...

            async def caught_up(self, revision: int, network_id: str = "") -> None: ...

        def decide() -> Change:
            decided.append(bench.ledger.now.blocks.get(mine.id))
            return Change(() if decided[-1] else (put(mine),))

        bench.mutation.cluster = Quicker()
        await bench.mutation.decide(decide)
        assert decided == [None, theirs]

    run(steps)


def test_whoever_is_through_sooner_makes_what_they_have_in_common() -> None:
    """The first one to join a network waits for an answer from elsewhere, and the second one comes before it."""

    async def steps(bench: Bench) -> None:
        held = asyncio.Event()

        class Slow:
            async def publish(self, before: Snapshot, after: Snapshot, writes: Sequence[Write]) -> None:
                if len(after.endpoints) == 1:
                    await held.wait()

            def withdraw(self) -> None: ...

            async def follow(self, network_id: str) -> None: ...

            async def caught_up(self, revision: int, network_id: str = "") -> None: ...

        await bench.converge()
        bench.mutation.cluster = Slow()
        first, second = (bench.container(name, **{"80_tcp": port}) for name, port in (("one", "8080"), ("two", "8081")))
        waiting = asyncio.ensure_future(bench.mutation.carry_out(join(bench.ledger.now, first, bench.world.around())))
        await asyncio.sleep(0)
        await bench.mutation.carry_out(join(bench.ledger.now, second, bench.world.around()))
        assert not waiting.done()
        assert len([one for one in bench.kernel.state.values() if isinstance(one, Veth)]) == 1
        held.set()
        await waiting
        assert bench.as_recorded()

    run(steps)
