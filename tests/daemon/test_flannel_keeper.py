"""Leases of a flannel network: got, renewed, lost, stolen, raced for. With etcd in memory."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from linkspan.daemon.flannel.keeper import Keeper, View
from linkspan.daemon.flannel.registry import Registry
from linkspan.model.flannel import TTL, FlannelConfig, Lease, lease_key, lease_value
from linkspan.store.etcd.contract import LeaseGone
from linkspan.store.etcd.fake import FakeClient, FakeEtcd

PREFIX = "/coreos.com/network"
CONFIG = b'{"Network": "10.5.0.0/16", "SubnetMin": "10.5.10.0", "SubnetMax": "10.5.40.0", "Backend": {"Type": "vxlan"}}'


def key(subnet: str) -> str:
    return f"{PREFIX}/subnets/{subnet.replace('/', '-')}"


def lease(subnet: str, number: int, **other: str) -> Lease:
    return dataclasses.replace(described(number), subnet=subnet, **other)  # type: ignore[arg-type]


def described(number: int) -> Lease:
    return Lease("", f"192.0.2.{number}", backend="vxlan", vni=1, vtep=f"02:00:00:00:00:{number:02x}")


class Node:
    """A host's keeper, and what it was told."""

    def __init__(self, etcd: FakeEtcd, number: int, *, ttl: int = TTL, margin: float = 3600) -> None:
        self.number, self.client = number, etcd.client()
        self.views: list[View] = []
        self.keeper = self.made(("", ""), ttl, margin)
        self.task: asyncio.Task[None] | None = None

    def made(self, previous: tuple[str, str], ttl: int = TTL, margin: float = 3600) -> Keeper:
        return Keeper(
            Registry(self.client, PREFIX, ttl=ttl),
            self.describe,
            previous=previous,
            changed=self.views.append,
            ttl=ttl,
            margin=margin,
        )

    def describe(self, _: FlannelConfig) -> Lease:
        return described(self.number)

    @property
    def subnet(self) -> str:
        return self.views[-1].own.subnet

    @property
    def others(self) -> list[str]:
        return [other.subnet for other in self.views[-1].others]

    def start(self) -> None:
        self.task = asyncio.create_task(self.keeper.run())

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None


@contextlib.asynccontextmanager
async def cluster(count: int, **options: float) -> AsyncIterator[tuple[FakeEtcd, FakeClient, list[Node]]]:
    etcd = FakeEtcd()
    admin = etcd.client()
    await admin.put(f"{PREFIX}/config", CONFIG)
    nodes = [Node(etcd, number, **options) for number in range(1, count + 1)]  # type: ignore[arg-type]
    for node in nodes:
        node.start()
    for node in nodes:
        await asyncio.wait_for(node.keeper.first.wait(), 10)
    try:
        yield etcd, admin, nodes
    finally:
        for node in nodes:
            await node.stop()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.001)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_each_of_twenty_hosts_gets_a_subnet_of_its_own_and_hears_of_the_others() -> None:
    async def test() -> None:
        async with cluster(20) as (_, admin, nodes):
            await until(lambda: all(len(node.others) == 19 for node in nodes))
            subnets = {node.subnet for node in nodes}
            assert len(subnets) == 20
            assert all(set(node.others) == subnets - {node.subnet} for node in nodes)
            for item in (await admin.list(f"{PREFIX}/subnets/")).found:
                assert (await admin.time_to_live(item.lease)).granted == TTL

    run(test)


def test_the_bytes_in_etcd_are_flanneld_s() -> None:
    async def test() -> None:
        async with cluster(1) as (_, admin, (node,)):
            found = await admin.get(key(node.subnet))
            assert found is not None and found.lease
            assert found.value == (
                b'{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",'
                b'"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}'
            )

    run(test)


def test_a_lease_is_renewed_before_its_end() -> None:
    async def test() -> None:
        async with cluster(1, ttl=2, margin=1.9) as (etcd, admin, (node,)):
            first = await admin.get(key(node.subnet))
            assert first is not None
            await until(lambda: etcd.find(key(node.subnet), False)[0].mod_revision > first.mod_revision)
            now = await admin.get(key(node.subnet))
            assert now is not None and now.lease != first.lease and now.version == 2
            assert (await admin.time_to_live(now.lease)).remaining == 2
            with pytest.raises(Exception, match="expired"):
                await admin.time_to_live(first.lease)  # nobody's any more: not left behind

    run(test)


