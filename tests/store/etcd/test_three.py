"""The client and three real members, some of which end, hang, or are cut off."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

import pytest
from demo.etcd import Members

from linkspan.errors import Unavailable
from linkspan.store.etcd import members as asking
from linkspan.store.etcd import watch as watching
from linkspan.store.etcd.address import parse_cluster
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.contract import Compacted, OutcomeUnknown
from linkspan.store.etcd.values import Changes, Event, Interrupted, KeyValue, Put, Told, Watching, absent, unchanged
from tests.etcd import etcd, place
from tests.hosts import Host, hosts

pytestmark = pytest.mark.root
ADDRESSES = {"one": "10.211.61.1", "two": "10.211.61.2", "three": "10.211.61.3"}


class Three:
    """Members in a host each, and a host that a client of them is in."""

    def __init__(self, members: Members, made: dict[str, Host]) -> None:
        self.members = members
        self._hosts = made
        self._thread = concurrent.futures.ThreadPoolExecutor(1)  # members die with the thread that starts them

    async def start(self, *names: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self.members.start, *names)

    async def kill(self, *names: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self.members.kill, *names)

    def heal(self) -> None:
        """Starts those that do not run."""
        if down := [name for name in ADDRESSES if name not in self.members.running]:
            self._thread.submit(self.members.start, *down).result(60)

    def close(self) -> None:
        self._thread.shutdown()

    def run(self, function: Callable[[EtcdClient], Awaitable[None]], *first: str) -> None:
        """Runs a test's coroutine with a client that asks these members first."""
        order = [*first, *(name for name in ADDRESSES if name not in first)]
        self._hosts["client"].call(asyncio.run, self._with_client(function, order))

    async def _with_client(self, function: Callable[[EtcdClient], Awaitable[None]], order: list[str]) -> None:
        client = EtcdClient(parse_cluster("etcd://" + ",".join(ADDRESSES[name] for name in order)))
        try:
            await asyncio.wait_for(function(client), 50)
        finally:
            await client.close()

    async def leader(self, client: EtcdClient) -> str:
        """Its name."""
        for status in await client.status():
            if status.leader and status.leader == status.id:
                return next(name for name, address in ADDRESSES.items() if f"{address}:2379" == status.address)
        raise AssertionError("there is no leader")

    def drop(self, name: str, *ports: int) -> None:
        """What this member's host sends and hears at these ports of TCP is dropped, silently."""
        listed = ", ".join(map(str, ports))
        both = "".join(
            f"add rule ip cut {hook} tcp {side} {{ {listed} }} drop\n"
            for hook in ("in", "out")
            for side in ("dport", "sport")
        )
        self._hosts[name].run(
            *("nft", "-f", "-"),
            stdin="add table ip cut\n"
            "add chain ip cut in { type filter hook input priority 0; }\n"
            "add chain ip cut out { type filter hook output priority 0; }\n" + both,
        )

    def mend(self, name: str) -> None:
        self._hosts[name].run("nft", "delete", "table", "ip", "cut")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    addresses = {name: f"{address}/24" for name, address in ADDRESSES.items()}
    with hosts(**addresses, client="10.211.61.9/24") as made:
        places = [place(made[name], address, name) for name, address in ADDRESSES.items()]
        with etcd(places, tmp_path_factory.mktemp("e")) as members:
            made_of = Three(members, made)
            yield made_of
            made_of.close()


@pytest.fixture
def three(cluster: Three) -> Iterator[Three]:
    """All of them well again afterwards."""
    yield cluster
    cluster.heal()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST", 0.7)
    monkeypatch.setattr(watching, "QUIET", 0.5)


@contextlib.asynccontextmanager
async def told_of(client: EtcdClient, prefix: str, after: int) -> AsyncIterator[AsyncGenerator[Told, None]]:
    async with contextlib.aclosing(client.watch(prefix, after=after)) as told:
        assert isinstance(await anext(told), Watching)
        yield told


