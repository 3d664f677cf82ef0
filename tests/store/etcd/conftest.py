"""One real member for all tests of this room that are content with one, and the fake beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from linkspan.store.etcd.address import parse_cluster
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.fake import FakeEtcd
from tests.etcd import etcd, place
from tests.hosts import Host, hosts

T = TypeVar("T")
Pass = Callable[[float], Awaitable[None]]  # lets so many seconds go by
ADDRESS = "10.211.60.4"


class Cluster:
    """Runs a test's coroutine with a client of its own."""

    def __init__(self, host: Host | None = None) -> None:
        self._host = host

    def run(self, function: Callable[[Etcd, Pass], Awaitable[T]]) -> T:
        if self._host is None:
            return asyncio.run(self._with_fake(function))
        return self._host.call(asyncio.run, self._with_real(function))

    async def _with_fake(self, function: Callable[[Etcd, Pass], Awaitable[T]]) -> T:
        fake = FakeEtcd()

        async def pass_(seconds: float) -> None:
            fake.pass_time(seconds)

        return await asyncio.wait_for(function(fake.client(), pass_), 30)

    async def _with_real(self, function: Callable[[Etcd, Pass], Awaitable[T]]) -> T:
        client = EtcdClient(parse_cluster(f"etcd://{ADDRESS}"))
        try:
            return await asyncio.wait_for(function(client, asyncio.sleep), 30)
        finally:
            await client.close()


@pytest.fixture(scope="session")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosts(one=f"{ADDRESS}/24") as made, etcd([place(made["one"], ADDRESS, "one")], tmp_path_factory.mktemp("e")):
        yield made["one"]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.getfixturevalue("one_member") if request.param == "real" else None)