def test_of_a_lease_that_is_given_back_nothing_is_left() -> None:
    """Not even etcd's own, which would have lain there for a day."""

    async def test() -> None:
        etcd = FakeEtcd()
        client = etcd.client()
        registry = Registry(client, "/coreos.com/network")
        assert await registry.create(Lease("10.5.52.0/24", "192.0.2.1", backend="host-gw"))
        (entry,) = (await registry.list()).entries.values()
        assert entry.at.lease and await registry.delete(entry)
        with pytest.raises(LeaseGone):
            await client.keep_alive(entry.at.lease)
        assert not await registry.delete(entry)

    run(test)


def test_a_lease_that_somebody_deletes_is_taken_again() -> None:
    async def test() -> None:
        async with cluster(2) as (etcd, admin, (one, two)):
            subnet = one.subnet
            await until(lambda: two.others == [subnet])
            await admin.delete(key(subnet))
            await until(lambda: etcd.find(key(subnet), False))
            assert one.subnet == subnet and two.others == [subnet]

    run(test)


def test_a_host_that_was_away_for_days_gets_its_subnet_back_if_nobody_has_it() -> None:
    async def test() -> None:
        async with cluster(2) as (etcd, _, (one, two)):
            subnet = one.subnet
            one.client.cut_off()
            etcd.pass_time(TTL - 1)
            assert two.others == [subnet]
            found = [item for item in etcd.find(f"{PREFIX}/subnets/", True) if item.key == key(two.subnet)]
            etcd.keep_alive(found[0].lease)
            etcd.pass_time(2)
            await until(lambda: two.others == [])
            assert one.subnet == subnet  # what is there goes on
            one.client.reconnect()
            await until(lambda: two.others == [subnet])

    run(test)


