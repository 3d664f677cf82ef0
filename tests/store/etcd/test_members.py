"""Whom the client asks, what it sends twice, and what it says of a member that does not answer as it should."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from linkspan.errors import Forbidden, Internal, Unavailable
from linkspan.store.etcd import http, members
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.contract import Compacted, Etcd, LeaseGone, OutcomeUnknown
from linkspan.store.etcd.values import Get, KeyValue, Put, TxnResult, absent, holds, unchanged
from tests.store.etcd.scripted import CLOSE, SILENT, Scripted, answer, asking, error

NOTHING = answer(b'{"header":{"revision":"7"}}')
NO_LEADER = error(14, "etcdserver: no leader")
KEPT = KeyValue("/k", b"v", 3, 3, 1)
READ: Callable[[Etcd], Awaitable[Any]] = lambda etcd: etcd.get("/k")  # noqa: E731
PUT: Callable[[Etcd], Awaitable[Any]] = lambda etcd: etcd.put("/k", b"v")  # noqa: E731


def run(*scripts: Scripted | None, ask: Callable[[EtcdClient], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        async with asking(*scripts) as client:
            return await ask(client)

    return asyncio.run(asyncio.wait_for(whole(), 20))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "REQUEST", 0.2)


def test_the_next_member_is_asked_and_from_then_on_first() -> None:
    second = Scripted(*[NOTHING] * 3)

    async def ask(client: EtcdClient) -> None:
        for _ in range(3):
            assert await client.get("/k") is None

    run(None, second, ask=ask)
    assert (len(second.asked), second.connections) == (3, 1)


def test_a_member_at_an_ipv6_address() -> None:
    async def whole() -> None:
        async with asking(Scripted(NOTHING), at="::1") as client:
            assert await client.get("/k") is None
        async with asking(None, at="::1") as client:
            with pytest.raises(Unavailable, match=r"^etcd does not answer: \[::1\]:\d+: connection refused$"):
                await client.get("/k")

    asyncio.run(whole())


def test_requests_at_once_have_connections_of_their_own_and_keep_them() -> None:
    only = Scripted(*[NOTHING] * 200)

    async def ask(client: EtcdClient) -> None:
        await asyncio.gather(*(client.get(f"/{number}") for number in range(100)))
        connections = only.connections
        await asyncio.gather(*(client.get(f"/{number}") for number in range(100)))
        assert only.connections == connections <= 16

    run(only, ask=ask)
    keys = sorted(msgspec.json.decode(body)["key"] for _, body in only.asked)
    assert len(set(keys)) == 100


def test_a_kept_connection_that_was_closed_is_not_used() -> None:
    only = Scripted(NOTHING, NOTHING)

    async def ask(client: EtcdClient) -> None:
        await client.put("/k", b"")
        await only.hang_up()
        await client.put("/k", b"")

    run(only, ask=ask)
    assert only.connections == 2


@pytest.mark.parametrize("lost", [CLOSE, SILENT, error(14, "etcdserver: request timed out"), b"HTTP/1.1 200 so\r\n"])
def test_a_read_is_asked_again_and_a_write_is_not(short: None, lost: bytes | None) -> None:
    first, second = Scripted(lost), Scripted(NOTHING)
    assert run(first, second, ask=READ) is None
    first, second = Scripted(lost), Scripted(NOTHING)
    with pytest.raises(
        OutcomeUnknown, match=r"the answer to a change was lost \(127.0.0.1:\d+: .*\); it may have been"
    ):
        run(first, second, ask=PUT)
    assert second.asked == []


def test_what_surely_was_not_begun_is_asked_again() -> None:
    first, second, third = Scripted(NO_LEADER, NO_LEADER), None, Scripted(NO_LEADER, NOTHING)
    assert run(first, second, third, ask=PUT) == 7
    with pytest.raises(Unavailable) as caught:
        run(None, None, ask=PUT)
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_cluster_without_a_leader_is_given_up(short: None) -> None:
    first, second = Scripted(*[NO_LEADER] * 50), Scripted(*[NO_LEADER] * 50)
    with pytest.raises(Unavailable, match=r"^etcd does not answer: \S+: it says: no leader; \S+: it says: no leader$"):
        run(first, second, ask=PUT)
    assert len(first.asked) > 1


def test_a_lost_transaction_that_tells_its_outcome(short: None) -> None:
    """It is sent again, and what it finds says whether it was the first that did it."""

    def again(*found: dict[str, str]) -> bytes:
        kvs = [[one] if one else [] for one in found]
        return answer(msgspec.json.encode({"responses": [{"response_range": {"kvs": one}} for one in kvs]}))

    ours = {"key": "L2s=", "value": "dg==", "create_revision": "9", "mod_revision": "9", "version": "1"}
    cases: list[tuple[bytes, object]] = [
        (answer(b'{"header":{"revision":"9"},"succeeded":true}'), TxnResult(True, 9)),
        (again(ours, {**ours, "key": "L2w="}), TxnResult(True, 9)),
        (again(ours, {}), OutcomeUnknown),
        (again(ours, {**ours, "mod_revision": "10"}), OutcomeUnknown),
        (again(ours, {**ours, "value": "eA=="}), OutcomeUnknown),
        (again({**ours, "lease": "5"}, {**ours, "lease": "5"}), OutcomeUnknown),
        (error(14, "etcdserver: no leader"), OutcomeUnknown),
    ]
    for second, expected in cases:
        only = Scripted(CLOSE, *[second] * 40)

        async def ask(client: EtcdClient) -> TxnResult:
            return await client.txn([absent("/k"), absent("/l")], [Put("/k", b"v"), Put("/l", b"v")])

        if isinstance(expected, TxnResult):
            assert run(only, ask=ask) == expected
        else:
            with pytest.raises(Unavailable) as caught:
                run(only, ask=ask)
            assert isinstance(caught.value, OutcomeUnknown), second
        sent = [msgspec.json.decode(body) for _, body in only.asked]
        assert [sent[0]["compare"], sent[0]["success"]] == [sent[1]["compare"], sent[1]["success"]]
        assert (sent[0]["failure"], len(sent[1]["failure"])) == ([], 2)


@pytest.mark.parametrize(
    ("guards", "then", "otherwise"),
    [
        ([], [Put("/k", b"")], []),
        ([absent("/other")], [Put("/k", b"")], []),
        ([holds("/k", b"mine")], [Put("/k", b"")], []),
        ([unchanged(KEPT)], [Get("/k"), Put("/k", b"")], []),
        ([unchanged(KEPT)], [Put("/k", b"")], [Put("/l", b"")]),
        ([unchanged(KEPT)], [Put("/k", b"")], [Get("/l")] * 128),
    ],
    ids=["unguarded", "another key's guard", "a value may come back", "it reads", "it writes otherwise", "no room"],
)
def test_a_lost_transaction_that_does_not_tell(guards: Any, then: Any, otherwise: Any) -> None:
    first, second = Scripted(CLOSE), Scripted()
    with pytest.raises(OutcomeUnknown):
        run(first, second, ask=lambda client: client.txn(guards, then, otherwise))
    assert len(first.asked) == 1


def test_a_transaction_that_only_reads_is_a_read() -> None:
    done = run(Scripted(CLOSE), Scripted(NOTHING), ask=lambda client: client.txn([holds("/k", b"")], [], [Get("/k")]))
    assert done == TxnResult(False, 7)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (answer(b"404 page not found", 404), Unavailable, "there is no HTTP gateway of etcd 3.4 or newer"),
        (
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            Unavailable,
            "it speaks TLS",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Unavailable, "what it answers is not HTTP"),
        (answer(b"busy", 503), Unavailable, "it answers with HTTP status 503: busy"),
        (answer(b'["something else"]'), Internal, "what it answers is not what it should be"),
        (answer(b'{"kvs":[{"key":"not base64!"}]}'), Internal, "is not what it should be"),
        (error(16, "etcdserver: invalid auth token", 401), Forbidden, "etcd does not let us in: invalid auth token"),
        (error(3, "etcdserver: user name is empty", 400), Forbidden, "does not let us in"),
        (error(8, "etcdserver: mvcc: database space exceeded", 429), Internal, "etcd refuses: mvcc: database space"),
        (error(11, "etcdserver: mvcc: required revision has been compacted", 400), Compacted, "has been compacted"),
        (error(5, "etcdserver: requested lease not found", 404), LeaseGone, "requested lease not found"),
    ],
)
def test_what_a_member_says(short: None, said: bytes, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        run(Scripted(*[said] * 50), ask=READ)


def test_a_lease_that_the_stream_speaks_of() -> None:
    line = b'{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}\n'
    with pytest.raises(Unavailable, match="no leader"):
        run(Scripted(answer(line)), ask=lambda client: client.keep_alive(5))
    with pytest.raises(LeaseGone, match="the lease 5 has expired"):
        run(Scripted(answer(b'{"result":{"ID":"5"}}\n')), ask=lambda client: client.keep_alive(5))


def test_a_member_behind_a_network_that_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT", 0.05)
    opening = asyncio.open_connection

    async def never(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(60)
        return await opening(*arguments, **options)

    monkeypatch.setattr(asyncio, "open_connection", never)
    with pytest.raises(Unavailable, match=r"no connection within 0.05 s"):
        run(Scripted(), ask=READ)


def test_who_gives_up_asking_leaves_no_connection_in_the_middle() -> None:
    only = Scripted(SILENT, NOTHING)

    async def ask(client: EtcdClient) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.get("/k")
        assert await client.get("/k") is None

    run(only, ask=ask)
    assert only.connections == 2


def test_statuses_of_all(short: None) -> None:
    said = b'{"header":{"member_id":"16","revision":"4"},"version":"3.5.0","leader":"255","dbSize":"20","errors":["x"]}'
    first, last = run(None, Scripted(answer(said)), ask=lambda client: client.status())
    assert first.failure == "connection refused"
    assert (last.id, last.leader, last.version, last.revision, last.size) == ("10", "ff", "3.5.0", 4, 20)
    assert last.errors == ("x",)
