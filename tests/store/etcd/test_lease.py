"""A lease is kept, and its loss is told no later than it may have come."""

from __future__ import annotations

import asyncio

import pytest

from linkspan.store.etcd.contract import LeaseGone
from linkspan.store.etcd.fake import FakeEtcd
from linkspan.store.etcd.lease import Doubtful, Health, Kept, keep


def test_it_is_kept_and_its_loss_is_told() -> None:
    async def whole() -> None:
        fake = FakeEtcd()
        client = fake.client()
        lease = await client.grant(9)
        other = await fake.client().grant(9)

        async def sleep(seconds: float) -> None:
            assert seconds > 0
            fake.pass_time(seconds)

        told = keep(client, lease.id, now=lambda: fake.now, sleep=sleep)
        for number in range(10):
            assert await anext(told) == Kept(9.0 + 3 * number)  # renewed when a third has gone, so never near its end
        with pytest.raises(LeaseGone):
            await client.keep_alive(other.id)  # as nobody did this for it

        client.cut_off()
        doubts: list[Health] = [await anext(told)]
        assert doubts == [Doubtful(36.0, "etcd does not answer: memory:2379: no connection within 1 s")]
        client.reconnect()
        assert await anext(told) == Kept(fake.now + 9)

        client.cut_off()
        until = fake.now + 9
        while fake.now <= until:
            assert isinstance(doubt := await anext(told), Doubtful)
            assert doubt.until == until
        client.reconnect()
        with pytest.raises(LeaseGone):
            await anext(told)

    asyncio.run(whole())


def test_a_lease_that_is_gone_already() -> None:
    async def whole() -> None:
        with pytest.raises(LeaseGone):
            await anext(keep(FakeEtcd().client(), 5))

    asyncio.run(whole())
