"""What the client promises, held against etcd and against the fake."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkspan.errors import Internal
from linkspan.store.etcd.contract import Compacted, Etcd, LeaseGone
from linkspan.store.etcd.values import (
    Changes,
    Compare,
    Delete,
    Event,
    Get,
    KeyValue,
    Operation,
    Put,
    Told,
    Watching,
    absent,
    empty,
    holds,
    present,
    unchanged,
)
from tests.hosts import Host
from tests.store.etcd.conftest import Cluster, Pass

_numbers = itertools.count()


@pytest.fixture
def under() -> str:
    """A prefix of the test's own: the real store is shared."""
    return f"/test/{next(_numbers)}/"


async def changes(told: AsyncGenerator[Told, None], count: int) -> list[Event]:
    """The next events, so many or a few more; what is said beside them is left out."""
    events: list[Event] = []
    async for one in told:
        if isinstance(one, Changes):
            assert all(event.now.mod_revision <= one.revision for event in one.events)
            events += one.events
        if len(events) >= count:
            return events
    raise AssertionError("the watch has ended")


def test_a_key_and_its_revisions(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        key = f"{under}k"
        assert await etcd.get(key) is None
        first = await etcd.put(key, b"one\x00\xff")
        assert await etcd.get(key) == KeyValue(key, b"one\x00\xff", first, first, 1)
        second = await etcd.put(key, b"")
        assert second > first
        assert await etcd.get(key) == KeyValue(key, b"", first, second, 2)
        assert await etcd.delete(key) == 1
        assert await etcd.delete(key) == 0
        assert await etcd.get(key) is None
        third = await etcd.put(key, b"again")
        assert await etcd.get(key) == KeyValue(key, b"again", third, third, 1)

    cluster.run(whole)


def test_what_is_under_a_prefix(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        names = [under, f"{under}a", f"{under}a/b", f"{under}ü", f"{under}\udcff", f"{under}\udcff\udcff"]
        for name in reversed(names):
            revision = await etcd.put(name, name.encode("utf-8", "surrogateescape"))
        await etcd.put(under[:-1] + "0", b"beside it")
        page = await etcd.list(under)
        assert [one.key for one in page.found] == names
        assert page.revision >= revision
        assert [one.key for one in (await etcd.list(f"{under}\udcff")).found] == names[-2:]
        assert [one.key async for page in etcd.pages(f"{under}a") for one in page.found] == names[1:3]
        assert (await etcd.list(f"{under}nothing")).found == []
        assert await etcd.delete(f"{under}a", prefix=True) == 2
        assert [one.key for one in (await etcd.list(under)).found] == [names[0], *names[3:]]

    cluster.run(whole)


def test_guards(cluster: Cluster, under: str) -> None:
    """Every target and relation, for a key that is there and for one that is not."""

    async def whole(etcd: Etcd, _: Pass) -> None:
        there, nothing = f"{under}there", f"{under}nothing"
        lease = (await etcd.grant(60)).id
        created = await etcd.put(there, b"a", lease=lease)
        modified = await etcd.put(there, b"m", lease=lease)
        known = {"create": created, "mod": modified, "version": 2, "lease": lease}

        async def holding(*guards: Compare) -> bool:
            return (await etcd.txn(guards, ())).succeeded

        for target, value in known.items():
            for key, real in ((there, value), (nothing, 0)):
                for operand in (real - 1, real, real + 1):
                    if operand >= 0:
                        assert await holding(Compare(key, target, "=", operand)) == (real == operand)  # type: ignore[arg-type]
                        assert await holding(Compare(key, target, "!=", operand)) == (real != operand)  # type: ignore[arg-type]
                        assert await holding(Compare(key, target, "<", operand)) == (real < operand)  # type: ignore[arg-type]
                        assert await holding(Compare(key, target, ">", operand)) == (real > operand)  # type: ignore[arg-type]
        for operand in (b"", b"a", b"m", b"z"):
            assert await holding(Compare(there, "value", "=", operand)) == (operand == b"m")
            assert await holding(Compare(there, "value", "!=", operand)) == (operand != b"m")
            assert await holding(Compare(there, "value", "<", operand)) == (operand > b"m")
            assert await holding(Compare(there, "value", ">", operand)) == (operand < b"m")
            assert not await holding(Compare(nothing, "value", "=", operand))
            assert not await holding(Compare(nothing, "value", "!=", operand))
        now = await etcd.get(there)
        assert now is not None
        assert await holding(absent(nothing), present(there), holds(there, b"m"), unchanged(now))
        assert not await holding(absent(nothing), present(there), holds(there, b"x"))
        assert await holding(empty(nothing)) and not await holding(empty(there[:-1]))
        await etcd.revoke(lease)

    cluster.run(whole)


def test_a_transaction_is_one_change(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        a, b, c = f"{under}a", f"{under}b", f"{under}c"
        first = await etcd.put(c, b"goes")
        done = await etcd.txn([absent(a)], [Put(a, b"1"), Get(a), Put(b, b"2"), Delete(c), Get(under, prefix=True)])
        assert done.succeeded
        assert done.revision == first + 1
        of_a, of_b = KeyValue(a, b"1", first + 1, first + 1, 1), KeyValue(b, b"2", first + 1, first + 1, 1)
        assert done.read == ((of_a,), (of_a, of_b))
        refused = await etcd.txn([absent(a), present(b)], [Put(a, b"x")], [Get(a), Get(f"{under}nothing")])
        assert not refused.succeeded
        assert refused.read == ((of_a,), ())
        assert (await etcd.list(under)).found == [of_a, of_b]

    cluster.run(whole)


def test_a_transaction_may_write_thousands_of_keys(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        first = await etcd.put(f"{under}serial", b"")
        keys = [f"{under}{number:04}" for number in range(4000)]
        done = await etcd.txn(
            [Compare(f"{under}serial", "mod", "=", first)], [Put(f"{under}serial", b"x"), *(Put(k, b"v") for k in keys)]
        )
        assert done.succeeded and done.revision == first + 1
        found = (await etcd.list(under)).found
        assert [one.key for one in found] == [*keys, f"{under}serial"]
        assert {one.mod_revision for one in found} == {done.revision}
        done = await etcd.txn([present(keys[0])], [Delete(key) for key in keys])
        assert done.succeeded and len((await etcd.list(under)).found) == 1

    cluster.run(whole)


@pytest.mark.parametrize(
    ("operations", "error", "words"),
    [
        (lambda u: [Put(f"{u}a", b"1"), Put(f"{u}a", b"2")], Internal, "duplicate key given in txn request"),
        (lambda u: [Put(f"{u}a", b"1"), Delete(u, prefix=True)], Internal, "duplicate key given in txn request"),
        (lambda u: [Put(f"{u}{n}", b"") for n in range(4097)], Internal, "too many operations in txn request"),
        (lambda u: [Put(f"{u}a", b""), Put(f"{u}b", b"", lease=77)], LeaseGone, "lease not found"),
    ],
    ids=["twice", "put and deleted", "too many", "no such lease"],
)
def test_a_refused_transaction_changes_nothing(
    cluster: Cluster,
    under: str,
    operations: Callable[[str], Sequence[Operation]],
    error: type[Exception],
    words: str,
) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        with pytest.raises(error, match=words):
            await etcd.txn((), operations(under))
        with pytest.raises(error, match=words):
            await etcd.txn([present(f"{under}a")], (), operations(under))
        assert (await etcd.list(under)).found == []

    cluster.run(whole)


def test_a_watch_tells_every_change_once_and_in_order(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        before = await etcd.put(f"{under}a", b"old")
        await etcd.put(f"{under}a", b"1")
        await etcd.put(f"/elsewhere{under}", b"not heard of")
        async with contextlib.aclosing(etcd.watch(under, after=before)) as told:
            assert isinstance(await anext(told), Watching)
            (event,) = await changes(told, 1)
            assert (event.now.value, event.deleted) == (b"1", False)
            assert event.now == await etcd.get(f"{under}a")
            done = await etcd.txn((), [Put(f"{under}b", b"2"), Delete(f"{under}a")])
            both = await anext(told)
            assert both == Changes(
                under,
                done.revision,
                [
                    Event(KeyValue(f"{under}b", b"2", done.revision, done.revision, 1), False),
                    Event(KeyValue(f"{under}a", b"", 0, done.revision, 0), True),
                ],
            )
            for number in range(300):
                await etcd.put(f"{under}{number % 3}", str(number).encode())
            assert [event.now.value for event in await changes(told, 300)] == [str(n).encode() for n in range(300)]
        async with contextlib.aclosing(etcd.watch(under, after=before)) as told:
            assert len(await changes(told, 303)) == 303

    cluster.run(whole)


def test_several_watches_over_one_connection(cluster: Cluster, under: str) -> None:
    """What is included while others are watched is told from the revision on that was named, nothing of it twice."""

    async def whole(etcd: Etcd, _: Pass) -> None:
        a, b, c = (f"{under}{name}/" for name in "abc")
        start = await etcd.put(f"{a}1", b"")
        await etcd.put(f"{b}1", b"")
        middle = await etcd.put(f"{c}1", b"")
        watches = etcd.watches({a: start, b: start})
        told: dict[str, list[str]] = {a: [], b: [], c: []}

        async def until(prefix: str, key: str) -> None:
            async for news in hearing:
                if isinstance(news, Changes):
                    told[news.prefix] += [event.now.key for event in news.events]
                    if told[prefix][-1:] == [prefix + key]:
                        return

        async with contextlib.aclosing(watches.tell()) as hearing:
            await until(b, "1")
            watches.include(c, after=middle)
            await etcd.put(f"{c}2", b"")
            await until(c, "2")
            await etcd.put(f"{a}2", b"")
            await etcd.put(f"{b}2", b"")
            await until(b, "2")
            watches.exclude(b)
            await etcd.put(f"{b}3", b"")
            await etcd.put(f"{c}3", b"")
            await until(c, "3")
            latest = await etcd.put(f"{b}4", b"")
            await etcd.put(f"{b}5", b"")
            watches.include(b, after=latest)
            await until(b, "5")
            for number in range(20):
                await etcd.put(f"{a}{number + 3}", b"")
                watches.exclude(c)
                watches.include(c, after=await etcd.put(f"{c}{number + 4}", b""))
            await etcd.put(f"{c}end", b"")
            await until(c, "end")
            await until(a, "22") if told[a][-1:] != [f"{a}22"] else None
        assert told[a] == [f"{a}{number}" for number in range(2, 23)]
        assert told[b] == [f"{b}{number}" for number in (1, 2, 5)]
        assert told[c] == [f"{c}{name}" for name in ("2", "3", "end")]

    cluster.run(whole)


def test_many_watches_over_one_connection_are_all_there(cluster: Cluster, under: str) -> None:
    """Also where the member answers the first one before it has read the last one."""

    async def whole(etcd: Etcd, _: Pass) -> None:
        prefixes = [f"{under}{number}/" for number in range(150)]
        for turn in range(5):
            start = await etcd.put(f"{under}start", b"")
            waiting = set(prefixes)
            async with contextlib.aclosing(etcd.watches(dict.fromkeys(prefixes, start)).tell()) as hearing:
                assert isinstance(await anext(hearing), Watching)
                for at in range(0, len(prefixes), 50):
                    await etcd.txn((), [Put(f"{prefix}{turn}", b"") for prefix in prefixes[at : at + 50]])
                while waiting:
                    if isinstance(news := await anext(hearing), Changes) and news.events:
                        waiting.remove(news.prefix)

    cluster.run(whole)


def test_history_that_is_compacted(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        first = await etcd.put(f"{under}a", b"1")
        last = 0
        for number in range(5):
            last = await etcd.put(f"{under}a", str(number).encode())
        await etcd.compact(last)
        with pytest.raises(Compacted):
            await etcd.compact(first)
        with pytest.raises(Internal, match="required revision is a future revision"):
            await etcd.compact(last + 1000)
        with pytest.raises(Compacted):
            async for told in etcd.watch(under, after=first):
                assert not isinstance(told, Changes)
        assert [one.value for one in (await etcd.list(under)).found] == [b"4"]
        async with contextlib.aclosing(etcd.watch(under, after=last - 1)) as told:
            (event,) = await changes(told, 1)
            assert event.now.value == b"4"

    cluster.run(whole)


def test_a_lease_and_its_keys(cluster: Cluster, under: str) -> None:
    async def whole(etcd: Etcd, pass_: Pass) -> None:
        lease = await etcd.grant(1)
        kept = await etcd.grant(600)
        assert (lease.ttl, kept.ttl) == (1, 600)
        a, b, c = f"{under}a", f"{under}b", f"{under}c"
        await etcd.txn((), [Put(a, b"", lease.id), Put(b, b"", lease.id), Put(c, b"", kept.id)])
        revision = await etcd.put(b, b"of no lease any more")
        state = await etcd.time_to_live(lease.id)
        assert (state.granted, state.keys) == (1, (a,))
        assert 0 <= state.remaining <= 1
        assert await etcd.keep_alive(lease.id) == 1
        await pass_(1.1)
        async with contextlib.aclosing(etcd.watch(under, after=revision)) as told:
            (gone,) = await changes(told, 1)  # it is found to be over within half a second
            assert (gone.now.key, gone.deleted) == (a, True)
            with pytest.raises(LeaseGone):
                await etcd.keep_alive(lease.id)
            with pytest.raises(LeaseGone):
                await etcd.time_to_live(lease.id)
            with pytest.raises(LeaseGone):
                await etcd.put(a, b"", lease=lease.id)
            await etcd.revoke(kept.id)
            (gone,) = await changes(told, 1)
            assert (gone.now.key, gone.deleted) == (c, True)
        await etcd.revoke(kept.id)
        assert [one.key for one in (await etcd.list(under)).found] == [b]

    cluster.run(whole)


def test_members(cluster: Cluster) -> None:
    async def whole(etcd: Etcd, _: Pass) -> None:
        revision = await etcd.put("/test/members", b"")
        (status,) = await etcd.status()
        assert status.failure == ""
        assert status.leader == status.id != ""
        assert status.version.startswith("3.4.")
        assert status.revision >= revision
        (member,) = await etcd.members()
        assert member.id == status.id
        assert member.client_urls == (f"http://{status.address}",)

    cluster.run(whole)


NAMES = st.sampled_from(["a", "ab", "b", "ü"])
VALUES = st.binary(max_size=3)
OPERATIONS = st.lists(
    st.one_of(
        st.builds(Put, NAMES, VALUES), st.builds(Delete, NAMES, st.booleans()), st.builds(Get, NAMES, st.booleans())
    ),
    max_size=4,
)
GUARDS = st.one_of(
    st.builds(absent, NAMES),
    st.builds(present, NAMES),
    st.builds(holds, NAMES, VALUES),
    st.builds(Compare, NAMES, st.just("version"), st.sampled_from(["=", "!=", "<", ">"]), st.integers(0, 3)),
)
STEPS = st.lists(st.tuples(st.lists(GUARDS, max_size=2), OPERATIONS, OPERATIONS), max_size=12)
Steps = list[tuple[list[Compare], list[Operation], list[Operation]]]
runs = itertools.count()


@pytest.mark.root
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_the_fake_does_as_etcd_does(one_member: Host, steps: Steps) -> None:
    prefix = f"/steps/{next(runs)}/"
    assert Cluster().run(functools.partial(_seen, prefix, steps)) == Cluster(one_member).run(
        functools.partial(_seen, prefix, steps)
    )


async def _seen(prefix: str, steps: Steps, etcd: Etcd, _: Pass) -> list[object]:
    """Everything that can be seen of the steps, with revisions counted from the beginning."""
    start = await etcd.put(f"{prefix}start", b"")

    def from_start(one: KeyValue) -> KeyValue:
        created = one.create_revision and one.create_revision - start
        return dataclasses.replace(one, create_revision=created, mod_revision=one.mod_revision - start)

    def placed(given: Sequence[Operation]) -> list[Operation]:
        return [dataclasses.replace(one, key=prefix + one.key) for one in given]

    seen: list[object] = []
    for guards, then, otherwise in steps:
        asked = [dataclasses.replace(guard, key=prefix + guard.key) for guard in guards]
        try:
            done = await etcd.txn(asked, placed(then), placed(otherwise))
        except Internal as error:
            seen.append(str(error))
        else:
            read = [[from_start(one) for one in found] for found in done.read]
            seen.append((done.succeeded, done.revision - start, read))
    end = await etcd.put(f"{prefix}end", b"")
    seen.append([from_start(one) for one in (await etcd.list(prefix)).found])
    events: list[Event] = []
    async with contextlib.aclosing(etcd.watch(prefix, after=start)) as told:
        while not events or events[-1].now.mod_revision < end:
            events += await changes(told, 1)
    return [*seen, [(from_start(event.now), event.deleted) for event in events]]
