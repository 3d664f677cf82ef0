"""A resolver is started, found, fed, and replaced: real processes, in a network namespace of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import dns.message
import pytest

from linkspan.kernel.namespaces import Namespaces, enter
from linkspan.resolver import feed as feed_module
from linkspan.resolver.feed import Feed
from linkspan.state.names import HostListener, Listening, Named, NameKey, NameRecord
from tests.hosts import Host, needs_root, socket_in

pytestmark = [needs_root, pytest.mark.root]


class World:
    """What there is to know, and a feed of it; its processes are ended with it."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder, self.host = folder, host
        self.spaces = folder / "netns"
        self.records: dict[NameKey, NameRecord] = {}
        self.running = False
        self.feed = self.make_feed()

    def make_feed(self) -> Feed:
        return Feed(self.folder, self.spaces, lambda: dict(self.records), self.records.get)

    def sandbox(self, name: str) -> Listening:
        """A namespace, and an endpoint called so, on the one network."""
        path = str(self.spaces / name)

        def create() -> None:
            namespaces = Namespaces(self.spaces)
            namespaces.create(path, lambda: os.system("ip link set lo up") and None)
            namespaces.close()

        if self.running:  # in the host's thread already
            create()
        else:
            self.host.call(create)
        return self.add(name, path)

    def add(self, name: str, path: str) -> Listening:
        place = Listening(id=name, path=path)
        number = len(self.records) + 2
        endpoint = Named(
            id=name,
            sandbox=name,
            network="n",
            network_name="own",
            names=(name,),
            host_name=name,
            addresses=(f"10.0.0.{number}",),
        )
        for record in (place, endpoint):
            self.records[record.key] = record
        return place

    def run(self, steps: Callable[[], Awaitable[None]]) -> None:
        """In the host's thread, with the feed running."""

        async def both() -> None:
            self.running = True
            self.feed.start()
            try:
                assert await self.feed.ready()
                await asyncio.wait_for(steps(), 30)
            finally:
                self.running = False
                await self.feed.close()

        self.host.call(asyncio.run, both())

    async def follow(self) -> None:
        await self.feed.follow(list(self.records))

    def ask(self, name: str, space: str) -> str:
        with socket_in(space, socket.SOCK_DGRAM) as link:
            link.connect(("127.0.0.11", 53))
            link.send(dns.message.make_query(f"{name}.", "A").to_wire())
            return str(dns.message.from_wire(link.recv(512)).answer[0][0])

    def processes(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and str(self.spaces).encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for space in self.spaces.iterdir():
            os.system(f"umount {space}")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(feed_module, "_PATIENCE", 3.0)
    host = Host("feed")
    (tmp_path / "netns").mkdir()
    made = World(tmp_path, host)
    try:
        yield made
    finally:
        made.close()
        host.close()


async def settled(condition: Callable[[], bool], within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_what_changes_is_in_force_when_it_was_followed(world: World) -> None:
    web = world.sandbox("web")

    async def steps() -> None:
        assert world.ask("web", web.path) == "10.0.0.2"
        db = world.sandbox("db")
        await world.follow()
        assert world.ask("db", web.path) == world.ask("db", db.path) == "10.0.0.4"
        gone = [web.key, ("endpoint", "web")]
        for key in gone:
            del world.records[key]
        await world.feed.follow(gone)
        with pytest.raises(OSError):
            world.ask("db", web.path)

    world.run(steps)


def test_a_daemon_that_comes_finds_it(world: World) -> None:
    web = world.sandbox("web")

    async def nothing() -> None:
        pass

    world.run(nothing)
    (process,) = world.processes()
    assert world.ask("web", web.path) == "10.0.0.2"  # there is no daemon
    # What the next one does not know is gone.
    world.sandbox("db")
    del world.records[web.key], world.records["endpoint", "web"]
    world.feed = world.make_feed()

    async def steps() -> None:
        assert world.processes() == [process]
        assert world.ask("db", str(world.spaces / "db")) == "10.0.0.4"
        with pytest.raises(OSError):
            world.ask("db", web.path)

    world.run(steps)


def test_it_ends_with_its_daemon_where_it_has_no_sandbox(world: World) -> None:
    async def steps() -> None:
        assert len(world.processes()) == 1

    world.run(steps)
    asyncio.run(settled(lambda: not world.processes()))


def test_another_version_is_replaced_without_a_gap(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    web = world.sandbox("web")
    listener = HostListener(address="127.0.0.55", port=53)
    world.records[listener.key] = listener

    async def nothing() -> None:
        pass

    world.run(nothing)
    (old,) = world.processes()
    monkeypatch.setattr(feed_module, "version", lambda: "of tomorrow")
    world.feed = world.make_feed()
    answered: list[str] = []

    async def steps() -> None:
        await settled(lambda: old not in world.processes())
        assert len(world.processes()) == 1
        answered.append(world.ask("web", web.path))

    # Asked all the time meanwhile, and never in vain.
    stop, failures = False, list[str]()

    def keep_asking() -> None:
        enter(web.path)
        while not stop:
            try:
                assert world.ask("web", web.path) == "10.0.0.2"
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    asking = Host("asking")
    try:
        future = asking.thread.submit(keep_asking)
        world.run(steps)
        stop = True
        future.result(10)
    finally:
        asking.close()
    assert answered == ["10.0.0.2"] and failures == []
    assert "no names" not in caplog.text  # the host's listener, too, is taken over


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "deaf"])
def test_one_that_is_dead_or_deaf_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    monkeypatch.setattr(feed_module, "_PATIENCE", 1.0)
    web = world.sandbox("web")

    async def steps() -> None:
        (process,) = world.processes()
        os.kill(process, number)
        db = world.sandbox("db")
        await world.follow()
        assert world.ask("web", db.path) == world.ask("web", web.path) == "10.0.0.2"
        (other,) = world.processes()
        assert other != process

    world.run(steps)
    assert "the resolver has ended" in caplog.text


def test_a_sandbox_that_is_not_there_is_said_and_told_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def steps() -> None:
        web = world.add("web", str(world.spaces / "web"))
        await world.follow()
        assert "no names in sandbox web: no such file or directory" in caplog.text
        world.records.clear()
        world.sandbox("web")
        await world.follow()
        assert world.ask("web", web.path) == "10.0.0.2"

    world.run(steps)


def test_one_that_cannot_be_started_is_said_and_nobody_waits_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    web = world.sandbox("web")
    monkeypatch.setattr(feed_module.sys, "executable", "/bin/false")

    async def steps() -> None:
        world.feed.start()
        try:
            assert not await world.feed.ready()
            await settled(lambda: "cannot be started" in caplog.text)
            began = time.monotonic()
            await world.follow()
            assert time.monotonic() - began < 0.5
            monkeypatch.undo()
            await settled(lambda: bool(world.processes()))
            await settled(lambda: _answers(world, web.path))
        finally:
            await world.feed.close()

    world.host.call(asyncio.run, steps())


def _answers(world: World, space: str) -> bool:
    with contextlib.suppress(OSError):
        return world.ask("web", space) == "10.0.0.2"
    return False
