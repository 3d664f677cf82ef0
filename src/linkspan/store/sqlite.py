"""Records in one SQLite file: a row a record, its body as JSON with Docker's names.

WAL: with `synchronous=FULL` a commit returns once the log is on the disk, with NORMAL once it is written. A process
that is killed loses nothing that it acknowledged, and a power cut nothing durable. The format has a version; a newer
one than ours is refused, not guessed at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from linkspan.errors import Internal
from linkspan.model.snapshot import KINDS, Snapshot, Write, put

FORMAT = 1

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
        """Opens or makes the file. Raises Internal naming it."""
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > FORMAT:
                raise Internal(f"{path} was written by a newer linkspan (format {version}, this one knows {FORMAT})")
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.Error as error:
            raise Internal(f"cannot open the record store {path}: {error}") from error

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
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            for kind, id_, body in rows:
                if body is None:
                    self._db.execute("DELETE FROM record WHERE kind=? AND id=?", (kind, id_))
                else:
                    self._db.execute("INSERT OR REPLACE INTO record VALUES (?,?,?)", (kind, id_, body))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Internal(f"cannot write to the record store {self._path}: {error}") from error

    def close(self) -> None:
        self._db.close()
