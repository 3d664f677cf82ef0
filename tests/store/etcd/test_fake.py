"""What only the fake can be told to do: a host that is cut off, and an answer that is lost."""

from __future__ import annotations

import asyncio

import pytest

from linkspan.errors import Unavailable
from linkspan.store.etcd.contract import OutcomeUnknown
from linkspan.store.etcd.fake import FakeEtcd
from linkspan.store.etcd.values import Changes, Interrupted, Put, Watching, absent


def test_one_host_is_cut_off() -> None:
    async def whole() -> None:
        fake = FakeEtcd()
        one, two = fake.client(), fake.client()
        told = one.watch("/a", after=1)
        assert await anext(told) == Watching("memory:2379")
        one.cut_off()
        assert await anext(told) == Interrupted("memory:2379: no connection within 1 s")
        for asking in (one.get("/a"), one.put("/a", b""), one.txn((), ()), one.grant(5), one.list("/"), one.members()):
            with pytest.raises(Unavailable, match=r"^etcd does not answer: memory:2379: no connection within 1 s$"):
                await asking
        assert (await one.status())[0].failure == "no connection within 1 s"
        await two.put("/a", b"1")
        await two.put("/b", b"2")
        one.reconnect()
        assert await anext(told) == Watching("memory:2379")
        changes = await anext(told)
        assert isinstance(changes, Changes)
        assert [event.now for event in changes.events] == [await one.get("/a")]

    asyncio.run(whole())


def test_an_answer_is_lost() -> None:
    async def whole() -> None:
        client = FakeEtcd().client()
        client.lose_next_answer()
        assert (await client.list("/")).found == []  # it is that of a change
        with pytest.raises(OutcomeUnknown, match="it may have been carried out"):
            await client.txn([absent("/a")], [Put("/a", b"1")])
        assert not (await client.txn([absent("/a")], [Put("/a", b"2")])).succeeded
        client.lose_next_answer()
        with pytest.raises(OutcomeUnknown):
            await client.delete("/a")
        assert await client.get("/a") is None

    asyncio.run(whole())