async def next_events(told: AsyncGenerator[Told, None]) -> list[Event]:
    async for one in told:
        if isinstance(one, Changes) and one.events:
            return list(one.events)
    raise AssertionError("the watch has ended")


def test_members_that_die_in_turn_lose_and_double_nothing(three: Three) -> None:
    """Somebody writes, somebody watches; each member is killed once, the leader first, and comes back."""

    async def whole(client: EtcdClient) -> None:
        start = await client.put("/turn/start", b"")
        heard: list[bytes] = []
        said: list[Told] = []

        async def listen() -> None:
            async with contextlib.aclosing(client.watch("/turn/", after=start)) as told:
                async for one in told:
                    if isinstance(one, Changes):
                        heard.extend(event.now.value for event in one.events)
                        if heard and heard[-1] == b"end":
                            return
                    else:
                        said.append(one)

        written: list[bytes] = []
        wrote = asyncio.Event()
        going = True

        async def write() -> None:
            last = await client.get("/turn/start")
            assert last is not None
            number = 0
            while going:
                with contextlib.suppress(Unavailable):
                    await client.txn([unchanged(last)], [Put("/turn/start", str(number).encode())])
                found = await now()
                if found != last:  # done now, or only now come to an end
                    assert found.version == last.version + 1
                    written.append(found.value)
                    wrote.set()
                last = found
                number += 1

        async def now() -> KeyValue:
            while True:
                with contextlib.suppress(Unavailable):
                    found = await client.get("/turn/start")
                    assert found is not None
                    return found

        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen())
            writing = tasks.create_task(write())
            order = sorted(ADDRESSES, key=(await three.leader(client)).__ne__)
            for name in order:
                before = len(written)
                await three.kill(name)
                while len(written) < before + 20:
                    await wrote.wait()
                    wrote.clear()
                await three.start(name)
            going = False
            await writing
            while True:
                with contextlib.suppress(Unavailable):
                    await client.put("/turn/end", b"end")
                    break
            await listening
        assert heard == [*written, b"end"]
        assert any(isinstance(one, Interrupted) for one in said)

    three.run(whole)


def test_a_minority_says_so_and_nothing_is_lost(three: Three, short: None) -> None:
    async def whole(client: EtcdClient) -> None:
        revision = await client.put("/minority/a", b"1")
        async with told_of(client, "/minority/", revision) as told:
            await three.kill("two", "three")
            assert isinstance(stopped := await anext(told), Interrupted)
            assert stopped.reason.startswith("10.211.61.1:2379: ")
            unknown = 0
            with pytest.raises(
                Unavailable, match=r"61.1:2379: it says: no leader; .*61.2:2379: connection refused"
            ) as refused:
                while True:  # until the member has noticed, it may not know what comes of a change
                    try:
                        await client.put("/minority/a", b"2")
                    except OutcomeUnknown:
                        unknown += 1
            assert not isinstance(refused.value, OutcomeUnknown)
            with pytest.raises(Unavailable, match="no leader"):
                await client.get("/minority/a")
            assert [bool(status.failure) for status in await client.status()] == [False, True, True]
            assert (await client.status())[0].leader == ""

            await three.start("two")
            while True:
                with contextlib.suppress(Unavailable):
                    await client.put("/minority/a", b"3")
                    break
            values: list[bytes] = []
            while values[-1:] != [b"3"]:
                values += [event.now.value for event in await next_events(told)]
            *before, last = values
            assert last == b"3" and set(before) <= {b"2"}
            assert len(before) <= unknown  # what was under way may still have been done, each at most once

    three.run(whole, "one")


