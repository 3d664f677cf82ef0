"""Whatever answers at the socket of Open vSwitch's database: only our own kinds of error come of it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkspan.errors import Internal, LinkspanError, Unavailable
from linkspan.kernel.ovs.database import Database


@contextlib.contextmanager
def answering(path: Path, answers: list[bytes], *, stays: bool = False) -> Iterator[None]:
    """A server that sends one of these for each request that comes, whatever it is, and then hangs up, unless it
    `stays` for as long as its client."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server.accept()[0] as accepted, contextlib.suppress(OSError):
            for answer in answers:
                accepted.recv(1 << 16)
                accepted.sendall(answer)
            while stays and accepted.recv(1 << 16):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join(5)
        server.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "result", "error", "method", "params", "Bridge", "Port", "new", "name", "ports"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
answers_ = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps({"id": 1, "error": None, "result": value}).encode()),
    st.builds(
        lambda number, value: json.dumps({"id": number, "error": None, "result": value}).encode(),
        st.integers(2, 5),
        json_values | st.lists(st.just({"rows": [{"next_cfg": 1, "cur_cfg": 1}]}), max_size=3),
    ),
    json_values.map(lambda value: json.dumps({"id": None, "method": "update", "params": [None, value]}).encode()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(answers_, max_size=6).map(lambda rest: [reply(1, {}), *rest]) | st.lists(answers_, max_size=4))
def test_nonsense(tmp_path: Path, answers: list[bytes]) -> None:
    with answering(tmp_path / "s", answers):
        try:
            database = Database(str(tmp_path / "s"), patience=0.3)
        except LinkspanError:
            return
        try:
            for ask in (
                database.look,
                database.heard,
                database.switch_runs,
                lambda: database.transact([], follow=True),
                lambda: list(database.failures(["x"])),
            ):
                with contextlib.suppress(LinkspanError):
                    ask()
        finally:
            database.close()


def reply(number: int, result: Any, error: Any = None) -> bytes:
    return json.dumps({"id": number, "result": result, "error": error}).encode()


def test_an_answer_in_pieces_and_one_with_the_next(tmp_path: Path) -> None:
    bridge = {
        "name": "br0",
        "datapath_type": "netdev",
        "ports": ["set", [["uuid", "p1"], ["uuid", "p2"]]],
        "external_ids": ["map", [["linkspan", "linkspan:n"]]],
        "other_config": ["map", []],
    }
    port = {
        "name": "br0",
        "tag": 7,
        "protected": True,
        "interfaces": ["uuid", "i1"],
        "external_ids": ["map", []],
        "qos": ["set", []],
    }
    rows = {"Bridge": {"b": {"new": bridge}}, "Port": {"p1": {"new": port}}}
    gone = {"id": None, "method": "update", "params": [None, {"Port": {"p1": {"old": {}}}}]}
    asked = {"id": "echo", "method": "echo", "params": []}
    first = reply(1, rows)
    answer = first + json.dumps(asked).encode() + json.dumps(gone).encode() + reply(2, [])
    with answering(tmp_path / "s", [answer], stays=True):
        database = Database(str(tmp_path / "s"))
        seen = database.rows.bridge("br0")
        assert seen is not None and (seen.ports, seen.datapath) == ({"p1", "p2"}, "netdev")
        assert [row.tag for row in database.rows.ports_of(seen)] == [7]
        assert database.look().ports == {}
        database.close()


def test_what_the_server_refuses(tmp_path: Path) -> None:
    refused = [None, {"error": "constraint violation", "details": "no such thing"}, None, None]
    with answering(tmp_path / "s", [reply(1, {}), reply(2, refused), reply(3, None, "unknown method")]):
        database = Database(str(tmp_path / "s"))
        with pytest.raises(Internal, match="Open vSwitch's database refuses: no such thing"):
            database.transact([{}, {}], follow=True)
        with pytest.raises(Internal, match="refuses echo: unknown method"):
            database.look()
        with pytest.raises(Unavailable, match="answers no more"):
            database.look()
    with pytest.raises(Unavailable, match=r"nothing answers at unix:.*/none \(no such file or directory\)"):
        Database(str(tmp_path / "none"))
