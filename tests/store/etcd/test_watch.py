"""What a watch makes of what a member sends, which real members send too seldom to wait for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence

import pytest

from linkspan.store.etcd import watch
from linkspan.store.etcd.contract import Compacted
from linkspan.store.etcd.values import Changes, Event, Interrupted, KeyValue, Told, Watching
from tests.store.etcd.scripted import CLOSE, SILENT, Scripted, answer, asking

OPENED = b"HTTP/1.1 200 so\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def line(**result: object) -> bytes:
    return json.dumps({"result": result}).encode() + b"\n"


def created(revision: int, cluster: int = 5) -> bytes:
    return line(header={"cluster_id": str(cluster), "revision": str(revision)}, created=True)


def put(revision: int, key: str = "a2V5") -> dict[str, object]:
    return {"kv": {"key": key, "create_revision": "1", "mod_revision": str(revision), "version": "2"}}


def latest(revision: int) -> bytes:
    return answer(json.dumps({"header": {"revision": str(revision)}}).encode())


def told(*members: Scripted, count: int, after: int = 10) -> Sequence[Told]:
    async def whole() -> Sequence[Told]:
        heard: list[Told] = []
        async with asking(*members) as client, contextlib.aclosing(client.watch("k", after=after)) as telling:
            async for one in telling:
                heard.append(one)
                if len(heard) == count:
                    break
        return heard

    return asyncio.run(asyncio.wait_for(whole(), 20))


def start_revisions(member: Scripted) -> list[int]:
    requests = [json.loads(body) for path, body in member.asked if path == "/v3/watch"]
    return [request["create_request"]["start_revision"] for request in requests]


def event(revision: int) -> Event:
    return Event(KeyValue("key", b"", 1, revision, 2), False)


def test_lines_and_fragments_come_in_any_pieces() -> None:
    stream = b"".join(
        [
            created(10),
            line(events=[put(11)], header={"revision": "19"}, fragment=True),
            line(events=[put(11), put(12)], header={"revision": "19"}),
            line(header={"revision": "20"}),
            line(events=[put(21)], header={"revision": "21"}),
        ]
    )
    pieces = b"".join(chunk(stream[at : at + 7]) for at in range(0, len(stream), 7))
    watching, *changes = told(Scripted(OPENED + pieces), count=4)
    assert isinstance(watching, Watching)
    assert changes == [
        Changes("k", 12, [event(11), event(11), event(12)]),
        Changes("k", 20, []),
        Changes("k", 21, [event(21)]),
    ]


def test_it_goes_on_after_the_last_whole_change() -> None:
    """A fragment whose rest did not come is told once, by the next member."""
    torn = line(events=[put(12)], fragment=True)
    first = Scripted(OPENED + chunk(created(10) + line(events=[put(11)]) + torn) + END)
    second = Scripted(OPENED + chunk(created(12) + line(events=[put(12), put(12)])))
    heard = told(first, second, count=5)
    assert [type(one) for one in heard] == [Watching, Changes, Interrupted, Watching, Changes]
    assert (heard[1], heard[4]) == (Changes("k", 11, [event(11)]), Changes("k", 12, [event(12), event(12)]))
    assert (start_revisions(first), start_revisions(second)) == ([11], [12])


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        (CLOSE, "it closed the connection without a word"),
        (OPENED + chunk(b"[]\n"), "what it answers is not what it should be"),
        (OPENED + chunk(b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}') + END, "it says: no leader"),
        (OPENED + chunk(line(canceled=True, cancel_reason="because")), "it ended the watch: because"),
        (answer(b'{"error":"x","message":"etcdserver: permission denied","code":7}', 403), "does not let us in"),
    ],
)
def test_it_is_interrupted_once_however_often_that_fails(ending: bytes, why: str) -> None:
    interrupted, watching = told(Scripted(ending, ending), Scripted(ending, OPENED + chunk(created(10))), count=2)
    assert isinstance(interrupted, Interrupted)
    assert why in interrupted.reason
    assert isinstance(watching, Watching)


@pytest.mark.parametrize(
    ("ending", "why"), [(END, "it ended the watch"), (b"what?\r\n", "what it answers is not HTTP")]
)
def test_it_ends_after_it_has_begun(ending: bytes, why: str) -> None:
    watching, interrupted = told(Scripted(OPENED + chunk(created(10)) + ending), count=2)
    assert isinstance(watching, Watching)
    assert isinstance(interrupted, Interrupted)
    assert why in interrupted.reason


def test_a_member_that_is_only_behind() -> None:
    """It is asked for what is latest, which it answers once it has caught up."""
    behind = Scripted(OPENED + chunk(created(8) + line(events=[put(11)])), latest(10))
    assert told(behind, count=2)[1] == Changes("k", 11, [event(11)])


def test_a_store_that_has_gone_back() -> None:
    with pytest.raises(Compacted, match="has gone back to revision 8"):
        told(Scripted(OPENED + chunk(created(8)), latest(8)), count=2)


def test_a_member_that_may_be_behind_and_answers_something_else() -> None:
    odd = Scripted(OPENED + chunk(created(8)), answer(b"[]"))
    (interrupted,) = told(odd, count=1)
    assert isinstance(interrupted, Interrupted)
    assert "what it answers is not what it should be" in interrupted.reason


def test_another_cluster_than_before() -> None:
    first = Scripted(OPENED + chunk(created(10)) + END)
    with pytest.raises(Compacted, match="is another cluster than before"):
        told(first, Scripted(OPENED + chunk(created(10, cluster=6))), count=4)


def test_a_store_that_was_begun_anew() -> None:
    """It may have come to any revision meanwhile."""
    known = Scripted(OPENED + chunk(created(10)) + END)
    again = Scripted(OPENED + chunk(created(99)))

    async def steps() -> None:
        async with asking(known, again) as client, contextlib.aclosing(client.watch("k", after=10)) as telling:
            assert isinstance(await anext(telling), Watching)
            client.begun_anew()
            with pytest.raises(Compacted, match="has another past than before"):
                while True:
                    await anext(telling)

    asyncio.run(asyncio.wait_for(steps(), 20))


def test_silence_is_no_loss_while_the_member_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUIET", 0.02)
    monkeypatch.setattr("linkspan.store.etcd.members.REQUEST", 0.2)
    quiet = Scripted(OPENED + chunk(created(10)), *[latest(99)] * 3, SILENT)
    other = Scripted(OPENED + chunk(created(10)))
    heard = told(quiet, other, count=3)
    assert [type(one) for one in heard] == [Watching, Interrupted, Watching]
    assert len(quiet.asked) == 5