def test_a_subnet_that_went_to_another_host_meanwhile_stays_that_host_s(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with cluster(2) as (_, admin, (one, two)):
            lost = one.subnet
            one.client.cut_off()
            await admin.delete(key(lost))
            await admin.put(key(lost), lease_value(lease(lost, 99)))
            await until(lambda: two.others == [lost] and two.views[-1].others[0].public_ip == "192.0.2.99")
            one.client.reconnect()
            await until(lambda: one.subnet != lost)
            assert lost in one.others and (await admin.get(key(lost))).value == lease_value(lease(lost, 99))  # type: ignore[union-attr]
            assert f"the lease {lost} of this host is lost" in caplog.text
            assert "until they are started again" in caplog.text

    run(test)


def test_a_lease_that_is_overwritten_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with cluster(1) as (_, admin, (one,)):
            lost = one.subnet
            await admin.put(key(lost), lease_value(lease(lost, 99)))
            await until(lambda: one.subnet != lost)
            assert one.others == [lost] and "192.0.2.99 has it" in caplog.text

    run(test)


def test_a_restart_keeps_the_subnet() -> None:
    async def test() -> None:
        async with cluster(1) as (_, admin, (one,)):
            subnet = one.subnet
            await one.stop()
            one.keeper = one.made(("", ""))
            one.start()
            await asyncio.wait_for(one.keeper.first.wait(), 10)
            assert one.subnet == subnet  # by its public address
            await one.stop()
            await admin.delete(key(subnet))
            one.keeper = one.made((subnet, ""))
            one.start()
            await asyncio.wait_for(one.keeper.first.wait(), 10)
            assert one.subnet == subnet  # by subnet.env

    run(test)


def test_after_a_compaction_everything_is_read_anew() -> None:
    async def test() -> None:
        async with cluster(1) as (etcd, admin, (one,)):
            one.client.cut_off()
            await asyncio.sleep(0)
            for number in range(50, 55):
                await admin.put(key(f"10.5.{number - 35}.0/24"), lease_value(lease(f"10.5.{number - 35}.0/24", number)))
            await admin.delete(key("10.5.15.0/24"))
            etcd.compact(etcd.revision)
            await admin.put("/elsewhere", b"")
            one.client.reconnect()
            await until(lambda: set(one.others) == {f"10.5.{third}.0/24" for third in range(16, 20)} - {one.subnet})

    run(test)


def test_a_reservation_stays_one() -> None:
    async def test() -> None:
        etcd = FakeEtcd()
        admin = etcd.client()
        await admin.put(f"{PREFIX}/config", CONFIG)
        await admin.put(key("10.5.33.0/24"), b'{"PublicIP":"192.0.2.1"}')
        node = Node(etcd, 1)
        node.views.clear()
        node.start()
        await asyncio.wait_for(node.keeper.first.wait(), 10)
        found = await admin.get(key("10.5.33.0/24"))
        assert node.subnet == "10.5.33.0/24" and found is not None and found.lease == 0
        assert b'"VtepMAC":"02:00:00:00:00:01"' in found.value
        etcd.pass_time(2 * TTL)
        assert await admin.get(key("10.5.33.0/24")) is not None
        await node.stop()

    run(test)


def test_what_somebody_has_written_wrongly_becomes_no_route(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with cluster(1) as (_, admin, (one,)):  # its subnet is one of 10 to 40
            wrong = {
                "10.5.51.0-24": b"{",
                "nothing": b"{}",
                "0.0.0.0-0": lease_value(lease("0.0.0.0/0", 50)),
                "10.5.0.0-16": lease_value(lease("10.5.0.0/16", 51)),
                "192.168.0.0-24": lease_value(lease("192.168.0.0/24", 52)),
                "10.5.52.0-24": lease_value(Lease("10.5.52.0/24", "192.0.2.53", backend="host-gw")),
                "10.5.53.0-24": lease_value(dataclasses.replace(lease("10.5.53.0/24", 54), vni=7)),
                "10.5.54.0-24": lease_value(dataclasses.replace(lease("10.5.54.0/24", 55), vtep="02:00:00:00:00:01")),
            }
            for name, value in wrong.items():
                await admin.put(f"{PREFIX}/subnets/{name}", value)
            await admin.put(key("10.5.60.0/24"), lease_value(lease("10.5.60.0/24", 60)))
            await until(lambda: one.others == ["10.5.60.0/24"])
        for words in (
            "its key is no subnet",
            "no JSON object",
            "overlaps this host's",
            "is not in the network",
            "its backend is host-gw, and the network's is vxlan",
            "its VNI is 7",
            "is the tunnel of 192.0.2.1 already",
        ):
            assert words in caplog.text

    run(test)


def test_of_two_hosts_with_one_tunnel_the_first_holds() -> None:
    async def test() -> None:
        async with cluster(2) as (_, admin, (one, two)):
            await until(lambda: two.others == [one.subnet])
            for third in ("1", "90"):  # before and behind, in the order of keys
                copied = dataclasses.replace(described(1), subnet=f"10.5.{third}.0/24", public_ip="192.0.2.77")
                await admin.put(key(copied.subnet), lease_value(copied))
            await admin.put(key("10.5.60.0/24"), lease_value(lease("10.5.60.0/24", 60)))
            await until(lambda: "10.5.60.0/24" in two.others)
            assert set(two.others) == {one.subnet, "10.5.60.0/24"}

    run(test)


def test_a_lost_answer_leads_to_one_lease_all_the_same() -> None:
    async def test() -> None:
        etcd = FakeEtcd()
        admin = etcd.client()
        await admin.put(f"{PREFIX}/config", CONFIG)
        node = Node(etcd, 1)
        node.client.lose_next_answer()
        node.start()
        await asyncio.wait_for(node.keeper.first.wait(), 10)
        assert [item.key for item in etcd.find(f"{PREFIX}/subnets/", True)] == [key(node.subnet)]
        await node.stop()

    run(test)


def test_without_a_config_it_waits_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        etcd = FakeEtcd()
        node = Node(etcd, 1)
        node.start()
        await until(lambda: "there is no flannel config in etcd at /coreos.com/network/config" in caplog.text)
        await asyncio.sleep(0.15)
        await etcd.client().put(f"{PREFIX}/config", CONFIG)
        await asyncio.wait_for(node.keeper.first.wait(), 10)
        assert caplog.text.count("there is no flannel config") == 1
        await node.keeper.release()
        assert etcd.find(f"{PREFIX}/subnets/", True) == ()
        await node.stop()

    run(test)


def test_when_no_subnet_is_left_the_next_one_that_goes_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with cluster(0) as (etcd, admin, _):
            for third in range(10, 41):
                name = f"10.5.{third}.0/24"
                await admin.put(key(name), lease_value(lease(name, third)))
            node = Node(etcd, 99)
            node.start()
            await until(lambda: "out of subnets" in caplog.text)
            await admin.delete(key("10.5.22.0/24"))
            await asyncio.wait_for(node.keeper.first.wait(), 10)
            assert node.subnet == "10.5.22.0/24" and lease_key(node.views[-1].own) == "10.5.22.0-24"
            await node.stop()

    run(test)
