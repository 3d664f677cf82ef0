"""Records in one SQLite file: a row a record, its body as JSON with Docker's names.

WAL: with `synchronous=FULL` a commit returns once the log is on the disk, with NORMAL once it is written. A process
that is killed loses nothing that it acknowledged, and a power cut nothing durable. The format has a version; a newer
one than ours is refused, not guessed at.

One process at a time: two daemons on one set of records would each undo what the other does.

Room for some dozens of changes is kept, in the file as in its log: on a full disk, containers can still be removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from linkspan.errors import Conflict, Internal
from linkspan.model.snapshot import KINDS, Snapshot, Write, put

FORMAT = 1
_RESERVE = 256 * 1024  # bytes

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID
"""
# A sandbox is there before its endpoints: `Snapshot.after` does not care, a reader of the table may.
_ORDER = {kind: number for number, kind in enumerate(KINDS)}


class SqliteStore:
    """One connection, used by one thread at a time (the daemon's store thread)."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises Conflict where another process has it open, Internal naming it otherwise."""
        self._path = path
        with contextlib.ExitStack() as opened:
            try:
                self._lock = opened.enter_context(_locked(path))
                self._db = opened.enter_context(
                    contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
                )
                self._prepare()
            except (sqlite3.Error, OSError) as error:
                raise Internal(f"cannot open the record store {path}: {error}") from error
            opened.pop_all()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA cache_size=-256")  # KiB: what is read is read once, at the start
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise Internal(f"{self._path} was written by a newer linkspan (format {version}, this one knows {FORMAT})")
        self._db.execute(_SCHEMA)
        self._db.execute(f"PRAGMA user_version={FORMAT}")
        with contextlib.suppress(sqlite3.OperationalError):  # the disk is full already
            self._keep_room()

    def _keep_room(self) -> None:
        """A table that goes at once leaves its pages to later records, and the log at its length to be written over."""
        self._db.execute("CREATE TABLE reserve (room BLOB)")
        try:
            self._db.execute("INSERT INTO reserve VALUES (zeroblob(?))", (_RESERVE,))
        finally:
            self._db.execute("DROP TABLE reserve")
            self._db.execute("PRAGMA wal_checkpoint(RESTART)")

    def load(self) -> Snapshot:
        try:
            rows = self._db.execute("SELECT kind, id, body FROM record").fetchall()
        except sqlite3.Error as error:
            raise Internal(f"cannot read the record store {self._path}: {error}") from error
        writes = []
        for kind, id_, body in sorted(rows, key=lambda row: (_ORDER.get(row[0], 99), row[1])):
            try:
                writes.append(put(msgspec.json.decode(body, type=KINDS[kind])))
            except (msgspec.MsgspecError, KeyError) as error:
                raise Internal(f"{self._path}: the record of {kind} {id_} cannot be read: {error}") from error
        return Snapshot().after(writes)

    def commit(self, writes: Sequence[Write], *, durable: bool = True) -> None:
        rows = [(w.kind, w.id, None if w.record is None else msgspec.json.encode(w.record)) for w in writes]
        try:
            self._write(rows, durable)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise self._failed(error) from error
            try:
                self._db.execute("PRAGMA wal_checkpoint(RESTART)")  # the log from its beginning: that room is ours
                self._write(rows, durable)
            except sqlite3.Error as still:
                raise self._failed(still) from still
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> Internal:
        return Internal(f"cannot write to the record store {self._path}: {error}")

    def _write(self, rows: Sequence[tuple[str, str, bytes | None]], durable: bool) -> None:
        try:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            for kind, id_, body in rows:
                if body is None:
                    self._db.execute("DELETE FROM record WHERE kind=? AND id=?", (kind, id_))
                else:
                    self._db.execute("INSERT OR REPLACE INTO record VALUES (?,?,?)", (kind, id_, body))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()
        self._lock.close()


def _locked(path: Path) -> IO[bytes]:
    """The lock beside the records, held until it is closed, or its process ends.

    A file of its own: whoever closes any descriptor of the database's file takes SQLite's own locks off it.
    """
    lock = path.with_name(path.name + ".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Conflict(
            f"another linkspand keeps its records in {path.parent}: stop it, or give this one a --data-root of its own"
        ) from None
    except OSError:
        lock.close()
        raise
    return lock
