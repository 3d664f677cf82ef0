"""What every store promises, held against each of them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from linkspan.errors import Conflict, Internal
from linkspan.model.cluster import Block, Host, Remote, Reservation
from linkspan.model.container import Config, Container, HostConfig, MountRequest
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.model.volume import Volume
from linkspan.store.contract import Store
from linkspan.store.memory import MemoryStore
from linkspan.store.sqlite import SqliteStore

BINDING = Binding(protocol="tcp", address="0.0.0.0", port=80, container_port=8080)
RECORDS = [
    Network(id="n", name="bridge", driver="bridge", created="t", pools=(Pool(subnet="10.0.0.0/24"),)),
    Container(
        id="c",
        name="web",
        created="t",
        image_id="i",
        config=Config(env=("A=1",), labels={"a": "b"}),
        host_config=HostConfig(mounts=(MountRequest(target="/x"),), shm_size=1),
    ),
    Sandbox(id="s", container_id="c", kind="own", path="/run/netns/s"),
    Endpoint(id="e", network_id="n", sandbox_id="s", container_id="c", address="10.0.0.2", bindings=(BINDING,)),
    Volume(name="v", created="t", mountpoint="/v"),
    Host(id="h", name="h2", address="10.211.55.5"),
    Remote(id="r", network_id="n", host_id="h", container_id="d", name="db", names=("db",), address="10.0.0.3"),
    Block(id="n/10.0.0.64/26", network_id="n", subnet="10.0.0.64/26", host_id="h"),
    Reservation(id="n/db", network_id="n", identity="db", address="10.0.0.3"),
]


@pytest.fixture(params=["memory", "sqlite"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the store again, as a daemon that starts again does."""
    memory = MemoryStore()
    opened: list[Store] = []

    def again() -> Store:
        if request.param == "memory":
            return memory
        while opened:
            opened.pop().close()
        opened.append(SqliteStore(tmp_path / "records.db"))
        return opened[-1]

    request.addfinalizer(lambda: [store.close() for store in opened])
    return again


def test_what_was_committed_is_there_again(reopened: Callable[[], Store]) -> None:
    writes = [put(record) for record in RECORDS]
    reopened().commit(writes)
    assert reopened().load() == Snapshot().after(writes)
    gone = [drop(RECORDS[3]), drop(RECORDS[2])]
    reopened().commit(gone)
    assert reopened().load() == Snapshot().after([*writes, *gone])
    reopened().commit([])
    assert reopened().load() == Snapshot().after([*writes, *gone])


def test_dropping_what_is_not_there_is_no_error(reopened: Callable[[], Store]) -> None:
    reopened().commit([drop(RECORDS[0])])
    assert reopened().load() == Snapshot()


def test_all_or_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "records.db")
    store.commit([put(RECORDS[0])])
    bad = Write("volume", "x", object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.commit([put(RECORDS[4]), bad])
    assert store.load() == Snapshot().after([put(RECORDS[0])])
    store.commit([put(RECORDS[4])])  # and the store goes on
    store.close()


def test_an_acknowledged_commit_survives_a_kill(tmp_path: Path) -> None:
    code = (
        "import sys, os\n"
        "from linkspan.store.sqlite import SqliteStore\n"
        "from linkspan.model.snapshot import put\n"
        "from linkspan.model.volume import Volume\n"
        "from pathlib import Path\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "for n in range(50):\n"
        "    store.commit([put(Volume(name=str(n), created='', mountpoint=''))])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "records.db"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    store = SqliteStore(path)
    assert set(store.load().volumes) == {str(n) for n in range(50)}
    store.close()


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    first = SqliteStore(path)
    first.commit([put(RECORDS[0])])
    with pytest.raises(Conflict, match=f"another linkspand keeps its records in {tmp_path}: stop it, or"):
        SqliteStore(path)
    first.commit([put(RECORDS[4])])  # and the first one goes on
    first.close()
    second = SqliteStore(path)
    assert second.load() == Snapshot().after([put(RECORDS[0]), put(RECORDS[4])])
    second.close()


def test_a_store_that_cannot_be_opened_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"something else, and more of it than SQLite takes for an empty file" * 20)
    with pytest.raises(Internal, match="cannot open the record store") as kept:
        SqliteStore(path)
    path.unlink()
    SqliteStore(path).close()
    assert kept.value


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = SqliteStore(path)
    store.commit([put(RECORDS[0])])
    store._db.execute(f"PRAGMA max_page_count={store._db.execute('PRAGMA page_count').fetchone()[0]}")
    volumes = [put(Volume(name=str(n), created="", mountpoint="x" * 500)) for n in range(1000)]
    with pytest.raises(Internal, match=r"cannot write to the record store .*records\.db: database or disk is full"):
        store.commit(volumes)
    assert store.load() == Snapshot().after([put(RECORDS[0])])
    store.commit(volumes[:20])  # room is kept for what must be said of containers that are stopped and removed
    store.commit([drop(write.record) for write in volumes[:20] if write.record])
    assert store.load() == Snapshot().after([put(RECORDS[0])])
    store.close()


def test_a_newer_format_and_a_broken_record_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    store = SqliteStore(path)
    store._db.execute("INSERT INTO record VALUES ('container', 'x', '{}')")
    with pytest.raises(Internal, match="the record of container x cannot be read"):
        store.load()
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(Internal, match="was written by a newer linkspan"):
        SqliteStore(path)
    with pytest.raises(Internal, match="cannot open the record store"):
        SqliteStore(Path(os.devnull) / "x")
