"""Twenty hosts that start at once, and leases that end by themselves: on real etcd, without their kernels."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

from linkspan.daemon.flannel.keeper import Keeper, View
from linkspan.daemon.flannel.registry import Registry
from linkspan.model.flannel import FlannelConfig, Lease
from linkspan.store.etcd.address import ClusterAddress, MemberAddress
from linkspan.store.etcd.client import EtcdClient
from tests.flannel.field import Field
from tests.hosts import enter

HOSTS = 20
STORE = ClusterAddress((MemberAddress("10.211.55.8"),))


class Player:
    def __init__(self, number: int, prefix: str, ttl: int) -> None:
        self.views: list[View] = []
        self.etcd = EtcdClient(STORE)

        def describe(config: FlannelConfig) -> Lease:
            mac = f"02:00:00:00:00:{number:02x}"
            six = {"public_ip6": f"2001:db8::{number:x}", "vtep6": f"02:00:00:00:06:{number:02x}"} if config.v6 else {}
            return Lease("", f"192.0.2.{number}", backend="vxlan", vni=1, vtep=mac, **six)

        registry = Registry(self.etcd, prefix, ttl=ttl)
        self.keeper = Keeper(registry, describe, changed=self.views.append, ttl=ttl)
        self.task = asyncio.create_task(self.keeper.run())

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.etcd.close()


def played(space: str, work: Callable[[], Awaitable[None]]) -> None:
    """In a loop of its own, in the network of a host."""
    failed: list[BaseException] = []

    def run() -> None:
        enter(space)
        try:
            asyncio.run(work())  # type: ignore[arg-type]
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    if failed:
        raise failed[0]
    assert not thread.is_alive()


@pytest.mark.parametrize("versions", [1, 2])
def test_twenty_hosts_at_once(field: Field, versions: int) -> None:
    """There are twenty subnets. With IPv6, the key of a lease is a pair of subnets: etcd has no objection to two pairs
    with one of the two in common."""
    six = {
        "EnableIPv6": True,
        "IPv6Network": "fd00:5::/48",
        "IPv6SubnetMin": "fd00:5:0:1::",
        "IPv6SubnetMax": f"fd00:5:0:{HOSTS:x}::",
    }
    range_ = {"SubnetMin": "10.5.1.0", "SubnetMax": f"10.5.{HOSTS}.0"}
    field.configure({"Type": "vxlan"}, **range_, **(six if versions == 2 else {}))

    async def work() -> None:
        players = [Player(number, field.prefix, 86400) for number in range(1, HOSTS + 1)]
        async with asyncio.timeout(40):
            await asyncio.gather(*(player.keeper.first.wait() for player in players))
            while not all(len(player.views[-1].others) == HOSTS - 1 for player in players):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert len({player.views[-1].own.subnet for player in players}) == HOSTS
        assert versions == 1 or len({player.views[-1].own.subnet6 for player in players}) == HOSTS
        # Nobody has told its host of a lease that it did not keep: containers might have had addresses of it.
        assert all(len({(view.own.subnet, view.own.subnet6) for view in player.views}) == 1 for player in players)
        for player in players:
            await player.keeper.release()
            await player.stop()

    played(field.there, work)


def test_a_host_that_dies_is_forgotten_when_its_lease_ends(field: Field) -> None:
    field.configure({"Type": "vxlan"})

    async def work() -> None:
        dies, stays = Player(1, field.prefix, 4), Player(2, field.prefix, 4)
        async with asyncio.timeout(40):
            await asyncio.gather(dies.keeper.first.wait(), stays.keeper.first.wait())
            while not stays.views[-1].others:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            own = stays.views[-1].own
            await dies.stop()
            while stays.views[-1].others:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert stays.views[-1].own == own  # renewed meanwhile
        await stays.keeper.release()
        await stays.stop()

    played(field.there, work)