@pytest.mark.parametrize("how", ["frozen", "dropped"])
def test_a_member_that_says_nothing_is_left(three: Three, short: None, how: str) -> None:
    async def whole(client: EtcdClient) -> None:
        name = min({*ADDRESSES} - {await three.leader(client)})
        revision = await client.put("/silent/a", b"1")
        client._members._turn = [str(one) for one in client._members.addresses].index(f"{ADDRESSES[name]}:2379")
        async with told_of(client, "/silent/", revision) as told:
            if how == "frozen":
                three.members.freeze(name)
            else:
                three.drop(name, 2379)
            try:
                stopped = await anext(told)
                assert stopped in (
                    Interrupted(f"{ADDRESSES[name]}:2379: no answer within 0.7 s"),
                    Interrupted(f"{ADDRESSES[name]}:2379: no connection within 1 s"),
                )
                assert isinstance(await anext(told), Watching)
                await client.put("/silent/a", b"2")
                (event,) = await next_events(told)
                assert event.now.value == b"2"
            finally:
                if how == "frozen":
                    three.members.thaw(name)
                else:
                    three.mend(name)

    three.run(whole)


def test_a_member_cut_off_from_the_others(three: Three) -> None:
    """It goes on talking to us: that it has no leader ends the watch, and requests go to the others."""

    async def whole(client: EtcdClient) -> None:
        revision = await client.put("/cut/a", b"1")
        async with told_of(client, "/cut/", revision) as told:
            three.drop("one", 2380)
            try:
                assert isinstance(stopped := await anext(told), Interrupted)
                assert stopped.reason == "10.211.61.1:2379: it says: no leader"
                assert isinstance(await anext(told), Watching)
                while True:
                    with contextlib.suppress(Unavailable):
                        await client.put("/cut/a", b"2")
                        break
                (event,) = await next_events(told)
                assert event.now.value == b"2"
            finally:
                three.mend("one")

    three.run(whole, "one")


def test_history_compacted_while_nobody_answered(three: Three) -> None:
    async def whole(client: EtcdClient) -> None:
        revision = await client.put("/away/a", b"1")
        async with told_of(client, "/away/", revision) as told:
            await three.kill()
            assert isinstance(await anext(told), Interrupted)
            await three.start()
            while True:
                with contextlib.suppress(Unavailable):
                    last = [await client.put("/away/a", b"2") for _ in range(3)][-1]
                    break
            await client.compact(last)
            with pytest.raises(Compacted):
                while True:
                    await anext(told)
        page = await client.list("/away/")
        assert [one.value for one in page.found] == [b"2"]

    three.run(whole)


def test_more_than_a_gateway_takes_at_once(three: Three) -> None:
    """4 MiB: a listing goes in smaller pages, and a watch that has much to catch up with in pieces."""

    async def whole(client: EtcdClient) -> None:
        start = await client.put("/large/start", b"")
        value = bytes(range(256)) * 40
        for part in range(12):
            puts = [Put(f"/large/{part:02}/{number:03}", value) for number in range(120)]
            assert (await client.txn([absent(puts[0].key)], puts)).succeeded
        page = await client.list("/large/")
        assert len(page.found) == 12 * 120 + 1
        assert sum(len(one.value) for one in page.found) > 12 << 20
        events: list[Event] = []
        async with told_of(client, "/large/", start) as told:
            while len(events) < 12 * 120:
                one = await anext(told)
                assert isinstance(one, Changes)
                assert len({event.now.mod_revision for event in one.events}) * 120 == len(one.events)  # whole revisions
                events += one.events
        assert [event.now for event in events] == list(page.found[:-1])
        assert await client.delete("/large/", prefix=True) == 12 * 120 + 1

    three.run(whole)


def test_a_listing_overtaken_by_a_compaction(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkspan.store.etcd.client.PAGE", 3)

    async def whole(client: EtcdClient) -> None:
        for number in range(9):
            last = await client.put(f"/many/{number}", b"")
        pages = client.pages("/many/")
        assert (await anext(pages)).revision == last
        await client.compact(await client.put("/many/9", b""))
        with pytest.raises(Compacted):
            await anext(pages)
        assert len((await client.list("/many/")).found) == 10

    three.run(whole)
